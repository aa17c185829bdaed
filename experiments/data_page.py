"""The HTML page of `lineup data stats`: self-contained, its bars are inline SVG.

Bars are all it needs, so they are drawn here: no plotting library among the dependencies, text that
can be selected and searched, and a page of a few KB.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from datamodules.inspect.counts import Counts
from experiments.data_sections import Section, totals

WIDTH, LABEL, TAIL, BAR, GAP = 860, 200, 110, 13, 10
"""px: the figure, its column of labels, room for counts, a bar, the space between two groups."""

LONGEST = 28
"""Characters of a label that fit into its column."""


def page(name: str, counts: Sequence[Counts], sections: Sequence[Section]) -> str:
    """The page. A bar shows a share of its split, so that splits of different sizes compare."""
    splits = [c.split for c in counts]
    images, objects = sum(c.images for c in counts), sum(c.objects for c in counts)
    parts = [
        f"<h1>{escape(name)}</h1>",
        f"<p>{images} images, {objects} objects, {len(counts[0].classes)} classes</p>",
        _table(["", *splits], totals(counts)),
        *(_figure(section, splits) for section in sections),
    ]
    template = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(name), body="\n".join(parts))


def bars(section: Section, kinds: Sequence[str]) -> str:
    """An SVG of horizontal bars: a group per row, in it a bar per split; `kinds`: CSS classes."""
    shares = [
        [n / max(total, 1) for n, total in zip(numbers, section.totals, strict=True)]
        for _, numbers in section.rows
    ]
    full = max((share for group in shares for share in group), default=0.0) or 1.0
    step = BAR * len(kinds) + GAP
    drawn: list[str] = []
    for i, ((label, numbers), group) in enumerate(zip(section.rows, shares, strict=True)):
        middle = i * step + BAR * len(kinds) / 2 + 4
        drawn.append(f'<text y="{middle:g}">{_shortened(label)}</text>')
        for j, (number, share, kind) in enumerate(zip(numbers, group, kinds, strict=True)):
            y, length = i * step + j * BAR, (WIDTH - LABEL - TAIL) * share / full
            drawn.append(
                f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length:.1f}" '
                f'height="{BAR - 2}" rx="2"/>'
                f'<text class="count" x="{LABEL + length + 6:.1f}" y="{y + BAR - 3}">'
                f"{number} ({share:.1%})</text>"
            )
    height = max(len(section.rows) * step - GAP, 1)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(drawn)}</svg>'


def _shortened(label: str) -> str:
    """Fits the column; the whole of it appears under the mouse."""
    if len(label) <= LONGEST:
        return escape(label)
    return f"<title>{escape(label)}</title>{escape(label[: LONGEST - 1])}…"


def _figure(section: Section, splits: Sequence[str]) -> str:
    legend = " ".join(f'<span class="{split}">&#9632;</span> {split}' for split in splits)
    title = f"<h2>{section.title.capitalize()}</h2>\n<p>{section.unit} &nbsp; {legend}</p>\n"
    return title + bars(section, splits)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}\n</table>"
