"""Which checks run when: before every training those that need no pixel, on demand all of them."""

from collections.abc import Sequence

from datamodules.inspect import annotations, files, mistakes, pictures
from datamodules.inspect.dataset import Dataset
from datamodules.inspect.finding import Finding, findings_of
from datamodules.inspect.look import Look


def quick_check(data: Dataset) -> list[Finding]:
    """What training says before its first step: under a second for 5000 images."""
    return findings_of(
        (
            files.files_in_two_splits,
            annotations.classes_without_training,
            annotations.points_outside_their_box,
            annotations.duplicate_boxes,
            annotations.vanishing_objects,
        ),
        data,
    )


def full_check(data: Dataset, looks: Sequence[Look]) -> list[Finding]:
    """Everything there is to find, errors of the files first; a look per image of `data`.

    Equal contents stand for one file in two splits here.
    """
    first = findings_of(mistakes.ALL, data)
    of_pictures = findings_of(
        (
            pictures.unreadable_images,
            pictures.same_image_in_two_splits,
            pictures.video_frames_in_two_splits,
            pictures.similar_images_in_two_splits,
            pictures.repeated_images,
            pictures.similar_images_in_one_split,
        ),
        data,
        looks,
    )
    of_annotations = findings_of(
        (
            annotations.classes_without_training,
            annotations.classes_never_seen,
            annotations.duplicate_boxes,
            annotations.points_outside_their_box,
            annotations.vanishing_objects,
            annotations.odd_sizes,
            annotations.images_without_objects,
            files.images_cut_from_one_picture,
            files.images_in_no_split,
        ),
        data,
    )
    order = ("error", "warning", "note")
    found = first + of_pictures + of_annotations
    return sorted(found, key=lambda finding: order.index(finding.severity))
