"""Scores against the strength of corruption, by kind and arm."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import arm_handles, legend_below
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import by_seed, told_apart

_PER_LINE = 2
_TITLES = {"jpeg": "JPEG"}


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``robustness.csv``."""
    return {"robustness": (figure(told_apart(tables["robustness.csv"])), "robustness.csv")}


def figure(table: pd.DataFrame, score: str = "iou") -> Figure:
    """Draw ``robustness.csv``: a panel per corruption, a line per arm, the mean of its runs.

    Bands reach from the lowest to the highest run. Under each title stands what the strengths 1
    to 5 are.
    """
    kinds = list(table["corruption"].unique())
    arms = in_order(table["arm"])
    lines = -(-len(kinds) // _PER_LINE)
    with paper_style():
        height = (lines * 4.1 + 0.9 + 0.35 * len(arms)) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        panels = drawing.subplots(lines, _PER_LINE, squeeze=False, sharex=True, sharey=True)
        for axes in panels.flat[len(kinds) :]:
            axes.set_axis_off()
        for axes, kind in zip(panels.flat, kinds, strict=False):
            _panel(axes, table[table["corruption"] == kind], kind, score)
        for axes in panels[:, 0]:
            axes.set_ylabel(labels.measure(score).axis)
        for axes in panels.flat[max(0, len(kinds) - _PER_LINE) : len(kinds)]:
            axes.set_xlabel("Strength (0 to 5)")
            axes.tick_params(labelbottom=True)
        legend_below(drawing, arm_handles(arms))
    return drawing


def _panel(axes: Axes, rows: pd.DataFrame, kind: str, score: str) -> None:
    strengths = sorted(int(strength) for strength in rows["strength"].unique())
    means = {strength: by_seed(rows[rows["strength"] == strength], score) for strength in strengths}
    for arm in in_order(rows["arm"]):
        style = arm_style(arm)
        of_arm = [means[strength][arm] for strength in strengths]
        axes.fill_between(
            strengths,
            [runs.min() for runs in of_arm],
            [runs.max() for runs in of_arm],
            color=style.colour,
            alpha=0.15,
            lw=0,
        )
        axes.plot(
            strengths, [runs.mean() for runs in of_arm], color=style.colour, marker=style.marker,
            markersize=3.5, markeredgecolor=PAPER, markeredgewidth=0.4, label=style.label,
        )  # fmt: skip
    axes.set_xticks(strengths)
    axes.grid(axis="y")
    title = _TITLES.get(kind, kind.capitalize())
    parameters = rows.dropna(subset=["parameter"]).sort_values("strength")
    found = list(dict.fromkeys(parameters["parameter"]))
    if found:
        unit = rows["unit"].iloc[0]
        title = f"{title}\n{unit}: {found[0]:g} to {found[-1]:g}"
    axes.set_title(title, loc="left", fontsize=7)
