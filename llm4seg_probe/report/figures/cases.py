"""The distribution of the test cases' scores under each arm."""

from __future__ import annotations

import pandas as pd
import seaborn
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    arm_labels,
    mean_bar,
    number_column,
    tall_figure,
    wrapped,
)
from llm4seg_probe.drawing.style import MUTED, arm_style, paper_style
from llm4seg_probe.drawing.table_rows import by_case, on_test_split


def figure(scores: pd.DataFrame, score: str = "iou") -> Figure:
    """Draw ``scores.csv`` by case: arms as rows, a dot per test case, its mean over seeds.

    Behind the dots their density; the stroke is the median over the cases.
    """
    means = by_case(on_test_split(scores), score)
    arms = list(means.columns)
    rows = means.melt(var_name="arm", value_name=score)
    looks = {"x": score, "y": "arm", "hue": "arm", "order": arms, "hue_order": arms, "orient": "h"}
    palette = {arm: arm_style(arm).colour for arm in arms}
    with paper_style():
        names, taller = arm_labels(arms)
        drawing = tall_figure(len(arms), row_height=0.8 * taller, extra=1.6)
        axes = drawing.add_subplot()
        seaborn.violinplot(
            rows, **looks, palette=palette, saturation=1, inner=None, density_norm="width",
            width=0.9, cut=0, gridsize=60, linewidth=0, alpha=0.25, legend=False, ax=axes,
        )  # fmt: skip
        seaborn.stripplot(
            rows, **looks, palette=palette, jitter=False, size=2.2, alpha=0.6, legend=False, ax=axes
        )
        medians = means.median()
        for row, arm in enumerate(arms):
            mean_bar(axes, float(medians[arm]), row, 0.36)
        arm_axis(axes, names)
        numbers = [(row, labels.number(medians[arm], 3)) for row, arm in enumerate(arms)]
        number_column(axes, numbers, "median")
        axes.tick_params(axis="x", color=MUTED)
        name = f"Test {labels.measure(score).axis} of a case, mean over seeds"
        axes.set(xlabel=wrapped(name, 44), ylabel="")
    return drawing


def alt(scores: pd.DataFrame, score: str = "iou") -> str:
    """Say the median and the middle half of the cases of each arm."""
    means = by_case(on_test_split(scores), score)
    parts = []
    for arm, values in means.items():
        low, middle, high = (
            labels.number(float(value), 3) for value in values.quantile([0.25, 0.5, 0.75])
        )
        parts.append(f"{arm_style(str(arm)).label} {middle} ({low} to {high})")
    return (
        f"A dot for each of {len(means)} test cases under each arm. Median "
        f"{labels.measure(score).name}, and the middle half of the cases: {'; '.join(parts)}."
    )
