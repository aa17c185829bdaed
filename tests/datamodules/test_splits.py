import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.splits import GeneratedSplit, ListedSplit, natural, split_hash
from detectors.errors import ConfigError, DataError

ROOT = Path("set")
REPORT = {"train": 90.0, "val": 10.0}
GROUP = r"^g\d+"


def deal(ids: list[str], shares: dict[str, float], **options) -> dict[str, list[str]]:
    return {part: GeneratedSplit(part, shares, **options)(ids, ROOT) for part in shares}


def videos(frames: list[int]) -> list[str]:
    return [f"g{video}/img{frame}" for video, n in enumerate(frames) for frame in range(n)]


def folder_with(root: Path, text: str) -> Path:
    (root / "list.txt").write_bytes(text.encode())
    return root


few = settings(max_examples=40, deadline=None)
sizes = st.lists(st.integers(1, 12), min_size=3, max_size=12)
some_shares = st.fixed_dictionaries({p: st.floats(0.05, 10) for p in ("train", "val", "test")})


@few
@given(sizes, some_shares, st.integers(0, 9))
def test_parts_are_disjoint_cover_all_images_and_divide_no_group(frames, shares, seed):
    ids = videos(frames)
    parts = deal(ids, shares, seed=seed, group=GROUP)
    assert sorted(itertools.chain(*parts.values())) == sorted(ids)
    groups = [{image_id.split("/")[0] for image_id in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(frames)


@few
@given(sizes, some_shares, st.integers(0, 9))
def test_no_part_is_empty_or_exceeds_its_share_by_a_whole_group(frames, shares, seed):
    ids = videos(frames)
    for part, picked in deal(ids, shares, seed=seed, group=GROUP).items():
        due = len(ids) * shares[part] / sum(shares.values())
        assert 0 < len(picked) < due + max(frames) + 1e-6


@few
@given(st.integers(20, 150), st.integers(0, 9))
def test_shares_of_single_images_are_met_to_the_image(n, seed):
    parts = deal([f"img{i}" for i in range(n)], REPORT, seed=seed)
    assert abs(len(parts["val"]) - n / 10) < 1


def test_2885_images_are_divided_as_the_paper_counts_its_windmills():
    counts = {"train": 2522.0, "val": 240.0, "test": 123.0}
    parts = deal([f"windmill{i}" for i in range(2885)], counts)
    assert {part: len(picked) for part, picked in parts.items()} == counts


@few
@given(sizes, st.randoms(use_true_random=False))
def test_the_order_in_which_files_are_found_changes_nothing(frames, order: random.Random):
    ids = videos(frames)
    shuffled = order.sample(ids, len(ids))
    assert deal(ids, REPORT, group=GROUP, block=4) == deal(shuffled, REPORT, group=GROUP, block=4)


def test_another_seed_is_another_split_and_the_same_seed_the_same():
    ids = [f"img{i}" for i in range(100)]
    one, again, two = (deal(ids, REPORT, seed=seed) for seed in (0, 0, 1))
    assert one == again != two


@few
@given(sizes, st.integers(1, 12))
def test_blocks_are_runs_of_consecutive_frames_of_one_video(frames, block):
    holders = Counter()
    for picked in deal(videos(frames), REPORT, group=GROUP, block=block).values():
        places = [image_id.split("/img") for image_id in picked]
        holders.update({(video, int(frame) // block) for video, frame in places})
    assert set(holders.values()) == {1}


def test_frame_10_follows_frame_9_in_a_block():
    ids = [f"v/f{i}" for i in range(40)]
    train = GeneratedSplit("train", {"train": 3.0, "val": 1.0}, group="^v", block=10)(ids, ROOT)
    kept = {int(name[3:]) // 10 for name in train}
    assert train == [f"v/f{i}" for i in range(40) if i // 10 in kept]
    assert sorted(["f10", "f9", "f09"], key=natural) == ["f09", "f9", "f10"]


def test_the_groups_of_the_pattern_decide_where_it_has_some():
    ids = [f"{day}_{place}_{n}" for day in "12" for place in "abcd" for n in range(5)]
    parts = deal(ids, {"train": 1.0, "val": 1.0}, group=r"_([a-d])_")
    places = [{name[2] for name in part} for part in parts.values()]
    assert [len(place) for place in places] == [2, 2]
    assert places[0].isdisjoint(places[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "dev"}, "split part 'dev' with shares"),
        ({"shares": {"train": 1.0, "val": 0.0}}, "each share above 0"),
        ({"block": 0}, "block=0"),
        ({"group": "("}, "no regular expression"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        GeneratedSplit(**{"part": "train", "shares": REPORT} | options)


def test_fewer_groups_than_splits_and_names_outside_the_pattern_are_refused():
    with pytest.raises(DataError, match=r"1 group\(s\) of images cannot fill 2 splits"):
        deal(videos([5]), REPORT, group=GROUP)
    with pytest.raises(DataError, match=r"odd: the split's group '\^g"):
        deal([*videos([5, 5]), "odd"], REPORT, group=GROUP)


@pytest.mark.parametrize(
    "line",
    [
        "a/dog1",
        "a/dog1.jpg",
        "images/a/dog1.png",
        "/home/someone/set/images/a/dog1.jpg",
        r"C:\set\a\dog1.JPG",
        "a/dog1 -1",
        "dog1.jpg  1",
        "\ufeffdog1",
    ],
)
def test_a_line_may_be_a_name_a_file_a_path_or_the_first_of_several_columns(tmp_path, line):
    root = folder_with(tmp_path, f"{line}\r\n\r\n")
    assert ListedSplit("list.txt")(["a/cat 2", "a/dog1", "b/dog"], root) == ["a/dog1"]


def test_a_list_keeps_its_order_and_knows_names_with_spaces_and_dots(tmp_path):
    root = folder_with(tmp_path, "v.2 b\nv.1\nv.2 a.png\n")
    split = ListedSplit("list.txt")
    assert split(["v.1", "v.2 a", "v.2 b"], root) == ["v.2 b", "v.1", "v.2 a"]


def test_an_end_of_two_paths_names_neither(tmp_path):
    root = folder_with(tmp_path, "dog.jpg\n")
    with pytest.raises(DataError, match=r"list\.txt: 'dog\.jpg': neither image nor annotation"):
        ListedSplit("list.txt")(["a/dog", "b/dog"], root)


def test_a_list_that_is_missing_or_empty_is_explained(tmp_path):
    root = folder_with(tmp_path, "\n \n")
    with pytest.raises(DataError, match=r"list\.txt: the list names no image"):
        ListedSplit("list.txt")(["a"], root)
    with pytest.raises(DataError, match=r"no\.txt: no such list: choose from list\.txt"):
        ListedSplit("no.txt")(["a"], root)


def test_the_hash_of_a_split_tells_its_images_and_not_their_order():
    assert split_hash(["a", "b"]) == split_hash(["b", "a"]) != split_hash(["a", "c"])
