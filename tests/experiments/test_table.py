"""The table: seeds become mean and spread, and its notes keep a reader from ranking noise."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import runs, table


def manifest(
    name: str, seed: int, ap50: float | None, backbone: str = "a", **changes: Any
) -> dict[str, Any]:
    protocol = {
        "input_hw": [96, 96],
        "epochs": 3,
        "batch_size": 4,
        "pretraining": None,
        "checkpoint": "best",
    }
    return {
        "status": "finished",
        "name": name,
        "seed": seed,
        "scale": "nano",
        "dataset": "scenes",
        "choices": {"detector": "yolov1", "backbone": backbone},
        "protocol": protocol,
        "members": {"backbone": {"width": 0.25}},
        "data": {"hashes": {"test": "abc"}},
        "scored_split": "test",
        "metrics": {"test": {"map_50": ap50, "map": 0.1}},
        "provenance": {"machine": {"processor": "abacus"}},
        "cost": {"parameters": 1234, "seconds_per_image": 0.01, "device": "cpu", "threads": 1},
    } | changes


@pytest.fixture
def folder(tmp_path: Path):
    def write(*manifests: dict[str, Any]) -> list[Path]:
        for content in manifests:
            (tmp_path / content["name"]).mkdir()
            runs.write_manifest(tmp_path / content["name"], content)
        return [tmp_path / content["name"] for content in manifests]

    return write


def test_runs_that_differ_in_the_seed_make_one_row_with_mean_and_sample_deviation(folder):
    rows = table.rows_of(folder(manifest("x", 0, 0.4), manifest("y", 1, 0.6)))
    assert len(rows) == 1
    assert "0.500 ± 0.141" in table.cells(rows[0])


def test_members_are_told_apart_by_regime_and_ablations_and_explained_once(folder):
    chosen = {"detector": "faster_rcnn", "backbone": "a"}
    rows = table.rows_of(
        folder(
            manifest("x", 0, 0.6, choices=chosen | {"regime": "joint", "ablation": ["roi_pool"]}),
            manifest("y", 0, 0.4, choices=chosen | {"regime": None, "ablation": []}),
        )
    )
    names = [table.cells(row)[0] for row in rows]
    assert names == ["faster_rcnn-a nano: joint, roi_pool", "faster_rcnn-a nano"]
    assert table.markdown(rows, {}).count("is a reduced member") == 1
    assert "faster_rcnn,a,joint+roi_pool,scenes" in table.as_csv(rows)


def test_training_in_stages_is_disclosed_once_with_the_epochs_of_all_stages(folder):
    chosen = {"detector": "faster_rcnn", "backbone": "a", "regime": "alternating"}
    stages = {"rpn": 3, "detector": 5}
    rows = table.rows_of(
        folder(
            manifest("x", 0, 0.6, choices=chosen, stages=stages),
            manifest("y", 0, 0.5, choices=chosen | {"ablation": ["roi_pool"]}, stages=stages),
            manifest("z", 0, 0.4, stages={}),
        )
    )
    (note,) = [note for note in table.notes(rows, {}) if "stages" in note]
    assert note == "alternating: 8 epochs in all, in stages (rpn 3, detector 5)"


def test_the_best_row_comes_first(folder):
    rows = table.rows_of(folder(manifest("x", 0, 0.4, "a"), manifest("y", 0, 0.6, "b")))
    assert [row.first["choices"]["backbone"] for row in rows] == ["b", "a"]


def test_a_gap_within_the_seeds_noise_is_not_ranked(folder):
    noisy = [manifest("a0", 0, 0.4), manifest("a1", 1, 0.6)]
    rows = table.rows_of(folder(*noisy, manifest("b0", 0, 0.45, "b"), manifest("b1", 1, 0.6, "b")))
    assert any("do not rank them" in note for note in table.notes(rows, {}))


def test_a_gap_far_beyond_the_noise_is_ranked(folder):
    quiet = [manifest("a0", 0, 0.40), manifest("a1", 1, 0.41)]
    rows = table.rows_of(folder(*quiet, manifest("b0", 0, 0.80, "b"), manifest("b1", 1, 0.81, "b")))
    assert any("more than two standard errors" in note for note in table.notes(rows, {}))


def test_one_seed_says_that_it_says_nothing(folder):
    rows = table.rows_of(folder(manifest("x", 0, 0.4), manifest("y", 0, 0.6, "b")))
    assert any("run more seeds" in note for note in table.notes(rows, {}))


def test_rows_under_different_protocols_are_called_not_comparable(folder):
    other = manifest("y", 0, 0.6, "b")
    other["protocol"] = other["protocol"] | {"epochs": 99}
    notes = table.notes(table.rows_of(folder(manifest("x", 0, 0.4), other)), {})
    assert any("NOT COMPARABLE" in note for note in notes)


def test_a_split_without_objects_is_said_not_scored(folder):
    rows = table.rows_of(folder(manifest("x", 0, None)))
    assert "n/a (0 objects)" in table.cells(rows[0])


def test_unfinished_runs_are_left_out_and_failures_are_named(folder):
    rows = table.rows_of(folder(manifest("x", 0, 0.4), manifest("y", 1, 0.6, status="failed")))
    assert len(rows[0].manifests) == 1
    assert "- NOT IN THE TABLE y: disk full" in table.markdown(rows, {"y": "disk full"})


def test_csv_keeps_one_unrounded_line_per_run(folder):
    lines = table.as_csv(
        table.rows_of(folder(manifest("x", 0, 1 / 3), manifest("y", 1, 0.6)))
    ).splitlines()
    assert len(lines) == 3
    assert f"{1 / 3}" in lines[1]


def test_the_manifest_on_disk_is_json(folder):
    (run_dir,) = folder(manifest("x", 0, 0.4))
    assert json.loads((run_dir / runs.MANIFEST).read_text())["seed"] == 0
