import numpy as np
import torch

from datamodules.sources.worlds.faces import Faces
from datamodules.sources.worlds.heads import Head
from datamodules.sources.worlds.looks import WITH_MASK, WITHOUT_MASK, WORN_INCORRECTLY
from tests.datamodules.sources.worlds.drawn import layouts, pictures, targets


def test_faces_reach_from_12_px_to_a_third_of_the_picture_and_from_none_to_a_crowd():
    found = targets(Faces())
    assert {len(target) for target in found} >= {0, 1, 2, 3, 5}
    assert 8 <= max(len(target) for target in found) <= 12
    sides = torch.cat([t.boxes[:, 2:] - t.boxes[:, :2] for t in found]).amax(dim=1)
    assert 12 <= sides.min() < 15
    assert 80 < sides.max() < 150


def test_a_mask_covers_the_nose_only_if_it_is_worn_well():
    """Seen in the picture, above the tip of the nose and at the chin."""
    seen = {WITH_MASK: 0, WITHOUT_MASK: 0, WORN_INCORRECTLY: 0}
    expected = {WITH_MASK: [True, True], WITHOUT_MASK: [False, False]}
    for layout, canvas in zip(layouts(Faces()), pictures(Faces()), strict=False):
        heads = [thing for thing in layout.things if isinstance(thing, Head)]
        for number, head in enumerate(heads, start=1):
            own = layout.visible == number
            colours = [_colour(canvas, own, head, height) for height in (0.17, 0.92)]
            unlike = abs(head.look.yaw) > 0.4 or head.look.beard > 0
            if head.half < 8 or unlike or any(colour is None for colour in colours):
                continue
            masked = [_nearer_mask(colour, head) for colour in colours]
            assert masked == expected.get(head.look.label, [False, True])
            seen[head.look.label] += 1
    assert min(seen.values()) >= 2


def _colour(canvas, own, head: Head, height: float):
    """Of the middle of the face, `height` down; None: something else is in front."""
    middle = np.array([[head.look.turned(0.0) * 0.5, height]])
    cosine, sine = np.cos(head.roll), np.sin(head.roll)
    x, y = (middle * head.half @ [[cosine, sine], [-sine, cosine]] + head.centre)[0].astype(int)
    inside = 0 <= x < own.shape[1] and 0 <= y < own.shape[0]
    return canvas[y, x].astype(float) if inside and own[y, x] else None


def _nearer_mask(colour, head: Head) -> bool:
    """By the direction of the colour, because light and folds change the brightness."""
    parts = [np.array(c) for c in (colour, head.look.mask_colour, head.look.skin)]
    seen, mask, skin = (part / max(np.linalg.norm(part), 1) for part in parts)
    return bool(np.linalg.norm(seen - mask) < np.linalg.norm(seen - skin))
