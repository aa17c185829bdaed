"""What our figures have in common: a quiet style, colours for every eye, pixels without pyplot.

matplotlib is imported when something is drawn: it takes half a second. Its global state (pyplot,
rcParams) is left alone.
"""

import warnings
from typing import Any

import numpy as np
from jaxtyping import UInt8

INK, PALE, FAINT = "#222222", "#8a8a8a", "#e4e4e4"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind readers can tell apart; black is left for what is bold, and
yellow cannot be seen on white.
"""

DPI = 110


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure with axes for its panels, row by row; each panel `width` x `height` inches."""
    from matplotlib.figure import Figure

    figure = Figure((columns * width, rows * height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in axes:
        _quiet(panel)
    return figure, axes


def entitle(panel: Any, title: str) -> None:
    """A title at the left; what the panel's lines are called, in their colours, at the right."""
    panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    if panel.get_legend_handles_labels()[1]:
        legend(panel, loc="lower right", bbox_to_anchor=(1, 1), ncols=9, columnspacing=1.0)


def legend(place: Any, **options: Any) -> None:
    """A frameless legend whose texts have the colours of their lines."""
    style = {"fontsize": 9, "title_fontsize": 9, "alignment": "left", "frameon": False}
    spacing = {"handlelength": 1.2, "handletextpad": 0.5, "borderaxespad": 0}
    made = place.legend(**style, **spacing, **options)
    for text, handle in zip(made.get_texts(), made.legend_handles, strict=True):
        text.set_color(handle.get_color())
        text.set_parse_math(False)  # a class may be called "5$-10$"


def pixels(figure: Any) -> UInt8[np.ndarray, "h w 3"]:
    """The figure as an RGB image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # a class name in a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _quiet(panel: Any) -> None:
    panel.grid(visible=True, color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(which="both", length=0, labelsize=9, labelcolor=INK)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(PALE)
