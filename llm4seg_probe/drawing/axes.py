"""Marks that all figures share: rows of arms, dots, means, bands, numbers, legends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import (
    BAND,
    CENTIMETRE,
    COLUMN,
    INK,
    MUTED,
    PAPER,
    ArmStyle,
    arm_style,
)

TIP = "tip:"
"""Begins the gid of an artist that has tooltips: a JSON list, a text for each of its marks."""

_LETTER, _ENTRY, _TITLE = 0.058, 0.36, 56  # inches of a letter and of a handle; letters of a line

_NULL_STYLES: tuple[dict[str, Any], ...] = (
    {"facecolor": BAND, "edgecolor": "none", "linewidth": 0},
    {"facecolor": "none", "edgecolor": MUTED, "linewidth": 0.6, "linestyle": (0, (3, 1.5))},
    {"facecolor": "none", "edgecolor": MUTED, "linewidth": 0.6, "linestyle": "solid"},
    {"facecolor": "none", "edgecolor": MUTED, "linewidth": 0.8, "linestyle": (0, (1, 1))},
)


def tall_figure(rows: float, *, row_height: float = 0.72, extra: float = 1.4) -> Figure:
    """Figure of a column's width that grows with its rows (heights in centimetres)."""
    height = (rows * row_height + extra) * CENTIMETRE
    return Figure(figsize=(COLUMN, height), layout="constrained")


def arm_axis(axes: Axes, names: Sequence[str]) -> None:
    """Label the rows 0, 1, … from top to bottom; no spine or ticks beside them."""
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels(names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def dots(
    axes: Axes,
    x: Any,
    y: Any,
    style: ArmStyle,
    *,
    size: float = 16,
    hollow: bool = False,
    tips: Sequence[str] = (),
    **more: Any,
) -> PathCollection:
    """Draw an arm's marks, with a paper-coloured edge that parts those which overlap.

    tips: a text for each mark, which the page shows on pointing at it.
    """
    drawn = axes.scatter(
        x,
        y,
        s=size,
        marker=style.marker,
        facecolor=PAPER if hollow else style.colour,
        edgecolor=style.colour if hollow else PAPER,
        linewidth=0.7 if hollow else 0.4,
        zorder=more.pop("zorder", 4),
        label=style.label,
        **more,
    )
    if tips:
        drawn.set_gid(TIP + json.dumps(list(tips), ensure_ascii=False))
    return drawn


def mean_bar(axes: Axes, mean: float, row: float, reach: float = 0.3) -> None:
    """Mark a mean by an upright stroke through its row, behind the dots."""
    axes.vlines(mean, row - reach, row + reach, color=INK, linewidth=1.2, zorder=3)


def zero_line(axes: Axes) -> None:
    """Mark no difference on an axis of differences."""
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)


def number_column(axes: Axes, numbers: Sequence[tuple[float, str]], head: str = "") -> None:
    """Write a number beside each row (row, text), right of the frame, under a heading."""
    for row, text in numbers:
        axes.annotate(
            text, (1.02, row), xycoords=("axes fraction", "data"), va="center", color=INK
        )  # fmt: skip
    if head:
        axes.annotate(head, (1.02, 1.0), xycoords="axes fraction", va="bottom", color=MUTED)


def legend_below(
    drawing: Figure | SubFigure, handles: Sequence[Artist], title: str = "", *, columns: int = 2
) -> Legend | None:
    """Put a legend under the panels, in as many columns as fit; none where there are no entries."""
    if not handles:
        return None
    names = [str(handle.get_label()) for handle in handles]
    return drawing.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=_columns(names, columns, _inches(drawing)),
        title="\n".join(wrap(title, _TITLE)) or None,
        alignment="left",
        title_fontsize=7,
        handlelength=1.8,
        columnspacing=1.2,
    )


