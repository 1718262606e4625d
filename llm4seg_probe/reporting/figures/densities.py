"""Densities of rank measures by arm, with means and the band where nothing was learned."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.rows import (
    arm_axis,
    arm_labels,
    null_band,
    null_handles,
    tall_figure,
)
from llm4seg_probe.reporting.style import INK, PAPER, arm_style, in_order, paper_style
from llm4seg_probe.reporting.summaries import by_seed, density, measured, middle, nulls

# Heights in rows, from the row's middle, downwards: number, ridge, dots.
_TOP, _RIDGE, _BASE, _DOTS, _FLOOR = -0.44, 0.44, 0.22, 0.33, 0.42
_BAND = (_FLOOR + _BASE - _RIDGE) / 2


def figure(
    rank: pd.DataFrame,
    measures: Sequence[str] = ("effective_rank", "lsvr"),
    sites: Sequence[str] | None = None,
) -> Figure:
    """Draw ``rank.csv``: arms as rows, one panel per site and measure.

    A ridge is the density over images of all seeds; under it a dot per run, and a bar at their
    mean. Bands hold the middle 90 % of the rows with ``null`` set. All sites of the table are
    drawn unless ``sites`` chooses some; raises TableError for one that the table lacks.
    """
    found = list(rank["site"].unique())
    present = found if sites is None else list(sites)
    for name in present:
        if name not in found:
            raise TableError(f"rank.csv: {unknown('site', name, found)}")
    arms = in_order(rank["arm"])
    null_names = list(nulls(rank)["null"].unique())
    with paper_style():
        names, taller = arm_labels(arms, 18)
        drawing = tall_figure(
            len(present) * len(arms),
            row_height=max(1.0, 0.8 * taller),
            extra=2.2 + len(present) * 0.5,
        )
        panels = drawing.subplots(len(present), len(measures), squeeze=False, sharex="col")
        for line, name in zip(panels, present, strict=True):
            for axes, value in zip(line, measures, strict=True):
                _panel(axes, rank[rank["site"] == name], value, arms, null_names)
            line[0].set_yticks(range(len(arms)), names)
            line[0].set_title(labels.site(name), loc="left")
        for axes, value in zip(panels[-1], measures, strict=True):
            axes.set_xlabel(labels.measure(value).axis)
        if null_names:
            drawing.legend(
                handles=null_handles(null_names),
                loc="outside lower left",
                title="Where nothing was learned (middle 90 %)",
                alignment="left",
                title_fontsize=7,
                handlelength=1.6,
                columnspacing=1.2,
            )
    return drawing


def _panel(
    axes: Axes, rows: pd.DataFrame, value: str, arms: Sequence[str], null_names: Sequence[str]
) -> None:
    arm_axis(axes, [""] * len(arms))
    axes.margins(x=0.08)
    ours, learned_nothing = measured(rows), nulls(rows)
    means = by_seed(ours, value)
    for place, arm in enumerate(arms):
        of_arm = learned_nothing[learned_nothing["arm"] == arm]
        for style, name in enumerate(null_names):
            values = of_arm.loc[of_arm["null"] == name, value]
            if values.notna().any():
                null_band(axes, style, *middle(values), place + _BAND, _FLOOR - _BASE + _RIDGE)
        if arm in means:
            _ridge(axes, ours.loc[ours["arm"] == arm, value], means[arm], arm, place)


def _ridge(axes: Axes, values: pd.Series, means: pd.Series, arm: str, place: int) -> None:
    style = arm_style(arm)
    x, height = density(values.to_numpy())
    if x.size:
        top = place + _BASE - _RIDGE * height / height.max()
        axes.fill_between(x, top, place + _BASE, color=style.colour, alpha=0.3, zorder=2, lw=0)
        axes.plot(x, top, color=style.colour, linewidth=0.9, zorder=3)
    axes.scatter(
        means,
        [place + _DOTS] * len(means),
        s=8,
        color=style.colour,
        marker=style.marker,
        edgecolor=PAPER,
        linewidth=0.2,
        zorder=5,
        label=style.label,
    )
    mean = means.mean()
    axes.vlines(mean, place + _BASE - _RIDGE, place + _FLOOR, color=INK, linewidth=1.1, zorder=4)
    axes.annotate(
        labels.number(mean, 2),
        (mean, place + _TOP),
        ha="center",
        va="center",
        fontsize=7,
        color=INK,
        zorder=6,
    )
