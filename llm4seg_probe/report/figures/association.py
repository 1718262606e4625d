"""Two measurements of a run against each other, with one slope for all arms."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import arm_handles, dots, legend_below
from llm4seg_probe.drawing.style import COLUMN, INK, arm_style, in_order, paper_style
from llm4seg_probe.errors import TableError


def figure(association: pd.DataFrame) -> Figure:
    """Draw the rows of one claim of ``association.csv``: a mark per run, a line per arm.

    The lines have one slope, that of the correlation within arms; large pale marks are the arms'
    means. Raises TableError for a table without rows.
    """
    if association.empty:
        raise TableError("association.csv has no rows")
    rows = association[association["claim"] == association["claim"].iloc[0]]
    with paper_style():
        drawing = Figure(figsize=(COLUMN, 1.05 * COLUMN), layout="constrained")
        axes = drawing.add_subplot()
        for arm in in_order(rows["arm"]):
            style = arm_style(arm)
            own = rows[rows["arm"] == arm].sort_values("x")
            axes.plot(own["x"], own["fitted"], color=style.colour, linewidth=1.0, zorder=2)
            tips = [
                f"{style.label}, seed {seed}: {labels.number(x, 2)}, {labels.number(y, 3)}"
                for seed, x, y in zip(own["seed"], own["x"], own["y"], strict=True)
            ]
            dots(axes, own["x"], own["y"], style, size=12, tips=tips)
            axes.scatter(
                own["x"].mean(), own["y"].mean(), s=70, color=style.colour, marker=style.marker,
                alpha=0.25, linewidth=0, zorder=1,
            )  # fmt: skip
        axes.set_xlabel(_axis(rows, "x_score"), color=INK)
        axes.set_ylabel(_axis(rows, "y_score"), color=INK)
        legend_below(drawing, arm_handles(in_order(rows["arm"]), line=0), columns=3)
    return drawing


def alt(association: pd.DataFrame) -> str:
    """Means of both measurements by arm, and the one slope."""
    rows = association[association["claim"] == association["claim"].iloc[0]]
    means = rows.groupby("arm", sort=False)[["x", "y"]].mean()
    parts = [
        f"{arm_style(arm).label} {labels.number(means.loc[arm, 'x'], 2)} and "
        f"{labels.number(means.loc[arm, 'y'], 3)}"
        for arm in in_order(means.index)
    ]
    return (
        f"Marks for {len(rows)} runs, with a line of one slope for each arm. Mean "
        f"{_name(rows, 'x_score')} and {_name(rows, 'y_score')}: {'; '.join(parts)}."
    )


def _axis(rows: pd.DataFrame, column: str) -> str:
    return labels.measure(str(rows[column].iloc[0])).axis


def _name(rows: pd.DataFrame, column: str) -> str:
    return labels.measure(str(rows[column].iloc[0])).name
