"""Attention of the heads of each arm's layer, and maps of what one token attends to."""

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
    tall_figure,
    wrapped,
)
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    MUTED,
    PAGE,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import measured, middle, nulls, told_apart
from llm4seg_probe.probes.arrays import with_conditions

Arrays = Mapping[str, np.ndarray]

PANELS = {
    "distance_ratio": "Mean distance",
    "entropy_ratio": "Entropy",
    "foreground_share_ratio": "Foreground",
    "locality_ratio": "Within a row",
    "first_share_ratio": "First token",
    "sink_share_ratio": "Largest sink",
}
"""Columns that are drawn: distance, spread, then shares of the attention: of the foreground's that
goes to the foreground; to tokens within a row of the grid in raster order; to the first token; to
the one that gets most."""
OUTLINE = "#35D0E0"
HOT = "Oranges_r"
_LABELS, _HEAD, _GAP, _EDGE = (size * CENTIMETRE for size in (2.4, 0.45, 0.08, 0.15))


def figures(
    tables: Mapping[str, pd.DataFrame], arrays: Arrays | None
) -> dict[str, tuple[Figure, str]]:
    """Draw ``attention.csv`` and the maps of ``attention.npz``, of all heads of one image, too."""
    assert arrays is not None
    table = told_apart(tables["attention.csv"])
    named = with_conditions(arrays, dict(zip(table["run"], table["arm"], strict=True)))
    seed = int(named["map_seed"].min())
    heads = range(1, int(named["map_head"].max()) + 1)
    maps, one_image = maps_figure(named, seed), maps_figure(named, seed, (0,), heads, width=PAGE)
    return {
        "attention": (figure(table), "attention.csv"),
        "attention-maps": (maps, "attention.npz"),
        "attention-heads": (one_image, "attention.npz"),
    }


def figure(attention: pd.DataFrame) -> Figure:
    """Draw ``attention.csv``: arms as rows, a panel per measure, in units of uniform attention.

    A dot is one head of one run, its mean over images, head 1 on top; the bar is the mean of
    the dots. The line at 1 is what the mask alone gives. Bands hold the middle 90 % of the
    heads where nothing was learned.
    """
    rows = _by_layer(told_apart(attention))
    arms = in_order(rows["arm"])
    null_names = list(nulls(rows)["null"].unique())
    with paper_style():
        names, taller = arm_labels(arms, 16)
        drawing = tall_figure(3 * len(arms), row_height=0.8 * taller, extra=4.8)
        panels = drawing.subplots(3, 2, sharey=True)
        for axes, (value, name) in zip(panels.flat, PANELS.items(), strict=True):
            _panel(axes, rows, value, arms, null_names)
            axes.set_title(name, loc="left", fontweight="normal")
        for line in panels:
            arm_axis(line[0], names)
        for axes in panels[-1]:
            axes.set_xlabel("× uniform attention")
        handles = null_handles(null_names, {"other-image": "another image's mask"})
        legend_below(drawing, handles, "Heads where nothing was learned (middle 90 %)")
    return drawing


def maps_figure(
    arrays: Arrays,
    seed: int,
    images: Sequence[int] = (0, 1, 2),
    heads: Sequence[int] = (0,),
    *,
    width: float = COLUMN,
) -> Figure:
    """Draw ``attention.npz`` over the images: arms as rows, a column per image and head.

    images: places in the arrays, as many of these as there are; heads from 1, 0 is their mean.
    The first row is the image with the mask's outline and the query (a cross). The colour goes
    from nothing to the largest share of a map, whose number stands in it.
    """
    images = [image for image in images if image < len(arrays["images"])]
    columns = [(image, head) for image in images for head in heads]
    rows = _layers(arrays, seed)
    cell = (width - _LABELS - _EDGE - (len(columns) - 1) * _GAP) / len(columns)
    height = _HEAD + (len(rows) + 1) * (cell + _GAP) + _EDGE
    with paper_style():
        drawing = Figure(figsize=(width, height))
        for line, row in enumerate([None, *rows]):
            for step, (image, head) in enumerate(columns):
                left, down = _LABELS + step * (cell + _GAP), _HEAD + line * (cell + _GAP) + cell
                axes = drawing.add_axes(
                    (left / width, 1 - down / height, cell / width, cell / height)
                )
                axes.set_axis_off()
                _draw_image(axes, arrays, image)
                if row is None:
                    _head_column(axes, arrays, image, head)
                else:
                    _draw_map(axes, arrays, (*row, head), image, seed)
                if step == 0:
                    _label_row(axes, "image" if row is None else wrapped(_name(arrays, row), 16))
    return drawing


