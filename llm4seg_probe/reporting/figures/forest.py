"""Effects with their intervals against the margin that was said to matter."""

from __future__ import annotations

from textwrap import fill
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.rows import arm_axis, most_lines, tall_figure
from llm4seg_probe.reporting.style import (
    BAND,
    INK,
    MUTED,
    PAPER,
    arm_style,
    condition_style,
    paper_style,
)
from llm4seg_probe.reporting.summaries import compared

# What an interval generalises to, its columns, and how it is drawn: offset in rows, width, colour.
INTERVALS = {
    "another training run (t)": ("ci_low", "ci_high", 0.0, 2.2),
    "another patient (bootstrap)": ("case_low", "case_high", 0.22, 0.9),
    "both (bootstrap)": ("boot_low", "boot_high", 0.36, 0.9),
}
_DASHES: dict[str, Any] = {"both (bootstrap)": (0, (2, 1.2))}


def figure(comparison: pd.DataFrame, score: str = "iou") -> Figure:
    """Draw ``comparison.csv`` for one segmentation score: differences, intervals, the margin.

    Raises TableError when no row has this score.
    """
    rows = compared(comparison, "scores", score)
    if rows.empty:
        raise TableError(f"comparison.csv has no row on {score} of scores.csv")
    with paper_style():
        names = pair_labels(rows)
        taller = max(1.0, most_lines(names) / 2)
        drawing = tall_figure(len(rows), row_height=0.86 * taller, extra=2.6)
        axes = drawing.add_subplot()
        arm_axis(axes, names)
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
        for place, row in rows.iterrows():
            _draw_row(axes, float(place), row)  # type: ignore[arg-type]
        axes.annotate("a − b", (1.02, 1.0), xycoords="axes fraction", va="bottom", color=MUTED)
        axes.set_xlabel(f"Difference in {labels.measure(score).name}")
        _legend(drawing, rows)
    return drawing


def pair_labels(rows: pd.DataFrame) -> list[str]:
    """ "a − b" of each row, on two lines or more."""
    pairs = zip(rows["a"], rows["b"], strict=True)
    return [f"{_broken(a)}\n− {_broken(b)}" for a, b in pairs]


def _broken(condition: str) -> str:
    return fill(condition_style(condition).label, 22, break_on_hyphens=False)


def _draw_row(axes: Axes, place: float, row: pd.Series) -> None:
    style = arm_style(row["a"])
    margin = row["margin"]
    if pd.notna(margin):
        axes.barh(place, 2 * margin, left=-margin, height=1, color=BAND, alpha=0.6, zorder=0)
    for name, (low, high, offset, width) in INTERVALS.items():
        if pd.notna(row[low]) and pd.notna(row[high]):
            colour = style.colour if offset == 0 else MUTED
            axes.hlines(
                place + offset,
                row[low],
                row[high],
                colour,
                _DASHES.get(name, "solid"),
                linewidth=width,
                zorder=2,
            )
    axes.scatter(
        row["difference"],
        place,
        s=26,
        color=style.colour,
        marker=style.marker,
        edgecolor=PAPER,
        linewidth=0.6,
        zorder=3,
    )
    decimals = labels.decimals_for(row["ci_high"] - row["ci_low"])
    axes.annotate(
        labels.number(row["difference"], decimals, signed=True),
        (1.02, place),
        xycoords=("axes fraction", "data"),
        va="center",
        color=INK,
    )


def _legend(drawing: Figure, rows: pd.DataFrame) -> None:
    handles: list[Artist] = [Patch(color=BAND, alpha=0.6, lw=0, label="margin")]
    for name, (low, _, offset, width) in INTERVALS.items():
        if rows[low].notna().any():
            colour = INK if offset == 0 else MUTED
            style = _DASHES.get(name, "solid")
            handles.append(Line2D([], [], color=colour, lw=width, ls=style, label=name))
    drawing.legend(
        handles=handles,
        loc="outside lower left",
        ncols=2,
        title="Margin, and 95 % intervals over …",
        alignment="left",
        title_fontsize=7,
        columnspacing=1.2,
        handlelength=1.8,
    )
