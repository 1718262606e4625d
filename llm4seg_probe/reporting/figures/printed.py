"""Activation IoU before and after the layer: ours beside what the paper prints."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.rows import arm_axis
from llm4seg_probe.reporting.style import (
    CENTIMETRE,
    INK,
    MUTED,
    PAGE,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.reporting.summaries import by_seed, measured, one_kind_of_map

_BARS = {"before": (-0.2, 0.4), "after": (0.2, 0.95)}


def figure(maps: pd.DataFrame, theirs: pd.DataFrame) -> Figure:
    """Draw ``maps.csv`` and the paper's ``dataset, arm, before, after``, a panel for each set.

    Bars are means; ours have a dot per run. An arm that the paper's figure lacks has no bar in
    its panels, and the other way round.
    """
    chosen = measured(one_kind_of_map(maps))
    arms = in_order([*chosen["arm"], *theirs["arm"]])
    sets = list(theirs["dataset"].unique())
    with paper_style():
        height = (len(arms) * 0.9 + 2.4) * CENTIMETRE
        drawing = Figure(figsize=(PAGE, height), layout="constrained")
        first, *others = drawing.subplots(1, 1 + len(sets), sharex=True)
        _ours(first, chosen, arms)
        for axes, name in zip(others, sets, strict=True):
            _paper(axes, theirs[theirs["dataset"] == name], arms)
            axes.set_title(f"Paper, {name}", loc="left")
        first.set_title("Here", loc="left")
        first.set_xlim(left=0)
        drawing.supxlabel(labels.measure("iou", "maps").axis, fontsize=7.5)
        drawing.legend(
            handles=[
                Patch(color=MUTED, alpha=opacity, label=labels.site(name).lower(), lw=0)
                for name, (_, opacity) in _BARS.items()
            ],
            loc="outside lower left",
            ncols=2,
        )
    return drawing


def _ours(axes: Axes, maps: pd.DataFrame, arms: Sequence[str]) -> None:
    arm_axis(axes, [arm_style(arm).label for arm in arms])
    for site, (offset, _) in _BARS.items():
        rows = maps[maps["site"] == site]
        if rows.empty:
            continue
        means = by_seed(rows, "iou")
        for place, arm in enumerate(arms):
            if arm in means:
                mean, furthest = float(means[arm].mean()), float(means[arm].max())
                _bar(axes, place, site, arm, mean, beyond=max(mean, furthest))
                axes.scatter(
                    means[arm],
                    [place + offset] * len(means),
                    s=5,
                    facecolor=PAPER,
                    edgecolor=INK,
                    linewidth=0.4,
                    zorder=4,
                )


def _paper(axes: Axes, theirs: pd.DataFrame, arms: Sequence[str]) -> None:
    arm_axis(axes, [""] * len(arms))
    for row in theirs.to_dict("records"):
        for site in _BARS:
            place = arms.index(row["arm"])
            _bar(axes, place, site, row["arm"], row[site], beyond=row[site])


def _bar(axes: Axes, place: int, site: str, arm: str, value: float, *, beyond: float) -> None:
    offset, opacity = _BARS[site]
    colour = arm_style(arm).colour
    axes.barh(place + offset, value, height=0.36, color=colour, alpha=opacity, zorder=2)
    axes.annotate(
        labels.number(value, 3),
        (beyond, place + offset),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=6,
        color=INK,
        zorder=5,
    )
