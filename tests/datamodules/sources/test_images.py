import struct
import zlib

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


def by_pillow(path) -> np.ndarray:
    """The reference: turned, then RGB."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


MODES = {
    ".jpg": ("L", "CMYK"),
    ".png": ("1", "L", "LA", "P", "RGBA"),
    ".tif": ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"),
    ".webp": ("RGBA",),
    ".bmp": ("1", "L", "P", "RGBA"),
}


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]
)
def test_grey_palette_transparent_and_printing_colours_become_the_rgb_of_pillow(
    tmp_path, suffix, mode
):
    path = tmp_path / f"a{suffix}"
    picture = Image.fromarray(HALVES).convert(mode)
    if "A" in mode:
        picture.putalpha(Image.fromarray(np.full(HALVES.shape[:2], 90, np.uint8)))
    picture.save(path)
    assert np.abs(read_image(path).astype(int) - by_pillow(path)).max() <= 1
    assert image_hw(path) == (40, 60)


def test_the_inverted_colours_of_adobes_printing_jpegs_become_the_rgb_of_pillow(tmp_path):
    """Photoshop's YCCK: Adobe's marker with transform 2, after which the values are inverted."""
    path = tmp_path / "a.jpg"
    ycc = np.asarray(Image.fromarray(HALVES).convert("YCbCr"))
    black = np.full((*HALVES.shape[:2], 1), 200, np.uint8)
    Image.fromarray(np.concatenate([ycc, black], axis=2), mode="CMYK").save(path, quality=95)
    data = path.read_bytes()
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    start = data.index(b"Adobe") - 4
    path.write_bytes(data[:start] + marker + b"\x02" + data[start + 16 :])
    assert np.abs(read_image(path).astype(int) - by_pillow(path)).max() <= 3
    assert np.ptp(read_image(path)) > 50


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, suffix, channels):
    values = np.arange(40 * 60 * channels, dtype=np.uint16).reshape(40, 60, channels) * 9
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), values[..., ::-1])
    expected = np.broadcast_to(values >> 8, (40, 60, 3))
    assert np.abs(read_image(path).astype(int) - expected).max() <= 1
    assert image_hw(path) == (40, 60)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_whose_range_nobody_knows_are_refused(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.fromarray(HALVES).convert("L").convert(mode).save(path)
    with pytest.raises(DataError, match="32-bit numbers, whose range is unknown: convert it"):
        read_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_exif_orientation_is_applied_to_pixels_and_size(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a{suffix}", exif=exif)
    pixels = read_image(path)
    assert image_hw(path) == pixels.shape[:2]
    upright = by_pillow(path)
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() < 60


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind the pixels"])
def test_a_png_may_state_its_orientation_anywhere(tmp_path, behind):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(tmp_path / "a.png").read_bytes()
    start = data.index(b"IEND" if behind else b"IDAT") - 4
    path = tmp_path / "b.png"
    turned = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    path.write_bytes(data[:start] + turned + data[start:])
    assert image_hw(path) == read_image(path).shape[:2] == (60, 40)


def test_what_xmp_says_about_the_orientation_counts_neither_for_pixels_nor_for_size(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
    path = save(tmp_path / "a.jpg", xmp=xmp)
    with Image.open(path) as image:
        assert image.getexif().get(0x0112) == 6  # Pillow would turn it
    assert image_hw(path) == read_image(path).shape[:2] == (40, 60)


def test_a_large_picture_is_no_reason_to_warn(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((9500, 9500), np.uint8))
    assert image_hw(path) == (9500, 9500)


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


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_any_other_image_that_is_cut_off_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"a\{suffix}: (the PNG is cut off|not a readable image)"):
        read_image(path)


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
