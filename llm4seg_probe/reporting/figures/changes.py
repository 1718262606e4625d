"""What figures of score changes share: a dot per arm with its interval, cut at the frame."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from llm4seg_probe.reporting.style import PAPER, arm_style

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
    axes.scatter(
        row["change"],
        height,
        s=14,
        color=style.colour,
        marker=style.marker,
        edgecolor=PAPER,
        linewidth=0.4,
        zorder=3,
        label=style.label,
    )
