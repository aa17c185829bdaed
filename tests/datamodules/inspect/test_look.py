"""Perceptual hashes against re-encoded images, and all pairs against two plain loops."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.inspect.look import (
    differing_bits,
    look_at_all,
    nearest_before,
    perceptual_hash,
)
from datamodules.inspect.pictures import LOOK_ALIKE, NEIGHBOURS
from datamodules.sources.images import read_image
from tests.datamodules.inspect.sets import clean, dataset, picture


def altered(pixels: np.ndarray) -> dict[str, np.ndarray]:
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    height, width = pixels.shape[:2]
    half = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).normal(0, 8, pixels.shape)
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert decoded is not None
    return {
        "jpeg": decoded,
        "half": half,
        "light": cv2.convertScaleAbs(pixels, alpha=1.1, beta=8),
        "noise": np.clip(pixels + noise, 0, 255).astype(np.uint8),
    }


def bits_between(first: np.ndarray, second: np.ndarray) -> int:
    one, two = perceptual_hash(first), perceptual_hash(second)
    assert one is not None
    assert two is not None
    return differing_bits(one, two)


@pytest.mark.parametrize("folder", ["mask_wearing/images", "windmill_naip/images/train"])
def test_real_images_are_recognised_however_they_were_saved(folder: str, real_data: Path):
    for path in sorted((real_data / folder).iterdir())[:12]:
        pixels = read_image(path)
        worst = {how: bits_between(pixels, other) for how, other in altered(pixels).items()}
        assert max(worst.values()) <= LOOK_ALIKE, (path, worst)


@pytest.mark.parametrize("folder", ["mask_wearing/images", "voc2012_subset/JPEGImages"])
def test_different_real_images_are_told_apart(folder: str, real_data: Path):
    images = [read_image(path) for path in sorted((real_data / folder).iterdir())[:40]]
    pairs = [bits_between(a, b) for i, a in enumerate(images) for b in images[:i]]
    assert min(pairs) > NEIGHBOURS


def test_a_flat_image_is_like_no_other():
    assert perceptual_hash(np.full((50, 60, 3), 200, np.uint8)) is None
    index, bits = nearest_before([None, None], ["a", "b"], same_group=False)
    assert bits.tolist() == [255, 255]
    assert len(index) == 2


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.sampled_from("ab")), min_size=1, max_size=30),
    st.booleans(),
)
def test_the_nearest_earlier_image_is_that_of_two_plain_loops(pairs, same_group: bool):
    hashes, groups = [code for code, _ in pairs], [group for _, group in pairs]
    index, bits = nearest_before(hashes, groups, same_group=same_group)
    for i in range(len(pairs)):
        earlier = [j for j in range(i) if (groups[i] == groups[j]) == same_group]
        distances = [differing_bits(hashes[i], hashes[j]) for j in earlier]
        assert bits[i] == (min(distances) if distances else 255)
        assert not distances or earlier[distances.index(min(distances))] == index[i]


def test_more_images_than_a_block_are_all_compared():
    rng = np.random.default_rng(0)
    hashes = [int(code) for code in rng.integers(0, 2**63, 700)]
    hashes[-1] = hashes[3] ^ 1
    index, bits = nearest_before(hashes, ["train"] * 600 + ["val"] * 100, same_group=False)
    assert (index[-1], bits[-1]) == (3, 1)
    assert bits[:600].min() == 255


def test_looks_come_in_the_order_of_the_images_whatever_the_number_of_threads(tmp_path: Path):
    data = dataset(clean(tmp_path))
    alone = list(look_at_all(data, 1))
    assert list(look_at_all(data, 4)) == alone
    expected = [perceptual_hash(data.sources[i.split].image(i.index)) for i in data.images]
    assert [look.phash for look in alone] == expected
    assert len({look.content for look in alone}) == len(data.images)


def test_a_copy_has_the_same_content_and_a_resaved_file_has_not(tmp_path: Path):
    root = clean(tmp_path)
    files = [root / f"JPEGImages/{name}.jpg" for name in "abc"]
    files[1].write_bytes(files[0].read_bytes())
    cv2.imwrite(str(files[2]), picture("a"), [cv2.IMWRITE_JPEG_QUALITY, 50])
    a, b, c, *_ = look_at_all(dataset(root))
    assert a == b
    assert a.content != c.content
    assert a.phash is not None
    assert c.phash is not None
    assert differing_bits(a.phash, c.phash) <= LOOK_ALIKE
