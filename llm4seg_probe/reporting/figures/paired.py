"""Paired dots: the mean score of each run, a line from arm to arm for each seed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.rows import arm_axis, arm_labels, tall_figure
from llm4seg_probe.reporting.style import GRID, INK, MUTED, PAPER, arm_style, paper_style
from llm4seg_probe.reporting.summaries import by_seed, on_test_split


def figure(scores: pd.DataFrame, score: str = "iou") -> Figure:
    """Draw ``scores.csv``: arms as rows, a dot per run, seeds joined by lines, means as bars.

    Scores are those of the test split at the best checkpoint.
    """
    means = by_seed(on_test_split(scores), score)
    arms = list(means.columns)
    with paper_style():
        names, taller = arm_labels(arms)
        drawing = tall_figure(len(arms), row_height=0.72 * taller)
        axes = drawing.add_subplot()
        arm_axis(axes, names)
        axes.grid(axis="x")
        for seed, row in means.iterrows():
            axes.plot(
                row.to_numpy(),
                range(len(arms)),
                color=MUTED,
                alpha=0.45,
                linewidth=0.8,
                zorder=2,
                gid=f"seed-{seed}",
            )
        for place, arm in enumerate(arms):
            style = arm_style(arm)
            axes.scatter(
                means[arm],
                [place] * len(means),
                s=20,
                color=style.colour,
                marker=style.marker,
                edgecolor=PAPER,
                linewidth=0.5,
                zorder=4,
                label=style.label,
            )
            mean = means[arm].mean()
            axes.vlines(mean, place - 0.3, place + 0.3, color=INK, linewidth=1.4, zorder=3)
            axes.annotate(
                labels.number(mean, 3),
                (1.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                color=INK,
            )
        axes.annotate("mean", (1.02, 1.0), xycoords="axes fraction", va="bottom", color=MUTED)
        axes.set_xlabel(f"Test {labels.measure(score).axis}, mean over cases")
        axes.tick_params(axis="x", color=GRID)
    return drawing
