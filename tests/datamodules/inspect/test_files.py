"""Which picture a name says an image was cut from."""

import pytest

from datamodules.inspect.files import picture_of


@pytest.mark.parametrize(
    ("image_id", "picture"),
    [
        ("m_4109442_se_15_1_20170709_06_13", "m_4109442_se"),
        ("P0001__1__0___824", "P0001"),
        ("field_0_0_512_512", "field"),
        ("IMG_1234_jpg.rf.5f2a9c0d1e2b3c4d", "IMG_1234_jpg"),
        ("2007_000033", None),
        ("00340", None),
        ("BloodImage_00037", None),
        ("envA_10t", None),
        ("labeled-data/m4s1/img0001", None),
        ("COCO_val2014_000000000042", None),
    ],
)
def test_a_picture_is_known_by_the_names_of_its_tiles_and_copies(
    image_id: str, picture: str | None
):
    assert picture_of(image_id) == picture
