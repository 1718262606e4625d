"""The mean score of each run, a line from arm to arm for each seed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    arm_labels,
    dots,
    mean_bar,
    number_column,
    tall_figure,
)
from llm4seg_probe.drawing.style import MUTED, arm_style, in_order, paper_style
from llm4seg_probe.drawing.table_rows import by_seed, on_test_split


def figure(scores: pd.DataFrame, score: str = "iou") -> Figure:
    """Draw ``scores.csv``: arms as rows, a dot per run, seeds joined by lines, means as bars.

    Scores are those of the test split at the best checkpoint.
    """
    means = by_seed(on_test_split(scores), score)
    arms = list(means.columns)
    with paper_style():
        names, taller = arm_labels(arms)
        drawing = tall_figure(len(arms), row_height=0.72 * taller, extra=1.6)
        axes = drawing.add_subplot()
        arm_axis(axes, names)
        axes.grid(axis="x")
        for seed, row in means.iterrows():
            axes.plot(
                row.to_numpy(), range(len(arms)), color=MUTED, alpha=0.45, linewidth=0.8, zorder=2,
                gid=f"seed-{seed}",
            )  # fmt: skip
        for place, arm in enumerate(arms):
            style = arm_style(arm)
            tips = [
                f"{style.label}, seed {seed}: {labels.number(value, 3)}"
                for seed, value in means[arm].items()
            ]
            dots(axes, means[arm], [place] * len(means), style, size=20, tips=tips)
            mean_bar(axes, means[arm].mean(), place)
        numbers = [(row, labels.number(means[arm].mean(), 3)) for row, arm in enumerate(arms)]
        number_column(axes, numbers, "mean")
        axes.set_xlabel(f"Test {labels.measure(score).axis}, mean over cases")
    return drawing


def alt(scores: pd.DataFrame, score: str = "iou") -> str:
    """Say mean and range over seeds of each arm."""
    means = by_seed(on_test_split(scores), score)
    parts = [
        f"{arm_style(arm).label} {labels.number(means[arm].mean(), 3)} "
        f"({labels.number(means[arm].min(), 3)} to {labels.number(means[arm].max(), 3)})"
        for arm in in_order(means.columns)
    ]
    return (
        f"Dots for {len(means)} seeds, joined from arm to arm. Mean test "
        f"{labels.measure(score).name} and range over seeds: {'; '.join(parts)}."
    )
