import functools

import numpy as np

from datamodules.sources.mouse_video import MouseVideo
from datamodules.sources.worlds.mice import Mice
from detectors.structures import DatasetInfo, Target

INFO = DatasetInfo("film", ("mouse",), ("head", "body", "tail"))
HW = (192, 256)
FRAMES, FILMS = 100, (1, 2, 11)


def film(length: int = FRAMES, seed: int = 1) -> MouseVideo:
    return MouseVideo(INFO, Mice(empty=0.0), length, HW, seed)


@functools.cache
def truth(seed: int) -> list[Target]:
    source = film(seed=seed)
    return [source.target(index) for index in range(FRAMES)]


def paths(seed: int) -> np.ndarray:
    """(frames, mice, 3, xy)"""
    found = [target.keypoints for target in truth(seed)]
    return np.stack([keypoints[..., :2].numpy() for keypoints in found if keypoints is not None])


def test_a_frame_depends_on_seed_and_index_alone_and_a_longer_film_begins_the_same():
    one, two = film(20), film(30)
    for index in (15, 5, 15):
        assert np.array_equal(one.image(index), two.image(index))
        assert np.array_equal(one.target(index).boxes, two.target(index).boxes)
    assert one.ids[5] == "mice-film-1-frame-000005"
    assert not np.array_equal(one.image(5), film(20, seed=2).image(5))
    assert one.fingerprint() == film(20).fingerprint() != two.fingerprint()


def test_mice_move_smoothly_and_run_and_rest():
    slow, fast = 0, 0
    for seed in FILMS:
        path = paths(seed)
        steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)  # (frames - 1, mice, 3)
        assert steps.max() < 0.06 * min(HW)
        jolts = np.linalg.norm(np.diff(path, n=2, axis=0), axis=-1)
        assert np.median(jolts) < 0.5
        slow += (steps[..., 1] < 0.3).sum()
        fast += (steps[..., 1] > 2.0).sum()
    assert slow > 30
    assert fast > 30


def test_the_same_mice_are_there_in_every_frame_and_most_of_each_shows():
    assert {len(truth(seed)[0]) for seed in FILMS} == {1, 2, 3}
    for seed in FILMS:
        assert {len(target) for target in truth(seed)} == {len(truth(seed)[0])}
        for layout in map(film(seed=seed).layout, range(0, FRAMES, 10)):
            assert (layout.areas() >= 0.5 * np.array(layout.drawn)).all()


def test_all_points_lie_in_the_box():
    for target in (target for seed in FILMS for target in truth(seed)):
        assert target.keypoints is not None
        x, y, v = target.keypoints.unbind(-1)
        left, top, right, bottom = target.boxes[:, None].unbind(-1)
        assert ((left <= x) & (x <= right) & (top <= y) & (y <= bottom)).all()
        assert set(v.flatten().tolist()) <= {1.0, 2.0}


def test_only_mice_and_noise_change_from_frame_to_frame():
    source = film()
    first, last = (source.image(index).astype(float) for index in (0, FRAMES - 1))
    still = np.ones(HW, np.bool_)
    for target in (truth(1)[0], truth(1)[-1]):
        for left, top, right, bottom in target.boxes.int().tolist():
            still[max(top - 12, 0) : bottom + 12, max(left - 12, 0) : right + 12] = False
    difference = (last - first)[still]
    assert abs(difference.mean()) < 0.3
    assert 0.5 < difference.std() < 20
