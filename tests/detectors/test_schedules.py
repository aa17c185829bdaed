"""Learning-rate schedules, stepped once per epoch."""

import pytest
import torch

from detectors.errors import ConfigError
from detectors.schedules import piecewise_constant


def rates(optimizer: torch.optim.Optimizer, phases, epochs: int, group: int = 0) -> list[float]:
    scheduler = piecewise_constant(optimizer, phases)
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[group]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def adam(**options) -> torch.optim.Adam:
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], **options)


def test_each_rate_is_held_for_its_epochs_and_the_last_one_on():
    seen = rates(adam(lr=3e-4), [[1e-4, 15], [1e-5, 10], [5e-6, 15]], epochs=45)
    assert seen == pytest.approx([1e-4] * 15 + [1e-5] * 10 + [5e-6] * 20)


def test_a_group_with_a_rate_of_its_own_keeps_its_ratio():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1e-3, 1e-4)]
    seen = rates(torch.optim.SGD(groups, lr=1e-3), [[1e-2, 1], [1e-3, 1]], epochs=2, group=1)
    assert seen == pytest.approx([1e-3, 1e-4])


def test_a_schedule_resumes_where_it_was():
    phases = [[1e-4, 2], [1e-5, 2]]
    first = piecewise_constant(adam(lr=1.0), phases)
    for _ in range(3):
        first.optimizer.step()
        first.step()
    second = piecewise_constant(adam(lr=1.0), phases)
    second.load_state_dict(first.state_dict())
    assert second.get_last_lr() == first.get_last_lr() == pytest.approx([1e-5])


@pytest.mark.parametrize("phases", [[], [[1e-4]], [[1e-4, 0]], [[-1e-4, 5]]])
def test_phases_that_make_no_sense_are_refused(phases):
    with pytest.raises(ConfigError, match=r"detector\.scheduler\.phases"):
        piecewise_constant(adam(lr=1.0), phases)
