"""The gain taken apart: what each part of the layer adds, from plain CNN to language model."""

from __future__ import annotations

import pandas as pd
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
from llm4seg_probe.drawing.style import BAND, INK, MUTED, arm_style, paper_style
from llm4seg_probe.errors import TableError

_BESIDE_GAP = 0.6  # rows between the ladder and what stands beside it


def figure(ladder: pd.DataFrame) -> Figure:
    """Draw ``ladder.csv`` of its first data set: a bar per step from where the last one ended.

    Below the steps, the arms beside the ladder, each from its foot. Raises TableError for a
    table without rows.
    """
    if ladder.empty:
        raise TableError("ladder.csv has no rows")
    rows = ladder[ladder["dataset"] == ladder["dataset"].iloc[0]].reset_index(drop=True)
    is_step = rows["step"].notna()
    places = rows.index.to_numpy(float) + _BESIDE_GAP * (~is_step).to_numpy()
    foot = str(rows["from"].iloc[0])
    with paper_style():
        names = [_name(row) for _, row in rows.iterrows()]
        height = max(1.0, 0.4 * most_lines(names))
        drawing = tall_figure(len(rows) + _BESIDE_GAP, row_height=height, extra=2.6)
        axes = drawing.add_subplot()
        arm_axis(axes, names)
        axes.set_yticks(places, names)
        axes.set_ylim(places.max() + 0.6, -0.6)
        zero_line(axes)
        for place, (_, row) in zip(places, rows.iterrows(), strict=True):
            _draw(axes, place, row)
        widths = rows["ci_high"] - rows["ci_low"]
        decimals = max(labels.decimals_for(width) for width in widths)
        steps = [labels.number(step, decimals, signed=True) for step in rows["difference"]]
        number_column(axes, list(zip(places, steps, strict=True)), "step")
        _join(axes, places[is_step], rows[is_step])
        if not is_step.all():
            axes.axhline(places[~is_step].min() - 0.5 - _BESIDE_GAP / 2, color=BAND, linewidth=0.6)
        score = labels.measure(str(rows["score"].iloc[0])).name
        axes.set_xlabel(wrapped(f"Gain over {arm_style(foot).label} (difference in {score})", 34))
        handles = [
            Patch(color=MUTED, alpha=0.45, lw=0, label="what the step adds"),
            Line2D([], [], color=INK, lw=1.1, label="95 % interval over seeds, of the step"),
        ]
        legend_below(drawing, handles, columns=1)
    return drawing


def alt(ladder: pd.DataFrame) -> str:
    """The drawn numbers in words."""
    rows = ladder[ladder["dataset"] == ladder["dataset"].iloc[0]]
    parts = [
        f"{arm_style(row['from']).label} to {arm_style(row['to']).label} "
        + labels.effect(row["difference"], row["ci_low"], row["ci_high"])
        for _, row in rows.iterrows()
    ]
    return f"Bars from arm to arm with 95 % intervals over seeds: {'; '.join(parts)}."


def _name(row: pd.Series) -> str:
    arm = arm_style(row["to"]).label
    if pd.isna(row["step"]):
        return arm
    parts = str(row["what"]).split(", and ")
    what = parts[0] if len(parts) == 1 else f"{len(parts)} parts at once, from {_from(row)}"
    return f"{arm}\n" + wrapped(f"+ {what}", 24)


def _from(row: pd.Series) -> str:
    return arm_style(str(row["from"])).label


def _draw(axes: Axes, place: float, row: pd.Series) -> None:
    if pd.isna(row["difference"]):
        return
    style = arm_style(row["to"])
    start = row["gain"] - row["difference"]
    axes.barh(
        place, row["difference"], left=start, height=0.5, color=style.colour, alpha=0.45, zorder=2
    )
    if pd.notna(row["ci_low"]):
        axes.hlines(place, start + row["ci_low"], start + row["ci_high"], INK, linewidth=1.1)
    dots(axes, row["gain"], place, style, size=24)


def _join(axes: Axes, places: pd.Series, rows: pd.DataFrame) -> None:
    """A thin line from where a step ends to where the next begins."""
    for upper, lower, gain in zip(places[:-1], places[1:], rows["gain"][:-1], strict=True):
        axes.vlines(gain, upper, lower, MUTED, linewidth=0.6, zorder=1.5)
