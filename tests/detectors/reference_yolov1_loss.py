"""YOLOv1's loss once more: cell by cell, box by box, number by number. Slow and obvious."""

import math


def reference_loss(raw, targets, grid, image_hw, *, size_units, confidence_target, scope):
    """The five terms, summed over the batch, as floats."""
    terms = dict.fromkeys(("xy", "wh", "object", "no_object", "class"), 0.0)
    for image, target in enumerate(targets):
        owner, spoiled = owners(target, grid, image_hw)
        for row in range(grid):
            for column in range(grid):
                scores = raw.class_scores[image, row, column].tolist()
                confidences = raw.confidence[image, row, column].tolist()
                boxes = raw.boxes[image, row, column].tolist()
                place = (row, column)
                if place not in owner:
                    if place not in spoiled:
                        terms["no_object"] += sum(c**2 for c in confidences)
                    continue
                index = owner[place]
                wanted = target.boxes[index].tolist()
                px = [to_pixels(box, place, grid, image_hw, size_units) for box in boxes]
                overlaps = [iou(box, wanted) for box in px]
                best = overlaps.index(max(overlaps))
                assert overlaps[best] > 0, "the reference leaves this case to its own test"
                x, y, w, h = code_of(wanted, place, grid, image_hw, size_units)
                terms["xy"] += (boxes[best][0] - x) ** 2 + (boxes[best][1] - y) ** 2
                terms["wh"] += (math.sqrt(boxes[best][2]) - math.sqrt(w)) ** 2
                terms["wh"] += (math.sqrt(boxes[best][3]) - math.sqrt(h)) ** 2
                goal = overlaps[best] if confidence_target == "iou" else 1.0
                terms["object"] += (confidences[best] - goal) ** 2
                label = int(target.labels[index])
                for c, score in enumerate(scores):
                    terms["class"] += (score - (1.0 if c == label else 0.0)) ** 2
                if scope == "all_non_responsible":
                    for b, confidence in enumerate(confidences):
                        if b != best:
                            terms["no_object"] += confidence**2
    return terms


def owners(target, grid, image_hw):
    """Which object owns which (row, column), and the cells with a crowd or difficult object."""
    owner, spoiled = {}, set()
    for index, box in enumerate(target.boxes.tolist()):
        place = cell_of(box, grid, image_hw)
        if target.crowd[index] or target.difficult[index]:
            spoiled.add(place)
        elif place not in owner:
            owner[place] = index
    return owner, spoiled


def cell_of(box, grid, image_hw):
    height, width = image_hw
    column = int((box[0] + box[2]) / 2 / width * grid)
    row = int((box[1] + box[3]) / 2 / height * grid)
    return min(row, grid - 1), min(column, grid - 1)


def code_of(box, place, grid, image_hw, size_units):
    height, width = image_hw
    x = (box[0] + box[2]) / 2 / width * grid - place[1]
    y = (box[1] + box[3]) / 2 / height * grid - place[0]
    unit = grid if size_units == "cell" else 1
    return x, y, (box[2] - box[0]) / width * unit, (box[3] - box[1]) / height * unit


def to_pixels(code, place, grid, image_hw, size_units):
    height, width = image_hw
    unit = grid if size_units == "cell" else 1
    x, y = (place[1] + code[0]) * width / grid, (place[0] + code[1]) * height / grid
    w, h = code[2] / unit * width, code[3] / unit * height
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(w, 0) * max(h, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return overlap / (area - overlap)
