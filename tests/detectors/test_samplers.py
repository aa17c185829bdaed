"""Hard-negative mining against sorting in plain Python."""

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from detectors.ops.samplers import HardNegatives
from detectors.structures import IGNORE, NEGATIVE, POSITIVE

rows = st.lists(
    st.tuples(st.sampled_from([IGNORE, NEGATIVE, NEGATIVE, POSITIVE]), st.sampled_from(range(6))),
    min_size=1,
    max_size=40,
)


def oracle(row: list[tuple[int, int]], ratio: int, empty_counts_as: int) -> set[int]:
    positives = sum(role == POSITIVE for role, _ in row) or empty_counts_as
    negatives = [i for i, (role, _) in enumerate(row) if role == NEGATIVE]
    return set(sorted(negatives, key=lambda i: (-row[i][1], i))[: ratio * positives])


@hypothesis.given(rows, st.integers(1, 7), st.sampled_from([0, 1]))
def test_it_takes_the_hardest_so_many_per_positive(row, ratio, empty_counts_as):
    role = torch.tensor([[role for role, _ in row]])
    loss = torch.tensor([[float(loss) for _, loss in row]])
    chosen = HardNegatives(ratio, empty_counts_as)(role, loss)
    assert set(chosen[0].nonzero()[:, 0].tolist()) == oracle(row, ratio, empty_counts_as)


def test_every_image_has_its_own():
    role = torch.tensor([[POSITIVE, NEGATIVE, NEGATIVE], [NEGATIVE, NEGATIVE, NEGATIVE]])
    loss = torch.tensor([[9.0, 1.0, 2.0], [5.0, 7.0, 6.0]])
    assert HardNegatives(ratio=1)(role, loss).tolist() == [
        [False, False, True],
        [False, True, False],
    ]
    assert HardNegatives(ratio=1).count(role).tolist() == [1, 1]


@pytest.mark.parametrize(("counts_as", "chosen"), [(0, 0), (1, 7), (2, 14)])
def test_an_image_without_positives_counts_as_told(counts_as, chosen):
    role = torch.full((1, 20), NEGATIVE)
    sampler = HardNegatives(ratio=7, empty_counts_as=counts_as)
    assert sampler(role, torch.rand(1, 20)).sum() == chosen
    assert sampler.count(role).tolist() == [counts_as]


def test_choosing_sends_no_gradient():
    loss = torch.rand(1, 5, requires_grad=True)
    assert not HardNegatives()(torch.full((1, 5), NEGATIVE), loss).requires_grad
