import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.sources.body_box import PointsBox, ThresholdBox
from datamodules.sources.dlc_csv import DlcCsv
from detectors.errors import ConfigError, DataError
from detectors.structures import DatasetInfo

MOUSE = DatasetInfo("mouse", ("mouse",), ("head", "body", "tail"))
PARTS = ("snout", "leftear", "rightear", "tailbase")
POINTS = {
    "head": ["snout", "leftear", "rightear"],
    "body": [["leftear", "rightear"], "tailbase"],
    "tail": ["tailbase"],
}
LABELLED = ("10,20", "16,14", "16,26", "60,20")
"""x, y of the four parts: an animal that looks to the left."""

HW = (100, 120)
TABLE = "CollectedData_me.csv"


def header(individuals: Sequence[str] = ("",), parts: Sequence[str] = PARTS, index: int = 1) -> str:
    pairs = [(who, part) for who in individuals for part in parts]
    rows = {
        "scorer": ["me" for _ in pairs],
        "individuals": [who for who, _ in pairs],
        "bodyparts": [part for _, part in pairs],
    }
    if individuals == ("",):
        del rows["individuals"]
    blank = "," * (index - 1)
    lines = [f"{name}{blank},{','.join(f'{c},{c}' for c in cells)}" for name, cells in rows.items()]
    return "\n".join([*lines, f"coords{blank},{','.join('x,y' for _ in pairs)}"])


def project(
    root: Path, rows: Mapping[str, str], head: str | None = None, video: str = "m1"
) -> Path:
    """A video's folder with its table; a row is `path: cells`, and each path below it an image."""
    folder = root / "labeled-data" / video
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header() if head is None else head, *(f"{path},{row}" for path, row in rows.items())]
    (folder / TABLE).write_text("\n".join(lines) + "\n")
    for path in rows:
        frame(folder / path.replace(",", "/").replace("\\", "/").rpartition("/")[2])
    return root


def frame(path: Path) -> None:
    """A dark ellipse from x 8 to 62 and y 10 to 30 on a bright floor, with a thin tail."""
    pixels = np.full(HW, 200, np.uint8)
    cv2.ellipse(pixels, (35, 20), (27, 10), 0, 0, 360, 30, -1)
    cv2.line(pixels, (62, 20), (100, 60), 30, 2)
    cv2.imwrite(str(path), pixels)


def mice(root: Path, **options) -> DlcCsv:
    return DlcCsv(MOUSE, root, **{"points": POINTS, "centre_at_zero": False} | options)


IMAGE = "labeled-data/m1/img0.png"


def test_a_keypoint_is_the_mean_of_its_parts_and_of_the_means_of_its_groups(tmp_path):
    source = mice(project(tmp_path, {IMAGE: ",".join(LABELLED)}))
    assert source.ids == ["m1/img0"]
    points = source.target(0).keypoints
    assert points is not None
    assert points.tolist() == [[[14, 20, 2], [38, 20, 2], [60, 20, 2]]]


def test_dlc_counts_from_the_centre_of_the_first_pixel_unless_told_otherwise(tmp_path):
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    one, two = (mice(root, centre_at_zero=at).target(0).keypoints for at in (True, False))
    assert one is not None
    assert two is not None
    assert (one - two)[..., :2].unique().tolist() == [0.5]


@pytest.mark.parametrize("missing", ["", "NaN", "nan"])
def test_a_point_is_absent_if_any_of_its_parts_is(tmp_path, missing):
    cells = ",".join((LABELLED[0], f"{missing},{missing}", *LABELLED[2:]))
    points = mice(project(tmp_path, {IMAGE: cells})).target(0).keypoints
    assert points is not None
    assert points.tolist() == [[[0, 0, 0], [0, 0, 0], [60, 20, 2]]]


@pytest.mark.parametrize(
    ("path", "index"),
    [
        ("labeled-data/m1/img0.png", 1),
        (r"labeled-data\m1\img0.png", 1),
        ("C:\\Users\\me\\labeled-data\\m1\\img0.png", 1),
        ("labeled-data,m1,img0.png", 3),
    ],
)
def test_the_path_may_stand_in_one_column_or_three_and_be_of_another_machine(tmp_path, path, index):
    root = project(tmp_path, {path: ",".join(LABELLED)}, header(index=index))
    assert mice(root).ids == ["m1/img0"]


def test_several_animals_are_several_objects_and_unique_parts_are_none(tmp_path):
    head = header(("one", "two"), index=3)
    lines = [
        f"{line},{extra}"
        for line, extra in zip(
            head.splitlines(), ("me,me", "single,single", "corner,corner", "x,y"), strict=True
        )
    ]
    both, shifted = ",".join(LABELLED), "20,60,26,54,26,66,70,60"
    rows = {
        "labeled-data,m1,img0.png": f"{both},{shifted},1,1",
        "labeled-data,m1,img1.png": f"{',' * 7},{shifted},1,1",
    }
    source = mice(project(tmp_path, rows, "\n".join(lines)))
    assert [len(source.target(i)) for i in range(2)] == [2, 1]
    first = source.target(0)
    assert first.keypoints is not None
    assert first.keypoints[:, 2].tolist() == [[60, 20, 2], [70, 60, 2]]
    assert source.target(1).labels.tolist() == [0]


