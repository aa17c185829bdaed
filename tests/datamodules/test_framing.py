import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.affine import apply, hulls
from datamodules.framing import Letterbox, ShortSide, SquareCrop, letterbox_affine
from datamodules.patch import fit
from detectors.errors import ConfigError

NO_BOXES = np.zeros((0, 4), np.float32)
sizes = st.tuples(st.integers(20, 400), st.integers(20, 400))
seeds = st.integers(0, 2**32 - 1)


@given(original=sizes, new=sizes, fraction=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_the_letterbox_maps_every_point_as_its_closed_form_says(original, new, fraction):
    scale = min(new[0] / original[0], new[1] / original[1])
    point = np.array([fraction[0] * original[1], fraction[1] * original[0]])
    left, top = (new[1] - scale * original[1]) / 2, (new[0] - scale * original[0]) / 2
    found = apply(letterbox_affine(original, new), point)
    np.testing.assert_allclose(found, [left + scale * point[0], top + scale * point[1]], atol=1e-9)


def test_jitter_stays_within_its_ranges():
    framing, rng = Letterbox((0.8, 1.2), 0.2), np.random.default_rng(0)
    affines = [framing.affine((50, 50), (100, 100), NO_BOXES, rng) for _ in range(200)]
    scales = np.array([affine[0, 0] for affine in affines])
    centres = np.array([apply(affine, np.array([25.0, 25.0])) for affine in affines])
    assert 1.6 <= scales.min() < 1.65 < 2.35 < scales.max() <= 2.4
    assert 30 <= centres.min() < 33 < 67 < centres.max() <= 70.001


@pytest.mark.parametrize(
    ("original", "scale"),
    [
        ((375, 500), 1.6),  # short side to 600
        ((500, 375), 1.6),
        ((300, 900), 1000 / 900),  # the long side would be 1800
        ((1200, 1200), 0.5),
    ],
)
def test_the_short_side_gets_its_size_unless_the_long_one_is_too_long(original, scale):
    framing, rng = ShortSide(600, 1000), np.random.default_rng(0)
    affine = framing.affine(original, (1000, 1000), NO_BOXES, rng)
    np.testing.assert_allclose(affine, [[scale, 0, 0], [0, scale, 0]])


@given(original=sizes, new=sizes)
def test_what_the_short_side_asks_for_always_fits_into_the_input(original, new):
    affine = ShortSide(600, 1000).affine(original, new, NO_BOXES, np.random.default_rng(0))
    patch = fit(original, new, affine)
    assert patch.region[:2].tolist() == [0, 0]
    assert (patch.x.start, patch.x.stop) == (0, original[1])  # nothing is cut
    assert (patch.y.start, patch.y.stop) == (0, original[0])
    assert patch.x.high <= new[1]
    assert patch.y.high <= new[0]


@settings(max_examples=60, deadline=None)
@given(original=sizes, seed=seeds, share=st.tuples(*[st.floats(0, 0.7)] * 2))
def test_a_square_crop_holds_a_whole_object_and_lies_in_the_image(original, seed, share):
    height, width = original
    x, y = share[0] * width, share[1] * height
    box = np.array([[x, y, x + 0.2 * width, y + 0.2 * height]], np.float32)
    rng = np.random.default_rng(seed)
    affine = SquareCrop().affine(original, (64, 64), box, rng)
    low, high = hulls(affine, box)[0].reshape(2, 2)
    assert (low > -1e-3).all()
    assert (high < 64 + 1e-3).all()
    whole = hulls(affine, np.array([[0.0, 0.0, width, height]]))[0]
    if affine[0, 0] > letterbox_affine(original, (64, 64))[0, 0] + 1e-9:  # it was cropped
        assert (whole[:2] < 1e-6).all()
        assert (whole[2:] > 64 - 1e-6).all()
        side = 64 / affine[0, 0] / min(original)
        assert min(abs(side - np.array(SquareCrop().scales))) < 1e-9


@pytest.mark.parametrize("boxes", [NO_BOXES, np.array([[0, 0, 90, 40]], np.float32)])
def test_without_a_whole_object_in_any_square_the_image_is_letterboxed(boxes):
    affine = SquareCrop().affine((40, 90), (64, 64), boxes, np.random.default_rng(0))
    np.testing.assert_array_equal(affine, letterbox_affine((40, 90), (64, 64)))


def test_square_crops_of_one_image_differ():
    box = np.array([[40, 40, 50, 50]], np.float32)
    rng = np.random.default_rng(0)
    found = {SquareCrop().affine((100, 100), (64, 64), box, rng).tobytes() for _ in range(20)}
    assert len(found) > 10  # there is only one square of the whole image


@pytest.mark.parametrize(
    "build",
    [
        lambda: Letterbox((1.2, 0.8)),
        lambda: Letterbox((0.0, 1.0)),
        lambda: Letterbox(translate=1.0),
        lambda: ShortSide(600, 500),
        lambda: ShortSide(0, 500),
        lambda: SquareCrop(()),
        lambda: SquareCrop((0.5, 1.5)),
        lambda: SquareCrop(tries=-1),
    ],
)
def test_an_impossible_framing_is_refused(build):
    with pytest.raises(ConfigError, match=r"datamodule\.framing"):
        build()
