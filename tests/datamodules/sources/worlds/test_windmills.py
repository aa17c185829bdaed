import torch

from datamodules.sources.worlds.windmills import Windmills
from tests.datamodules.sources.worlds.drawn import HW, layouts, scenes, targets


def longer_sides(found) -> torch.Tensor:
    boxes = torch.cat([target.boxes for target in found])
    return (boxes[:, 2:] - boxes[:, :2]).amax(dim=1)


def test_half_of_the_windmills_are_tiny():
    sides = longer_sides(targets(Windmills()))
    assert sides.min() >= 8
    assert 0.35 < (sides <= 24).float().mean() < 0.65
    assert sides.max() > 200
    assert max(len(target) for target in targets(Windmills())) <= 6


def test_the_share_of_tiny_ones_is_a_setting():
    tiny, large = (scenes(Windmills(tiny_share=share), 20, HW) for share in (1.0, 0.0))
    assert (longer_sides(tiny.target(index) for index in range(20)) <= 26).all()
    assert (longer_sides(large.target(index) for index in range(20)) >= 20).all()


def test_some_windmills_are_partly_hidden():
    shares = [s for layout in layouts(Windmills()) for s in layout.areas() / layout.drawn]
    assert 0.05 < sum(share < 0.9 for share in shares) / len(shares) < 0.6