def test_every_video_of_a_project_is_read(tmp_path):
    project(tmp_path, {"labeled-data/m1/a.png": ",".join(LABELLED)})
    project(tmp_path, {"labeled-data/m2/a.png": ",".join(LABELLED)}, video="m2")
    assert mice(tmp_path).ids == ["m1/a", "m2/a"]


def test_keypoints_without_recipes_are_the_body_parts_of_their_names(tmp_path):
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    info = DatasetInfo("mouse", ("mouse",), ("tailbase", "snout"))
    points = DlcCsv(info, root, centre_at_zero=False).target(0).keypoints
    assert points is not None
    assert points.tolist() == [[[60, 20, 2], [10, 20, 2]]]


def test_the_points_box_grows_by_body_lengths_and_stays_in_the_image(tmp_path):
    source = mice(project(tmp_path, {IMAGE: ",".join(LABELLED)}), box=PointsBox(0.1))
    assert source.target(0).boxes.tolist() == [[5, 9, 65, 31]]
    source = mice(tmp_path, box=PointsBox(1.0))
    assert source.target(0).boxes.tolist() == [[0, 0, 110, 76]]
    assert source.target(0).area.tolist() == [110 * 76]


def test_the_threshold_box_is_the_animals_extent_without_its_tail(tmp_path):
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    box = mice(root, box=ThresholdBox(100.0, margin=0.0)).target(0).boxes[0].numpy()
    np.testing.assert_allclose(box, [8, 10, 63, 31], atol=2)
    wider = mice(root, box=ThresholdBox(100.0, margin=2.0)).target(0).boxes[0].numpy()
    np.testing.assert_allclose(wider, box + np.float32([-2, -2, 2, 2]), atol=1e-4)


def test_the_threshold_box_may_seek_a_bright_animal(tmp_path):
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    path = root / IMAGE
    dark = mice(root, box=ThresholdBox(100.0)).target(0).boxes
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    bright = mice(root, box=ThresholdBox(155.0, dark=False)).target(0).boxes
    assert bright.tolist() == dark.tolist()


def test_the_threshold_box_reaches_no_further_into_a_wall_than_told(tmp_path):
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    pixels = cv2.imread(str(root / IMAGE))
    pixels[25:] = 30  # the floor below the animal lies in the dark
    cv2.imwrite(str(root / IMAGE), pixels)
    box = mice(root, box=ThresholdBox(100.0, reach=0.3, margin=0.0)).target(0).boxes[0]
    length = np.hypot(60 - 10, 0)
    assert box[3] == np.ceil(26 + 0.3 * length)


def test_an_animal_that_the_threshold_does_not_find_is_an_invalid_box(tmp_path):
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    with pytest.raises(DataError, match=r"img0\.png: nothing darker than grey level 5 between"):
        mice(root, box=ThresholdBox(5.0))
    source = mice(root, box=ThresholdBox(5.0), mistakes="drop_boxes")
    assert (len(source), len(source.target(0)), len(source.dropped)) == (1, 0, 1)


coordinates = st.tuples(st.floats(0, HW[1] - 1), st.floats(0, HW[0] - 1))


@settings(max_examples=40, deadline=None)
@given(st.lists(coordinates, min_size=2, max_size=6), st.floats(0, 2))
def test_all_parts_lie_inside_of_both_boxes(tmp_path_factory, parts, margin):
    path = tmp_path_factory.getbasetemp() / "frame.png"
    if not path.is_file():
        frame(path)
    points = np.array(parts)
    rules = [PointsBox(margin), ThresholdBox(255.0, reach=margin, opening=1, margin=margin)]
    for x1, y1, x2, y2 in (rule(points, path) for rule in rules):
        assert x1 <= points[:, 0].min() <= points[:, 0].max() <= x2
        assert y1 <= points[:, 1].min() <= points[:, 1].max() <= y2
        assert min(x1, y1) >= 0
        assert x2 <= HW[1]
        assert y2 <= HW[0]


