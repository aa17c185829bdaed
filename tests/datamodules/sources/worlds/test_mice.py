import numpy as np
import torch

from datamodules.sources.worlds.arenas import OpenField, Pool
from datamodules.sources.worlds.mice import Mice, Mouse
from tests.datamodules.sources.worlds.drawn import HW, layouts, scenes, targets


def test_all_points_lie_in_the_box_and_visible_ones_on_the_mouse():
    kinds = set()
    for layout, target in zip(layouts(Mice()), targets(Mice()), strict=True):
        assert target.keypoints is not None
        both = zip(target.boxes, target.keypoints, strict=True)
        for number, (box, points) in enumerate(both, start=1):
            assert (points[:, :2] >= box[:2]).all()
            assert (points[:, :2] <= box[2:]).all()
            for x, y, v in points.tolist():
                assert (layout.visible[int(y), int(x)] == number) == (v == 2)
                kinds.add(v)
    assert kinds == {1.0, 2.0}


def test_the_points_follow_each_other_along_the_body():
    for layout in layouts(Mice()):
        for mouse in layout.things:
            if not isinstance(mouse, Mouse):
                continue
            head, body, tail = mouse.keypoints
            long = mouse.coat.length
            assert np.hypot(*(head - body)) <= 0.5 * long + 1e-6
            assert np.hypot(*(tail - body)) <= 0.385 * long + 1e-6
            # bent, but never folded
            assert np.hypot(*(head - tail)) > np.hypot(*(head - body))
            assert np.allclose(tail, mouse.spine[0])


def test_mice_stay_on_the_floor_of_either_arena():
    arenas = set()
    for arena, *mice in (layout.things for layout in layouts(Mice())):
        arenas.add(type(arena))
        inside = [arena.holds(mouse.spine) for mouse in mice]
        assert sum(inside) >= len(inside) - 1  # one that is too long bends over the wall
    assert arenas == {OpenField, Pool}


def test_as_many_mice_of_the_length_that_is_asked_for():
    source = scenes(Mice(count=(1, 3), length=(0.2, 0.25), empty=0.0), 30, HW)
    found = [source.target(index) for index in range(30)]
    assert {1, 2, 3} <= {len(target) for target in found} <= {0, 1, 2, 3}
    # a body is about a third as wide as long, and the tail is thin
    assert torch.cat([target.area for target in found]).max() < 0.6 * (0.25 * 1.15 * 256) ** 2
