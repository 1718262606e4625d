"""Score changes when activations are exchanged between two arms, beside the controls."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    bounds_of,
    draw_change,
    interval_note,
    legend_below,
    limits,
    tall_figure,
    wrapped,
    zero_line,
)
from llm4seg_probe.drawing.style import INK, arm_style, in_order, paper_style
from llm4seg_probe.errors import TableError

_GAP = "gap: the other arm's own score minus this arm's"
_DONORS = {"other-seed": "another seed of its arm", "mean": "the mean activation"}


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``swap-effects.csv``."""
    return {"swap": (figure(tables["swap-effects.csv"]), "swap-effects.csv")}


def figure(effects: pd.DataFrame, score: str = "iou") -> Figure:
    """Draw ``swap-effects.csv`` for one score: one panel per receiving arm.

    A row is what was put in, and where; the upright stroke is the gap, the other arm's own score
    minus the receiver's. Raises TableError when no row has this score.
    """
    rows = effects[effects["score"] == score]
    if rows.empty:
        raise TableError(f"swap-effects.csv has no row on {score}")
    arms = in_order(rows["arm"])
    counts = [int((rows["arm"] == arm).sum()) for arm in arms]
    bounds = bounds_of(rows)
    with paper_style():
        drawing = tall_figure(sum(counts), row_height=0.8, extra=1.9 + 0.8 * len(arms))
        panels = drawing.subplots(len(arms), height_ratios=counts, squeeze=False, sharex=True)[:, 0]
        frame = limits(pd.concat([rows["change"], rows["gap"]]))
        for axes, arm in zip(panels, arms, strict=True):
            axes.set_xlim(*frame)
            other = next((name for name in arms if name != arm), arm)
            _panel(axes, rows[rows["arm"] == arm].reset_index(drop=True), other, bounds)
            axes.set_title(f"Put into: {arm_style(arm).label}", loc="left")
        panels[-1].locator_params(axis="x", nbins=4)
        panels[-1].set_xlabel(f"Change in {labels.measure(score).name} (difference)")
        gap = Line2D([], [], color=INK, lw=1, ls=(0, (2, 1.5)), label=_GAP)
        legend_below(drawing, [gap], interval_note(bounds))
    return drawing


def _panel(axes: Axes, rows: pd.DataFrame, other: str, bounds: tuple[str, str] | None) -> None:
    arm_axis(axes, [wrapped(_label(row, other), 24) for _, row in rows.iterrows()])
    zero_line(axes)
    axes.axvline(rows["gap"].iloc[0], color=INK, linewidth=1, linestyle=(0, (2, 1.5)), zorder=1)
    for place, row in rows.iterrows():
        draw_change(axes, float(place), row, bounds)  # type: ignore[arg-type]


def _label(row: pd.Series, other: str) -> str:
    what = _DONORS.get(row["donor"], arm_style(other).label)
    return what if row["site"] == "after" else f"{what}, {row['site']}"