def _by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """The table with the layer in the arm's name where a run has several of them."""
    several = rows.groupby("run")["place"].transform("nunique") > 1
    named = [_with_layer(arm, n) for arm, n in zip(rows["arm"], rows["layer"], strict=True)]
    return rows.assign(arm=rows["arm"].where(~several, named))


def _with_layer(arm: str, layer: int) -> str:
    return f"{arm[:-1]},layer={layer}]" if arm.endswith("]") else f"{arm}[layer={layer}]"


def _panel(
    axes: Axes, rows: pd.DataFrame, value: str, arms: Sequence[str], null_names: Sequence[str]
) -> None:
    axes.axvline(1, color=MUTED, linewidth=0.8, zorder=1.8)
    means = _by_head(measured(rows), value)
    learned_nothing = _by_head(nulls(rows), value)
    for place, arm in enumerate(arms):
        of_arm = learned_nothing[learned_nothing["arm"] == arm]
        for style, name in enumerate(null_names):
            values = of_arm.loc[of_arm["null"] == name, value].dropna()
            if len(values):
                null_band(axes, style, *middle(values), place, 0.84)
        _heads(axes, means[means["arm"] == arm], value, arm, place)
    axes.set_xlim(left=0)


def _by_head(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    keys = ["arm", "run", "place", "null", "head"]
    return rows.groupby(keys, sort=False)[value].mean().reset_index()


def _heads(axes: Axes, means: pd.DataFrame, value: str, arm: str, place: int) -> None:
    style = arm_style(arm)
    count = max(int(means["head"].max()), 1)
    heights = place + 0.7 * ((means["head"].astype(float) - 0.5) / count - 0.5)
    dots(axes, means[value], heights, style, size=6)
    mean_bar(axes, means[value].mean(), place, 0.42)


def _layers(arrays: Arrays, seed: int) -> list[tuple[str, int]]:
    """Arm and place of each layer that has maps of this seed, arms in fixed order."""
    of_seed = arrays["map_seed"] == seed
    pairs = zip(arrays["map_arm"][of_seed], arrays["map_place"][of_seed], strict=True)
    found = sorted({(str(arm), int(place)) for arm, place in pairs}, key=lambda row: row[1])
    order = in_order(arm for arm, _ in found)
    return sorted(found, key=lambda row: order.index(row[0]))


def _name(arrays: Arrays, row: tuple[str, int]) -> str:
    arm, place = row
    of_arm = arrays["map_arm"] == arm
    if len(np.unique(arrays["map_place"][of_arm])) > 1:
        layer = arrays["map_layer"][of_arm & (arrays["map_place"] == place)][0]
        arm = _with_layer(arm, layer)
    return arm_style(arm).label


def _head_column(axes: Axes, arrays: Arrays, image: int, head: int) -> None:
    name = f"head {head}" if head else labels.shorten(str(arrays["image_names"][image]), 14)
    axes.set_title(name, fontweight="normal", pad=2, fontsize=7, parse_math=False)


def _draw_image(axes: Axes, arrays: Arrays, image: int) -> None:
    axes.imshow(arrays["images"][image], cmap="gray", vmin=0, vmax=255, interpolation="none")
    mask = arrays["masks"][image] > 0
    if mask.any() and not mask.all():
        axes.contour(mask, levels=[0.5], colors=OUTLINE, linewidths=0.5)
    row, column = arrays["queries"][image][-2:]
    axes.plot(column, row, marker="x", color=OUTLINE, markersize=3.5, markeredgewidth=0.9)


def _draw_map(
    axes: Axes, arrays: Arrays, wanted: tuple[str, int, int], image: int, seed: int
) -> None:
    arm, place, head = wanted
    chosen = (arrays["map_arm"] == arm) & (arrays["map_seed"] == seed)
    chosen &= (arrays["map_place"] == place) & (arrays["map_head"] == head)
    if not chosen.any():
        return
    found = arrays["maps"][chosen][0, image]
    if found.ndim == 3:
        found = found[arrays["query_tokens"][image][0]]
    height, width = arrays["images"][image].shape
    largest = float(found.max())
    share = found / largest if largest > 0 else found
    axes.imshow(
        share, cmap=HOT, vmin=0, vmax=1.3, alpha=0.85 * share, interpolation="none",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect="auto",
    )  # fmt: skip
    axes.annotate(
        f"{largest:.2f}", (0.04, 0.04), xycoords="axes fraction", fontsize=5.5, color=PAPER,
    )  # fmt: skip


def _label_row(axes: Axes, text: str) -> None:
    axes.annotate(text, (-0.06, 0.5), xycoords="axes fraction", ha="right", va="center")
