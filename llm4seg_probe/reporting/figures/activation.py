"""Activation IoU before and after the layer, by arm, and the gain with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.rows import arm_axis, arm_labels, tall_figure
from llm4seg_probe.reporting.style import INK, MUTED, PAPER, arm_style, in_order, paper_style
from llm4seg_probe.reporting.summaries import (
    by_seed,
    compared,
    measured,
    middle,
    nulls,
    one_kind_of_map,
)

_BARS = {"before": (-0.2, 0.4), "after": (0.2, 0.95)}
_NULLS: tuple[dict[str, Any], ...] = (
    {"facecolor": "none", "edgecolor": INK, "linewidth": 0.6, "linestyle": "solid"},
    {"facecolor": "none", "edgecolor": INK, "linewidth": 0.6, "linestyle": (0, (2.5, 1.5))},
)


def figure(maps: pd.DataFrame, comparison: pd.DataFrame | None = None) -> Figure:
    """Draw ``maps.csv``: two bars per arm (means over seeds), a dot per run.

    The middle 90 % of a null are a box.

    Where ``comparison.csv`` holds after against before of an arm, a second panel shows the gain
    with its interval.
    """
    maps = one_kind_of_map(maps)
    arms = in_order(maps["arm"])
    gains = gain_rows(comparison, arms)
    with paper_style():
        taller = arm_labels(arms, 18)[1]
        drawing = tall_figure(len(arms), row_height=max(0.95, 0.8 * taller), extra=2.1)
        widths = [1.35, 1] if len(gains) else [1]
        panels = drawing.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
        _bars(panels[0], maps, arms)
        if len(gains):
            _gains(panels[1], gains, arms)
        handles = [
            Patch(color=MUTED, alpha=opacity, label=labels.site(name).lower(), lw=0)
            for name, (_, opacity) in _BARS.items()
        ]
        handles += [
            Patch(label=f"{labels.null(name)} (90 %)", **style)
            for name, style in zip(nulls(maps)["null"].unique(), _NULLS, strict=False)
        ]
        drawing.legend(
            handles=handles, loc="outside lower left", ncols=2, handlelength=1.6, columnspacing=1.2
        )
    return drawing


def gain_rows(comparison: pd.DataFrame | None, arms: Sequence[str]) -> pd.DataFrame:
    """Rows of ``comparison.csv`` that compare an arm's map after the layer with that before it."""
    if comparison is None:
        return pd.DataFrame(columns=["arm"])
    rows = compared(comparison, "maps", "iou")
    pairs = {(f"{arm}@after", f"{arm}@before"): arm for arm in arms}
    arm_of = [pairs.get(pair, "") for pair in zip(rows["a"], rows["b"], strict=True)]
    rows = rows.assign(arm=arm_of)
    return rows[rows["arm"] != ""]


def _bars(axes: Axes, maps: pd.DataFrame, arms: Sequence[str]) -> None:
    arm_axis(axes, arm_labels(arms, 18)[0])
    for name, (offset, opacity) in _BARS.items():
        rows = maps[maps["site"] == name]
        if rows.empty:
            continue
        means, null_rows = by_seed(measured(rows), "iou"), nulls(rows)
        for place, arm in enumerate(arms):
            if arm not in means:
                continue
            y = place + offset
            colour = arm_style(arm).colour
            axes.barh(y, means[arm].mean(), height=0.36, color=colour, alpha=opacity, zorder=2)
            axes.scatter(
                means[arm],
                [y] * len(means),
                s=6,
                facecolor=PAPER,
                edgecolor=INK,
                linewidth=0.5,
                zorder=4,
            )
            _null_boxes(axes, null_rows[null_rows["arm"] == arm], y)
    axes.set_xlim(left=0)
    axes.set_xlabel(labels.measure("iou", "maps").axis)


def _null_boxes(axes: Axes, rows: pd.DataFrame, y: float) -> None:
    for name, style in zip(rows["null"].unique(), _NULLS, strict=False):
        values = rows.loc[rows["null"] == name, "iou"]
        if values.notna().any():
            low, high = middle(values)
            axes.barh(y, high - low, left=low, height=0.2, zorder=3, **style)


def _gains(axes: Axes, gains: pd.DataFrame, arms: Sequence[str]) -> None:
    arm_axis(axes, [""] * len(arms))
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    for _, row in gains.iterrows():
        style = arm_style(row["arm"])
        place = arms.index(row["arm"])
        axes.hlines(place, row["ci_low"], row["ci_high"], style.colour, linewidth=2.2, zorder=2)
        axes.scatter(
            row["difference"],
            place,
            s=22,
            color=style.colour,
            marker=style.marker,
            edgecolor=PAPER,
            linewidth=0.6,
            zorder=3,
        )
    axes.set_xlabel("Gain, 95 % interval")