def test_frames_that_nobody_labelled_are_a_mistake_empty_or_left_out(tmp_path):
    rows = {IMAGE: ",".join(LABELLED), "labeled-data/m1/img1.png": "," * 7}
    root = project(tmp_path, rows)
    frame(root / "labeled-data/m1/img2.png")
    with pytest.raises(DataError, match=r"img1\.png: an image without labels"):
        mice(root)
    empty = mice(root, unlabelled="empty")
    assert [len(empty.target(i)) for i in range(len(empty))] == [1, 0, 0]
    assert mice(root, unlabelled="skip").ids == ["m1/img0"]
    assert len(mice(root, mistakes="drop_all").dropped) == 2


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("1,2,3,4,5,6,x7,8", r"line 4: x of 'tailbase' is 'x7': write a number"),
        ("1,2,3,4,5,6,7,", r"line 4: 'tailbase' has x or y only"),
        ("1,2,3,4,5,6,7", r"line 4: 8 cells, but the header has 9"),
        ("1,2,,,,,,", r"line 4: 1 labelled part\(s\), which make no box"),
        ("1,2,3,4,5,6,130,8", r"line 4: point 'tailbase' \(130, 8, 2\) lies outside the 120x100"),
        ("1,2,3,4,5,6,inf,8", r"line 4: point 'tailbase' \(inf, 8, 2\) is not finite"),
    ],
)
def test_what_is_wrong_in_a_row_is_named_with_its_line(tmp_path, cells, message):
    root = project(tmp_path, {IMAGE: cells})
    with pytest.raises(DataError, match=message) as caught:
        mice(root)
    assert TABLE in str(caught.value)
    assert len(mice(root, mistakes="drop_all").dropped) >= 1


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("a,b\nc,d", "does not begin with the rows scorer"),
        (header().replace("x,y", "p,q"), "its row 'coords' names no x"),
        (header().replace("x,y", "x,x"), "has not one x and one y for each part"),
        (header(parts=(*PARTS, "snout")), "has not one x and one y for each part"),
        (header().replace("bodyparts,", "bodyparts,extra,"), "its header rows differ in length"),
        (header(parts=("nose", *PARTS[1:])), r"has no body part 'snout': it has nose, leftear"),
        (header(parts=("snuot", *PARTS[1:])), r"has no body part 'snout': did you mean 'snuot'\?"),
    ],
)
def test_a_table_of_another_kind_is_refused(tmp_path, head, message):
    with pytest.raises(DataError, match=message) as caught:
        mice(project(tmp_path, {IMAGE: ",".join(LABELLED)}, head))
    assert str(caught.value).startswith(str(tmp_path / "labeled-data/m1" / TABLE))


def test_a_frame_labelled_twice_and_a_row_without_its_frame_are_refused(tmp_path):
    rows = {IMAGE: ",".join(LABELLED), r"labeled-data\m1\img0.png": ",".join(LABELLED)}
    with pytest.raises(DataError, match=r"line 5: img0\.png is labelled in .* line 4 too"):
        mice(project(tmp_path, rows))
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    (root / IMAGE).rename(root / "labeled-data/m1/other.png")
    with pytest.raises(DataError, match=r"line 4: labels without an image"):
        mice(root, unlabelled="skip")


@pytest.mark.parametrize("tables", ["nowhere/*.csv", "", "/absolute/*.csv"])
def test_a_pattern_that_no_table_matches_is_refused(tmp_path, tables):
    with pytest.raises(DataError, match=f"no file matches tables={tables}".replace("*", r"\*")):
        mice(project(tmp_path, {IMAGE: ",".join(LABELLED)}), tables=tables)


@pytest.mark.parametrize(
    "points",
    [{"head": ["snout"]}, {**POINTS, "tail": []}, {**POINTS, "paw": ["snout"]}],
)
def test_recipes_must_give_parts_for_each_keypoint(tmp_path, points):
    with pytest.raises(ConfigError, match=r"it must give body parts for each of head, body, tail"):
        mice(tmp_path, points=points)


def test_dlc_data_has_one_class(tmp_path):
    with pytest.raises(ConfigError, match="name one class"):
        DlcCsv(DatasetInfo("zoo", ("mouse", "rat")), tmp_path)


@pytest.mark.parametrize("options", [{"level": 300.0}, {"level": 9.0, "opening": 0}])
def test_impossible_box_rules_are_refused(options):
    with pytest.raises(ConfigError, match="the level is 0 to 255"):
        ThresholdBox(**options)
    with pytest.raises(ConfigError, match="0 or more body lengths"):
        PointsBox(-0.1)


def test_an_h5_table_says_what_it_needs_where_pandas_is_missing(tmp_path, monkeypatch):
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    (root / "labeled-data/m1/CollectedData_me.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match=r"me\.h5: cannot be read without pandas: pip install"):
        mice(root, tables="labeled-data/*/*.h5")


def test_an_h5_table_reads_like_its_csv(tmp_path):
    pandas = pytest.importorskip("pandas", reason="reading .h5 needs pandas and pytables")
    pytest.importorskip("tables", reason="reading .h5 needs pandas and pytables")
    root = project(tmp_path, {IMAGE: ",".join(LABELLED)})
    table = pandas.read_csv(root / "labeled-data/m1" / TABLE, header=[0, 1, 2], index_col=0)
    table.to_hdf(root / "labeled-data/m1/CollectedData_me.h5", key="df_with_missing", mode="w")
    one, two = (mice(root, tables=f"labeled-data/*/*.{end}").target(0) for end in ("csv", "h5"))
    assert one.keypoints is not None
    assert two.keypoints is not None
    assert one.keypoints.tolist() == two.keypoints.tolist()
    (root / "labeled-data/m1/CollectedData_me.h5").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"me\.h5: not a readable table"):
        mice(root, tables="labeled-data/*/*.h5")
