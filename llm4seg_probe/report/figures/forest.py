"""Effects with their intervals against the margin that was said to matter."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    dots,
    legend_below,
    most_lines,
    number_column,
    tall_figure,
    wrapped,
    zero_line,
)
from llm4seg_probe.drawing.style import (
    BAND,
    INK,
    MUTED,
    arm_style,
    condition_style,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import compared
from llm4seg_probe.errors import TableError

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
        drawing = tall_figure(len(rows), row_height=0.86 * taller, extra=2.8)
        axes = drawing.add_subplot()
        arm_axis(axes, names)
        zero_line(axes)
        for index, row in rows.iterrows():
            _draw_row(axes, float(str(index)), row)
        decimals = max(labels.decimals_for(width) for width in rows["ci_high"] - rows["ci_low"])
        numbers = [labels.number(value, decimals, signed=True) for value in rows["difference"]]
        number_column(axes, list(enumerate(numbers)))
        axes.set_xlabel(f"Difference in {labels.measure(score).name}, a − b")
        legend_below(drawing, _handles(rows), "Margin, and 95 % intervals over …")
    return drawing


def alt(comparison: pd.DataFrame, score: str = "iou") -> str:
    """Say difference and interval of each comparison."""
    rows = compared(comparison, "scores", score)
    parts = [
        f"{arm_style(row['a']).label} minus {arm_style(row['b']).label} "
        f"{labels.effect(row['difference'], row['ci_low'], row['ci_high'])}"
        for _, row in rows.iterrows()
    ]
    margins = ", ".join(f"±{margin:g}" for margin in sorted(rows["margin"].dropna().unique()))
    return (
        f"Differences in {labels.measure(score).name} with 95 % intervals over training runs, "
        f"margin {margins}: {'; '.join(parts)}."
    )


def pair_labels(rows: pd.DataFrame) -> list[str]:
    """ "a − b" of each row, on two lines or more."""
    pairs = zip(rows["a"], rows["b"], strict=True)
    return [
        f"{wrapped(condition_style(a).label)}\n− {wrapped(condition_style(b).label)}"
        for a, b in pairs
    ]


def _draw_row(axes: Axes, index: float, row: pd.Series) -> None:
    style = arm_style(row["a"])
    margin = row["margin"]
    if pd.notna(margin):
        axes.barh(index, 2 * margin, left=-margin, height=1, color=BAND, alpha=0.6, zorder=0)
    for name, (low, high, offset, width) in INTERVALS.items():
        if pd.notna(row[low]) and pd.notna(row[high]):
            colour = style.colour if offset == 0 else MUTED
            axes.hlines(
                index + offset, row[low], row[high], colour, _DASHES.get(name, "solid"),
                linewidth=width, zorder=2,
            )  # fmt: skip
    effect = labels.effect(row["difference"], row["ci_low"], row["ci_high"])
    tip = f"{condition_style(row['a']).label} − {condition_style(row['b']).label}: {effect}"
    dots(axes, row["difference"], index, style, size=26, tips=[tip])


def _handles(rows: pd.DataFrame) -> list[Artist]:
    handles: list[Artist] = [Patch(color=BAND, alpha=0.6, lw=0, label="margin")]
    for name, (low, _, offset, width) in INTERVALS.items():
        if rows[low].notna().any():
            colour = INK if offset == 0 else MUTED
            style = _DASHES.get(name, "solid")
            handles.append(Line2D([], [], color=colour, lw=width, ls=style, label=name))
    return handles
