"""The picture of `callbacks.metrics.curves`, drawn from its record alone."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from callbacks import figures

PANELS = {"f1": "F1", "precision": "precision", "recall": "recall"}
MOST_CLASSES = 10
"""With more, single lines can no longer be told apart, and only the pooled curve is drawn."""


def draw(record: dict[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
    """F1, precision and recall against confidence: all classes together bold and black, single
    classes thin, and the best confidence marked with its values.
    """
    sheet, axes = figures.panels(rows=1, columns=3, width=3.9, height=3.7)
    for panel, (key, name) in zip(axes, PANELS.items(), strict=True):
        _lines(panel, record, key)
        _mark(panel, record["best"], key)
        panel.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence threshold")
        panel.set_title(name, loc="left", fontsize=10, fontweight="bold", color=figures.INK)
    sheet.suptitle(_headline(record), x=0.01, ha="left", fontsize=11, color=figures.INK)
    _legend(sheet, axes[0], record["best"])
    return figures.pixels(sheet)


def _lines(panel: Any, record: dict[str, Any], key: str) -> None:
    """Labelled with the F1 at the best confidence; the best class first."""
    x, best = record["confidence"], record["best"]
    label = f"{_two_digits(best['f1'])}  all classes"
    y = _values(record["pooled"][key])
    panel.plot(x, y, color=figures.INK, linewidth=2.4, zorder=3, label=label)
    names = sorted(record["classes"], key=lambda name: -(best[f"f1/{name}"] or 0))
    for number, name in enumerate(names if 1 < len(names) <= MOST_CLASSES else []):
        again, color = divmod(number, len(figures.COLORS))
        panel.plot(
            x,
            _values(record["classes"][name][key]),
            color=figures.COLORS[color],
            linewidth=1.2,
            linestyle="--" if again else "-",
            label=f"{_two_digits(best[f'f1/{name}'])}  {name}",
        )


def _legend(sheet: Any, panel: Any, best: dict[str, Any]) -> None:
    lines, names = panel.get_legend_handles_labels()
    if len(names) > 1:
        title = "" if best["confidence"] is None else f"F1 at {best['confidence']:.3g}"
        figures.legend(sheet, handles=lines, loc="outside right upper", title=title)


def _mark(panel: Any, best: dict[str, Any], key: str) -> None:
    x, y = best["confidence"], best[key]
    if x is None or y is None:
        return
    panel.axvline(x, color=figures.PALE, linewidth=1, linestyle=":")
    panel.plot([x], [y], "o", color=figures.INK, markersize=6, zorder=4)
    side = 1 if x < 0.7 else -1
    panel.annotate(
        f"{y:.2f}",
        (x, y),
        xytext=(8 * side, 6),
        textcoords="offset points",
        ha="left" if side > 0 else "right",
        fontsize=10,
        fontweight="bold",
        color=figures.INK,
        bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        zorder=5,
    )


def _headline(record: dict[str, Any]) -> str:
    best, objects, names = record["best"], record["pooled"]["objects"], [*record["classes"]]
    if not objects:
        return "No objects: nothing to measure"
    of_classes = f"of {len(names)} classes" if len(names) > 1 else f"of class {names[0]}"
    rule = f"{objects} objects {of_classes}, box IoU ≥ {record['min_iou']:g}"
    if best["confidence"] is None:
        return f"No detection hits an object ({rule})"
    return f"Best F1 {best['f1']:.2f} at confidence {best['confidence']:.3g} ({rule})"


def _two_digits(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _values(column: list[float | None]) -> Float[np.ndarray, " t"]:
    return np.array(column, np.float64)
