"""Activation IoU before and after the layer, by arm, and the gain with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
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
    zero_line,
)
from llm4seg_probe.drawing.style import arm_style, in_order, paper_style
from llm4seg_probe.drawing.table_rows import (
    by_seed,
    compared,
    measured,
    middle,
    nulls,
    one_kind_of_map,
    told_apart,
)
from llm4seg_probe.probes.arrays import map_arrays
from llm4seg_probe.probes.maps import gallery_figure

SITES = ("before", "after")


def figures(
    tables: Mapping[str, pd.DataFrame], arrays: Mapping[str, np.ndarray] | None
) -> dict[str, tuple[Figure, str]]:
    """Draw the bars of ``maps.csv``, and the gallery of ``maps.npz``."""
    maps = told_apart(tables["maps.csv"])
    drawn = {"activation-iou": (figure(maps), "maps.csv")}
    gallery = None if arrays is None else map_arrays(arrays)
    if gallery is not None and len(gallery.images) and len(gallery.maps):
        gallery = gallery.told_apart(dict(zip(maps["run"], maps["arm"], strict=True)))
        drawn["gallery"] = (gallery_figure.figure(gallery, gallery.first_seed), "maps.npz")
    return drawn


def figure(maps: pd.DataFrame, comparison: pd.DataFrame | None = None) -> Figure:
    """Draw ``maps.csv``: for each arm a row before and a row after the layer, a dot per run.

    The upright stroke is the mean over runs; bands hold the middle 90 % of a null. Where
    ``comparison.csv`` holds after against before of an arm, a second panel shows the gain with
    its interval.
    """
    maps = one_kind_of_map(maps)
    arms = in_order(maps["arm"])
    gains = gain_rows(comparison, arms)
    null_names = list(nulls(maps)["null"].unique())
    with paper_style():
        names, taller = arm_labels(arms, 18)
        drawing = tall_figure(len(arms), row_height=max(1.0, 0.8 * taller), extra=2.4)
        widths = [1.35, 1] if len(gains) else [1]
        panels = drawing.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
        arm_axis(panels[0], names)
        _levels(panels[0], maps, arms, null_names)
        if len(gains):
            _gains(panels[1], gains, arms)
        handles = null_handles(null_names)
        legend_below(
            drawing, handles, "Upper dots before, lower after the layer; bands, middle 90 %:"
        )
    return drawing


def alt(maps: pd.DataFrame) -> str:
    """Say the means before and after the layer of each arm."""
    table = measured(one_kind_of_map(maps))
    sites = [site for site in SITES if (table["site"] == site).any()]
    means = {site: by_seed(table[table["site"] == site], "iou").mean() for site in sites}
    parts = [
        f"{arm_style(arm).label} "
        + ", ".join(f"{labels.number(means[site][arm], 3)} {site}" for site in sites)
        for arm in means[sites[0]].index
    ]
    return f"Dots of mean activation IoU: {'; '.join(parts)}."


def gain_rows(comparison: pd.DataFrame | None, arms: Sequence[str]) -> pd.DataFrame:
    """Rows of ``comparison.csv`` that compare an arm's map after the layer with that before it."""
    if comparison is None:
        return pd.DataFrame(columns=["arm"])
    rows = compared(comparison, "maps", "iou")
    pairs = {(f"{arm}@after", f"{arm}@before"): arm for arm in arms}
    arm_of = [pairs.get(pair, "") for pair in zip(rows["a"], rows["b"], strict=True)]
    rows = rows.assign(arm=arm_of)
    return rows[rows["arm"] != ""]


def _levels(axes: Axes, maps: pd.DataFrame, arms: Sequence[str], null_names: Sequence[str]) -> None:
    for site, offset in zip(SITES, (-0.2, 0.2), strict=True):
        rows = maps[maps["site"] == site]
        if rows.empty:
            continue
        means, null_rows = by_seed(measured(rows), "iou"), nulls(rows)
        for row, arm in enumerate(arms):
            if arm not in means:
                continue
            y = row + offset
            of_arm = null_rows[null_rows["arm"] == arm]
            for style, name in enumerate(null_names):
                values = of_arm.loc[of_arm["null"] == name, "iou"]
                if values.notna().any():
                    null_band(axes, style, *middle(values), y, 0.34)
            dots(axes, means[arm], [y] * len(means), arm_style(arm), size=9, hollow=offset < 0)
            mean_bar(axes, means[arm].mean(), y, 0.17)
    axes.set_xlim(left=0)
    axes.set_xlabel(labels.measure("iou", "maps").axis)


def _gains(axes: Axes, gains: pd.DataFrame, arms: Sequence[str]) -> None:
    arm_axis(axes, [""] * len(arms))
    zero_line(axes)
    decimals = max(labels.decimals_for(width) for width in gains["ci_high"] - gains["ci_low"])
    numbers = []
    for _, gain in gains.iterrows():
        style, row = arm_style(gain["arm"]), arms.index(gain["arm"])
        axes.hlines(row, gain["ci_low"], gain["ci_high"], style.colour, linewidth=2.2, zorder=2)
        dots(axes, gain["difference"], row, style, size=22)
        numbers.append((row, labels.number(gain["difference"], decimals, signed=True)))
    number_column(axes, numbers)
    axes.locator_params(axis="x", nbins=3)
    axes.set_xlabel("After − before,\ndifference in IoU")
