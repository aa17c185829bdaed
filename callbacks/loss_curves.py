"""How a training went: losses and scores over its epochs, drawn from the CSV log."""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from jaxtyping import UInt8

from callbacks import figures
from callbacks.csv_log import CsvLog, read_log
from callbacks.pictures import write_png

Line = tuple[list[float], list[float]]
"""Epochs of training seen, and values."""
Panel = tuple[str, dict[str, Line]]
"""A title, and lines by their names."""

SCORES = {
    "average precision": {"map_50": "AP50", "map": "mAP"},
    "best F1": {"f1": "F1", "precision": "precision", "recall": "recall"},
    "keypoints": {"oks_map": "OKS mAP", "pck_box_10": "PCK 0.10"},
}
"""Panels of validation scores: titles, and how the lines of metrics are called. (Precision and
recall are those where F1 is best.)
"""

COLUMNS = 4
"""At most."""
FEW = 20
"""Up to so many values of a line are also marked one by one."""


class LossCurves(L.Callback):
    """Draws `curves.png` beside the file of `CsvLog`, every `every_n_epochs` and after a fit.

    One panel per loss term, of train and val, and panels of validation scores. Everything is read
    from the file: a resumed run shows all its epochs. Without a `CsvLog` nothing is drawn. (W&B and
    TensorBoard have the same numbers, and draw them themselves.)
    """

    def __init__(self, every_n_epochs: int = 5) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws now and then; the validation of this epoch is over and logged."""
        done = trainer.current_epoch + 1
        if done % self.every_n_epochs == 0 and done != trainer.max_epochs:
            _draw_log(trainer, pl_module, done)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws the whole course."""
        _draw_log(trainer, pl_module, trainer.current_epoch)


def read_course(path: Path, epochs: int) -> dict[str, Line]:
    """The `train/` and `val/` columns of the first `epochs` epochs of a CSV log.

    What is logged at training steps becomes one mean per epoch, which stands in its middle; what
    validation found stands at the epoch's end. Later rows are no part of the course: they hold the
    scores of the chosen checkpoint.
    """
    logged: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read_log(path)[1]:
        epoch = int(row.get("epoch", epochs))
        if epoch < epochs:
            for name, value in row.items():
                if name.startswith(("train/", "val/")):
                    logged[name][epoch].append(float(value))
    return {name: _line(name, of_epoch) for name, of_epoch in logged.items()}


def panels_of(course: dict[str, Line], loss_weights: dict[str, float]) -> list[Panel]:
    """One for the total loss, for each (unweighted) term, and for each group of scores.

    Without lines that were not logged, and panels without lines.
    """
    titles = {"loss": "loss (weighted sum)"}
    titles |= {
        term: term if weight == 1 else f"{term} (weight {weight:g})"
        for term, weight in loss_weights.items()
    }
    wanted = [
        (title, {"train": f"train/{term}", "val": f"val/{term}"}) for term, title in titles.items()
    ]
    wanted += [
        (title, {label: f"val/{name}" for name, label in names.items()})
        for title, names in SCORES.items()
    ]
    panels = [
        (title, {label: course[name] for label, name in names.items() if _known(course.get(name))})
        for title, names in wanted
    ]
    return [(title, lines) for title, lines in panels if lines]


def draw_course(panels: list[Panel], epochs: int) -> UInt8[np.ndarray, "h w 3"]:
    """The panels on one sheet, all over the same epochs."""
    rows = math.ceil(len(panels) / COLUMNS)
    sheet, axes = figures.panels(rows, math.ceil(len(panels) / rows), width=3.8, height=2.7)
    for place, panel in zip(axes, panels, strict=False):
        _fill(place, *panel, epochs)
    for place in axes[len(panels) :]:
        place.remove()
    sheet.supxlabel("epochs of training", fontsize=10, color=figures.INK)
    return figures.pixels(sheet)


def _draw_log(trainer: L.Trainer, pl_module: L.LightningModule, epochs: int) -> None:
    paths = [logger.path for logger in trainer.loggers if isinstance(logger, CsvLog)]
    if not (trainer.is_global_zero and paths and paths[0].is_file()):
        return
    weights: Any = pl_module.loss_weights
    if panels := panels_of(read_course(paths[0], epochs), weights):
        write_png(paths[0].with_name("curves.png"), draw_course(panels, epochs))


def _line(name: str, of_epoch: dict[int, list[float]]) -> Line:
    if name.startswith("train/"):
        return [e + 0.5 for e in of_epoch], [float(np.mean(v)) for v in of_epoch.values()]
    return [e + 1.0 for e in of_epoch], [values[-1] for values in of_epoch.values()]


def _known(line: Line | None) -> bool:
    """Logged, and not always NaN."""
    return line is not None and any(map(math.isfinite, line[1]))


def _fill(panel: Any, title: str, lines: dict[str, Line], epochs: int) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    for (label, (x, y)), color in zip(lines.items(), figures.COLORS, strict=False):
        marks = {"marker": "o", "markersize": 3.5} if len(x) <= FEW else {}
        panel.plot(x, y, color=color, linewidth=1.6, label=label, clip_on=False, **marks)
    figures.entitle(panel, title)
    panel.set_xlim(0, epochs)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    values = [value for _, y in lines.values() for value in y if math.isfinite(value)]
    if _falls_far(values):
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_minor_locator(NullLocator())
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_ylabel("log scale", fontsize=9, color=figures.PALE)
    else:
        panel.set_ylim(1.08 * min(0, *values), 1.08 * max(0, *values) or 1)


def _falls_far(values: list[float]) -> bool:
    """Whether the first values would press the others flat: 20 times above the median."""
    return min(values) > 0 and max(values) > 20 * float(np.median(values))
