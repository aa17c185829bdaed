import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from datamodules.affine import apply, scale_and_shift
from datamodules.patch import FILL, blank, fit

sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))
numbers = st.floats(-80, 80)


def affine(scale: float, x: float, y: float) -> np.ndarray:
    return scale_and_shift((scale, scale), (x, y))


@settings(max_examples=300, deadline=None)
@given(original=sizes, picture=sizes, scale=st.floats(0.05, 8), x=numbers, y=numbers)
def test_the_exact_map_is_half_a_pixel_off_the_wanted_one_at_most(original, picture, scale, x, y):
    wanted = affine(scale, x, y)
    patch = fit(original, picture, wanted)
    assume(not patch.is_empty)
    for px in (patch.x.start, patch.x.stop):
        for py in (patch.y.start, patch.y.stop):
            point = np.array([px, py], float)
            exact = apply(patch.affine, point)
            assert np.abs(exact - apply(wanted, point)).max() <= 0.5 + 1e-6
            np.testing.assert_allclose(exact, np.round(exact), atol=1e-6)


@settings(max_examples=300, deadline=None)
@given(original=sizes, picture=sizes, scale=st.floats(0.05, 8), x=numbers, y=numbers)
def test_what_of_the_image_is_in_view_is_painted_and_nothing_else(original, picture, scale, x, y):
    patch = fit(original, picture, affine(scale, x, y))
    canvas = blank(picture)
    patch.paint(canvas, np.full((*original, 3), 255, np.uint8))
    x1, y1, x2, y2 = patch.region.astype(int)
    expected = np.full(picture, FILL)
    expected[y1 : max(y1, y2), x1 : max(x1, x2)] = 255
    assert (canvas == expected[..., None]).all()
    low, high = np.array([x, y]), np.array([x, y]) + scale * np.array(original[::-1])
    low, high = low.clip(0, picture[::-1]), high.clip(0, picture[::-1])
    if patch.is_empty:
        assert (high - low).min() <= 1
    else:
        assert np.abs(patch.region - np.concatenate([low, high])).max() <= 0.5 + 1e-6


@settings(max_examples=200, deadline=None)
@given(cut=st.floats(0, 40), scale=st.floats(0.2, 3))
def test_regions_that_touch_leave_no_gap_and_share_no_pixel(cut, scale):
    canvas = np.zeros((40, 40, 3), np.uint8)
    image = np.ones((300, 300, 3), np.uint8)
    wanted = affine(scale, -7.3, -5.1)
    assume(scale * 300 > 50)
    for region in ([0.0, 0.0, cut, 40.0], [cut, 0.0, 40.0, 40.0]):
        layer = np.zeros_like(canvas)
        fit((300, 300), (40, 40), wanted, np.array(region)).paint(layer, image)
        canvas += layer
    assert (canvas == 1).all()


def test_an_image_of_the_pictures_size_is_copied():
    image = np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)
    canvas = blank((30, 50))
    patch = fit((30, 50), (30, 50), affine(1.0, 0.2, -0.3))
    patch.paint(canvas, image)
    assert np.array_equal(canvas, image)
    np.testing.assert_allclose(patch.affine, [[1, 0, 0], [0, 1, 0]])


def test_shrinking_averages_so_that_thin_lines_survive():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::8] = 240
    canvas = blank((8, 8))
    fit((64, 64), (8, 8), affine(0.125, 0.0, 0.0)).paint(canvas, image)
    assert (canvas == 30).all()  # one column of eight


def test_enlarging_and_cropping_agree_with_pillow():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    canvas = blank((50, 50))
    patch = fit((40, 60), (50, 50), affine(2.5, -30.0, -20.0))
    patch.paint(canvas, image)
    a = np.linalg.inv(np.vstack([patch.affine, [0, 0, 1]]))[:2].ravel()
    expected = Image.fromarray(image).transform(
        (50, 50), Image.Transform.AFFINE, a.tolist(), Image.Resampling.BILINEAR
    )
    assert np.abs(canvas.astype(int) - np.asarray(expected)).max() <= 2