def _columns(names: Sequence[str], most: int, width: float) -> int:
    """How many columns of a legend fit a figure of this width (inches); entries go down first."""
    for count in range(min(most, len(names)), 1, -1):
        height = -(-len(names) // count)
        parts = [names[start : start + height] for start in range(0, len(names), height)]
        if sum(_ENTRY + _LETTER * max(map(len, part)) for part in parts) < width:
            return count
    return 1


def _inches(drawing: Figure | SubFigure) -> float:
    """Width of the whole figure."""
    whole = drawing.get_figure(root=True)
    return float(whole.get_figwidth()) if whole is not None else COLUMN


def arm_handles(arms: Iterable[str], *, line: float = 1.1) -> list[Line2D]:
    """Legend entries of arms: marker and line; a line width of 0 leaves the marker alone."""
    styles = [arm_style(arm) for arm in arms]
    return [
        Line2D([], [], color=s.colour, marker=s.marker, ms=4, lw=line, label=s.label)
        for s in styles
    ]


def wrapped(text: str, width: int = 22) -> str:
    """A label on lines of at most ``width`` characters; words are broken only where one is longer.

    >>> wrapped("LLM, frozen, layer 10", 12)
    'LLM, frozen,\\nlayer 10'
    """
    return "\n".join(wrap(text, width, break_on_hyphens=False)) or text


def row_label(condition: str) -> str:
    """Label of a row: the arm, and on a line each what deviates in it.

    >>> row_label("llm[layer=10,dataset=spine]")
    'LLM, frozen\\nlayer 10\\ndataset spine'
    """
    arm = arm_style(condition.partition("[")[0]).label
    rest = arm_style(condition).label.removeprefix(arm).removeprefix(", ")
    return "\n".join([arm, *rest.split(", ")]) if rest else arm


def arm_labels(conditions: Sequence[str], width: int = 22) -> tuple[list[str], float]:
    """Labels of rows, broken into lines, and how much higher rows must be for them."""
    texts = [wrapped(arm_style(name).label, width) for name in conditions]
    return texts, max(1.0, 0.52 * most_lines(texts))


def most_lines(texts: Iterable[str]) -> int:
    """Lines of the text that has most of them; 1 where there is none."""
    return max((text.count("\n") + 1 for text in texts), default=1)


def null_band(
    axes: Axes, style: int, low: float, high: float, middle: float, height: float
) -> None:
    """Draw what a measure is where nothing was learned, from ``low`` to ``high``, in one row."""
    axes.barh(middle, high - low, left=low, height=height, zorder=1.5, **_NULL_STYLES[style % 4])


def null_handles(names: Sequence[str], words: dict[str, str] | None = None) -> list[Patch]:
    """Legend entries of the null bands, in the order of their styles.

    words: what a probe calls its nulls, where it differs from the usual name.
    """
    own = words or {}
    return [
        Patch(label=own.get(name, labels.null(name)), **_NULL_STYLES[index % 4])
        for index, name in enumerate(names)
    ]


_PAD = 0.3
OVER_SEEDS = ("ci_low", "ci_high")
OVER_PATIENTS = ("case_low", "case_high")
INTERVAL = {OVER_SEEDS: "another training run (t)", OVER_PATIENTS: "another patient (bootstrap)"}


def bounds_of(effects: pd.DataFrame) -> tuple[str, str] | None:
    """Columns of the interval to draw: over seeds where there is any, else over patients."""
    for bounds in INTERVAL:
        if effects[bounds[0]].notna().any():
            return bounds
    return None


def interval_note(bounds: tuple[str, str] | None) -> str:
    """What the lines are, for a legend's title."""
    if bounds is None:
        return "Too few seeds and patients for an interval"
    return f"95 % interval over {INTERVAL[bounds]}, cut at the frame"


def limits(values: pd.Series) -> tuple[float, float]:
    """A frame around the changes and zero; an interval of two seeds may reach far beyond it."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    room = _PAD * (high - low) or 0.01
    return low - room, high + room


def draw_change(axes: Axes, height: float, row: pd.Series, bounds: tuple[str, str] | None) -> None:
    """One change with its interval; a mark at the frame says that the interval goes on."""
    style = arm_style(row["arm"])
    low, high = axes.get_xlim()
    if bounds is not None and pd.notna(row[bounds[0]]):
        ends = row[bounds[0]], row[bounds[1]]
        axes.hlines(
            height, max(ends[0], low), min(ends[1], high), style.colour, linewidth=1.1, zorder=2
        )
        for is_cut, edge, mark in ((ends[0] < low, low, "<"), (ends[1] > high, high, ">")):
            if is_cut:
                axes.scatter(edge, height, s=7, color=style.colour, marker=mark, lw=0, zorder=2)
    dots(axes, row["change"], height, style, size=14)
