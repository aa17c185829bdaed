"""How many are drawn, of what, and how evenly."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from detectors.ops.balanced_sampler import BalancedSampler
from detectors.structures import IGNORE, NEGATIVE, POSITIVE, Match


def match(positives: int, negatives: int, ignored: int = 5) -> Match:
    roles = [POSITIVE] * positives + [NEGATIVE] * negatives + [IGNORE] * ignored
    role = torch.tensor(roles)[torch.randperm(len(roles))] if roles else torch.zeros(0).long()
    return Match(gt_index=torch.zeros_like(role), role=role)


@given(
    positives=st.integers(0, 40),
    negatives=st.integers(0, 40),
    size=st.integers(1, 50),
    share=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_positives_up_to_their_share_then_negatives_up_to_the_size(
    positives: int, negatives: int, size: int, share: float
):
    given_match = match(positives, negatives)
    chosen = BalancedSampler(size, share)(given_match)
    drawn = given_match.role[chosen]
    wanted = min(positives, int(size * share))
    assert (drawn == POSITIVE).sum() == wanted
    assert (drawn == NEGATIVE).sum() == min(negatives, size - wanted)
    assert not (drawn == IGNORE).any()


def test_nothing_is_drawn_of_nothing():
    assert len(BalancedSampler(8, 0.5)(match(0, 0, 0))) == 0


def test_every_candidate_is_drawn_equally_often():
    torch.manual_seed(0)
    given_match = match(20, 60)
    sampler = BalancedSampler(16, 0.5)
    times = sum(sampler(given_match).float() for _ in range(2000)) / 2000
    assert isinstance(times, torch.Tensor)
    assert (times[given_match.role == POSITIVE] - 8 / 20).abs().max() < 0.06
    assert (times[given_match.role == NEGATIVE] - 8 / 60).abs().max() < 0.04


def test_the_same_seed_draws_the_same():
    given_match = match(20, 60)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(BalancedSampler(16, 0.5)(given_match))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
