"""Score, and gain over the baseline, by the number of training images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import arm_handles, dots, legend_below
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    MUTED,
    PAGE,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.errors import TableError

_SAME_STEPS = "steps_per_epoch=full"
_APART = 0.035  # between the arms of one size, as a share of the axis


def figure(sizes: pd.DataFrame) -> Figure:
    """Draw ``sizes.csv`` of its first data set: two panels for each setting, one over the other.

    Above, the mean score of each arm with its t interval over seeds; below, the gain over the
    baseline with the paired interval, which is what claims are about: what the runs of a seed
    share, such as the images that were drawn, is in the first interval and not in the second.
    Raises TableError for a table without rows.
    """
    if sizes.empty:
        raise TableError("sizes.csv has no rows")
    rows = sizes[sizes["dataset"] == sizes["dataset"].iloc[0]]
    settings = list(rows["setting"].drop_duplicates())
    arms = in_order(rows["arm"])
    name = labels.measure(str(rows["score"].iloc[0])).name
    across = min(2, len(settings))
    down = math.ceil(len(settings) / across)
    with paper_style():
        width = PAGE if across > 1 else COLUMN
        height = (9.4 * down + 0.8 + 0.35 * len(arms)) * CENTIMETRE
        drawing = Figure(figsize=(width, height), layout="constrained")
        panels = drawing.subplots(2 * down, across, squeeze=False, sharey="row")
        for number, setting in enumerate(settings):
            top, column = 2 * (number // across), number % across
            own = rows[rows["setting"] == setting]
            pair = (panels[top, column], panels[top + 1, column])
            _panels(pair, own, arms, _baseline(rows))
            if len(settings) > 1:
                pair[0].set_title(_title(setting, settings), loc="left")
            pair[1].set_xlabel("Training images, on a logarithmic scale")
            if column == 0:
                pair[0].set_ylabel(f"Test {name}")
                pair[1].set_ylabel(
                    f"Gain over {arm_style(_baseline(rows)).label}\n(difference in {name})"
                )
        for empty in panels.reshape(down, 2, across)[-1][
            :, (len(settings) - 1) % across + 1 :
        ].flat:
            empty.set_visible(False)
        legend_below(drawing, arm_handles(arms), "Mean over seeds, with its 95 % interval, of …")
    return drawing


def alt(sizes: pd.DataFrame) -> str:
    """Say mean score and gain of each arm at each size."""
    rows = sizes[sizes["dataset"] == sizes["dataset"].iloc[0]]
    settings = list(rows["setting"].drop_duplicates())
    parts = []
    for setting, arm in rows[["setting", "arm"]].drop_duplicates().itertuples(index=False):
        own = rows[(rows["setting"] == setting) & (rows["arm"] == arm)].sort_values("images")
        told = [_point(row) for _, row in own.iterrows()]
        where = f" ({_title(setting, settings).lower()})" if len(settings) > 1 else ""
        parts.append(f"{arm_style(arm).label}{where} {', '.join(told)}")
    name = labels.measure(str(rows["score"].iloc[0])).name
    return f"Lines by the number of training images. Mean test {name}: {'; '.join(parts)}."


def _point(row: pd.Series) -> str:
    gain = labels.effect(row["gain"], row["gain_low"], row["gain_high"])
    over = f", gain {gain}" if pd.notna(row["gain"]) else ""
    return f"{labels.number(row['mean'], 3)} on {row['images']:.0f}{over}"


def _baseline(rows: pd.DataFrame) -> str:
    """The arm without a gain at any size: that over which the others gain."""
    without = rows.groupby("arm", sort=False)["gain"].apply(lambda gains: gains.isna().all())
    return str(next(iter(without.index[without]), rows["arm"].iloc[0]))


def _title(setting: str, settings: Sequence[str]) -> str:
    if setting == _SAME_STEPS:
        return "Equal numbers of steps"
    if not setting:
        return "Equal numbers of epochs" if _SAME_STEPS in settings else "As in the base"
    items = [item.partition("=") for item in setting.split(",")]
    words = ", ".join(labels.setting(field, value) for field, _, value in items)
    return words[:1].upper() + words[1:]


def _panels(
    pair: tuple[Axes, Axes], rows: pd.DataFrame, arms: Sequence[str], baseline: str
) -> None:
    above, below = pair
    shown = [arm for arm in arms if arm in set(rows["arm"])]
    places = np.log10(rows["images"])
    reach = max(float(places.max() - places.min()), 0.3)
    for number, arm in enumerate(shown):
        own = rows[rows["arm"] == arm].sort_values("images")
        x = np.log10(own["images"]) + reach * _APART * (number - (len(shown) - 1) / 2)
        _line(above, x, own, arm, ("mean", "ci_low", "ci_high"), signed=False)
        if arm != baseline:
            _line(below, x, own, arm, ("gain", "gain_low", "gain_high"), signed=True)
    below.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    by_size = rows.groupby("size")[["images", "images_low", "images_high"]].first()
    by_size = by_size.sort_values("images")
    for axes in pair:
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(FixedLocator(np.log10(by_size["images"]).tolist()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels([_count(row) for _, row in by_size.iterrows()])
        axes.set_xlim(places.min() - 0.14 * reach, places.max() + 0.14 * reach)
        axes.tick_params(axis="x", labelbottom=axes is below)


def _count(size: pd.Series) -> str:
    exact = size["images_low"] == size["images_high"]
    count = f"{size['images']:.0f}"
    return count if exact else f"{count}\n{size['images_low']:.0f}–{size['images_high']:.0f}"


def _line(
    axes: Axes,
    x: pd.Series,
    rows: pd.DataFrame,
    arm: str,
    columns: tuple[str, str, str],
    *,
    signed: bool,
) -> None:
    """An arm's means, joined, with their intervals."""
    style = arm_style(arm)
    middle, low, high = (rows[column].to_numpy(float) for column in columns)
    axes.plot(x, middle, color=style.colour, linewidth=1.1, alpha=0.7, zorder=2)
    axes.vlines(x, low, high, color=style.colour, linewidth=1.0, alpha=0.8, zorder=3)
    tips = [
        f"{style.label}, {row['images']:.0f} images: {labels.number(value, 3, signed=signed)}"
        for value, (_, row) in zip(middle, rows.iterrows(), strict=True)
    ]
    dots(axes, x, middle, style, size=18, tips=tips)
