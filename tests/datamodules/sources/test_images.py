import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from datamodules.sources.images import image_hw, read_image
from detectors.errors import DataError

HALVES = np.zeros((40, 60, 3), np.uint8)
HALVES[:, :30] = (250, 10, 10)  # red on the left, blue on the right
HALVES[:, 30:] = (10, 10, 250)


def save(path, **options):
    Image.fromarray(HALVES).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_pixels_are_rgb_and_the_header_gives_their_size(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}")
    pixels = read_image(path)
    assert pixels.shape == HALVES.shape
    assert np.abs(pixels.astype(int) - HALVES)[:, [5, 55]].max() < 30
    assert image_hw(path) == (40, 60)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_grey_transparent_palette_and_16_bit_images_become_rgb(tmp_path, mode):
    path = tmp_path / "a.png"
    if mode == "I;16":
        cv2.imwrite(str(path), np.full((40, 60), 40000, np.uint16))
    else:
        Image.fromarray(HALVES).convert(mode).save(path)
    assert read_image(path).shape == (40, 60, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_exif_orientation_is_applied_to_pixels_and_size(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", exif=exif)
    pixels = read_image(path)
    assert image_hw(path) == pixels.shape[:2]
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() < 60


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_cut_off_jpeg_is_refused_not_filled_with_grey(tmp_path, share, options, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).save(path, quality=95, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"a\.jpg: the JPEG is cut off after \d+ bytes") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_the_end_of_a_thumbnail_does_not_hide_that_the_jpeg_is_cut_off(tmp_path):
    thumbnail = save(tmp_path / "thumbnail.jpg").read_bytes()
    whole = save(tmp_path / "a.jpg").read_bytes()
    block = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path = tmp_path / "b.jpg"
    path.write_bytes(whole[:2] + block + whole[2:])
    assert read_image(path).shape == HALVES.shape
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cut off"):
        read_image(path)


def test_bytes_behind_the_end_of_a_jpeg_are_no_reason_to_refuse_it(tmp_path):
    path = save(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    assert read_image(path).shape == HALVES.shape


@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, image_hw):
        with pytest.raises(
            DataError, match=rf"a\.jpg: not a readable image \({len(content)} bytes\)"
        ):
            read(path)


def test_a_missing_image_is_refused(tmp_path):
    for read in (read_image, image_hw):
        with pytest.raises(DataError, match=r"a\.jpg"):
            read(tmp_path / "a.jpg")
