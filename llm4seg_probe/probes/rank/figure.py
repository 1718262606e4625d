"""Densities of rank measures by arm, with means and the band where nothing was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    arm_labels,
    dots,
    legend_below,
    mean_bar,
    null_band,
    null_handles,
    number_column,
    tall_figure,
)
from llm4seg_probe.drawing.style import MUTED, arm_style, in_order, paper_style
from llm4seg_probe.drawing.table_rows import by_seed, measured, middle, nulls, told_apart
from llm4seg_probe.errors import TableError, unknown

_FEWEST = 3  # different values without which there is no density


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw the densities of ``rank.csv``."""
    return {"rank-densities": (figure(told_apart(tables["rank.csv"])), "rank.csv")}


def figure(
    rank: pd.DataFrame,
    measures: Sequence[str] = ("effective_rank", "lsvr"),
    sites: Sequence[str] | None = None,
) -> Figure:
    """Draw ``rank.csv``: arms as rows, one panel per site and measure.

    A violin is the density over images of all seeds; in it a dot per run, and a bar at their mean.
    Bands hold the middle 90 % of the rows with ``null`` set. All sites of the table are
    drawn unless ``sites`` chooses some; raises TableError for one that the table lacks.
    """
    known = list(rank["site"].unique())
    present = known if sites is None else list(sites)
    for name in present:
        if name not in known:
            raise TableError(f"rank.csv: {unknown('site', name, known)}")
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
            arm_axis(line[0], names)
            line[0].set_title(labels.site(name), loc="left", pad=12)
        for axes, value in zip(panels[-1], measures, strict=True):
            axes.set_xlabel(labels.measure(value).axis)
        legend_below(drawing, null_handles(null_names), "Where nothing was learned (middle 90 %)")
    return drawing


def alt(rank: pd.DataFrame) -> str:
    """Say the means of effective rank and LSVR at each site."""
    table = measured(rank)
    sentences = []
    for site in table["site"].unique():
        rows = table[table["site"] == site]
        ranks, lsvr = by_seed(rows, "effective_rank").mean(), by_seed(rows, "lsvr").mean()
        parts = [
            f"{arm_style(arm).label} {labels.number(ranks[arm], 2)} and "
            f"{labels.number(lsvr[arm], 2)}"
            for arm in ranks.index
        ]
        sentences.append(f"{labels.site(str(site))}: {'; '.join(parts)}.")
    return f"Densities over images. Mean effective rank and LSVR. {' '.join(sentences)}"


def _panel(
    axes: Axes, rows: pd.DataFrame, value: str, arms: Sequence[str], null_names: Sequence[str]
) -> None:
    ours, learned_nothing = measured(rows), nulls(rows)
    _violins(axes, ours[["arm", value]].dropna(), value, arms)
    arm_axis(axes, [""] * len(arms))
    axes.set(xlabel="", ylabel="")
    axes.margins(x=0.08)
    means = by_seed(ours, value)
    for row, arm in enumerate(arms):
        of_arm = learned_nothing[learned_nothing["arm"] == arm]
        for style, name in enumerate(null_names):
            values = of_arm.loc[of_arm["null"] == name, value]
            if values.notna().any():
                null_band(axes, style, *middle(values), row, 0.9)
        if arm in means:
            dots(axes, means[arm], [row] * len(means), arm_style(arm), size=8, zorder=5)
            mean_bar(axes, means[arm].mean(), row, 0.42)
    numbers = [(row, labels.number(means[a].mean(), 2)) for row, a in enumerate(arms) if a in means]
    number_column(axes, numbers, "mean")


def _violins(axes: Axes, rows: pd.DataFrame, value: str, arms: Sequence[str]) -> None:
    """Draw the density of each arm's images (Scott's bandwidth), all of one height."""
    varies = rows.groupby("arm")[value].nunique() >= _FEWEST
    drawn = rows[rows["arm"].map(varies)]
    if drawn.empty:
        return
    seaborn.violinplot(
        drawn, x=value, y="arm", hue="arm", order=arms, hue_order=arms, orient="h",
        palette={arm: arm_style(arm).colour for arm in arms}, saturation=1,
        dodge=False, inner=None, density_norm="width", width=0.8, cut=3, gridsize=60,
        linewidth=0.6, linecolor=MUTED, legend=False, alpha=0.35, ax=axes,
    )  # fmt: skip
