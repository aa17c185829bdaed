from hypothesis import given
from hypothesis import strategies as st

from datamodules.sampler import EpochSampler, epoch_order, sample_rng

lengths, seeds = st.integers(1, 60), st.integers(0, 2**31)


@given(length=lengths, seed=seeds, epoch=st.integers(0, 99), world_size=st.integers(1, 9))
def test_all_ranks_together_read_everything_and_equally_much(length, seed, epoch, world_size):
    parts = [epoch_order(length, seed, epoch, r, world_size).tolist() for r in range(world_size)]
    assert {len(part) for part in parts} == {-(-length // world_size)}
    assert set().union(*parts) == set(range(length))


@given(length=lengths, seed=seeds, epoch=st.integers(0, 99))
def test_the_ranks_deal_out_the_order_of_the_single_process(length, seed, epoch):
    alone = epoch_order(length * 2, seed, epoch).tolist()
    first, second = (epoch_order(length * 2, seed, epoch, r, 2).tolist() for r in range(2))
    assert [i for pair in zip(first, second, strict=True) for i in pair] == alone


def test_epochs_and_seeds_differ_and_evaluation_keeps_the_order():
    orders = {tuple(epoch_order(50, s, e)) for s in range(3) for e in range(3)}
    assert len(orders) == 9
    assert epoch_order(50, 1, 1, shuffle=False).tolist() == list(range(50))


def test_the_sampler_tells_the_epoch_and_follows_set_epoch():
    sampler = EpochSampler(5, seed=3, shuffle=True, rank=1, world_size=2)
    assert len(sampler) == len(list(sampler)) == 3
    sampler.set_epoch(7)
    assert list(sampler) == [(7, i) for i in epoch_order(5, 3, 7, 1, 2)]


def test_the_randomness_of_neighbouring_samples_does_not_collide():
    keys = [(s, e, i) for s in range(5) for e in range(10) for i in range(100)]
    assert len({sample_rng(*key).random() for key in keys}) == 5000
    assert sample_rng(1, 2, 3).random() == sample_rng(1, 2, 3).random()
