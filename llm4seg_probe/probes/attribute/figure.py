"""Attributions: their share inside the mask by arm, and the signed maps of some images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    arm_handles,
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
    BAND,
    CENTIMETRE,
    COLUMN,
    INK,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import by_seed, measured, middle, nulls, told_apart
from llm4seg_probe.probes.arrays import with_conditions

COLOURS = "RdBu_r"
"""Colour map of signed attribution: red speaks for the foreground, blue against it."""
OUTLINE = "#1B7F3B"
_NULLS = {"other-image": "another image's mask", "untrained": "network before training"}
_NAMES = {
    "integrated-gradients": "Integr. gradients",
    "conductance": "Conductance",
    "gradcam": "GradCAM",
    "occlusion": "Occlusion",
}
_LABELS, _HEAD, _GAP, _FOOT = (size * CENTIMETRE for size in (1.9, 0.9, 0.06, 1.1))


def figures(
    tables: Mapping[str, pd.DataFrame], arrays: Mapping[str, np.ndarray] | None
) -> dict[str, tuple[Figure, str]]:
    """Draw ``attribute.csv``, and the maps of ``attribute.npz`` where images are in it."""
    assert arrays is not None
    table = told_apart(tables["attribute.csv"])
    named = with_conditions(arrays, dict(zip(table["run"], table["arm"], strict=True)))
    drawn = {"attribution": (figure(table), "attribute.csv")}
    if len(named["image_names"]):
        drawn["attribution-maps"] = (maps_figure(named), "attribute.npz")
    if "attribute-randomised.csv" in tables:
        randomised = told_apart(tables["attribute-randomised.csv"])
        drawn["attribution-randomised"] = (
            randomised_figure(randomised),
            "attribute-randomised.csv",
        )
    return drawn


def figure(table: pd.DataFrame) -> Figure:
    """Draw ``attribute.csv``: arms as rows, a panel per site and method.

    A dot is a run, the mean over its images; the bar is the mean over runs, the dashed line the
    mask's own share of the area. Bands hold the middle 90 % of the images of a null.
    """
    panels_of = table[["site", "method"]].drop_duplicates().to_numpy().tolist()
    arms = in_order(table["arm"])
    null_names = [name for name in _NULLS if (table["null"] == name).any()]
    with paper_style():
        names, taller = arm_labels(arms)
        drawing = tall_figure(
            len(panels_of) * len(arms), row_height=0.62 * taller, extra=2.8 + 0.5 * len(panels_of)
        )
        panels = drawing.subplots(len(panels_of), squeeze=False, sharex=True)[:, 0]
        for axes, (site, method) in zip(panels, panels_of, strict=True):
            arm_axis(axes, names)
            axes.set_title(f"{_NAMES.get(method, method)}, {_place(site)}", loc="left")
            rows = table[(table["site"] == site) & (table["method"] == method)]
            axes.margins(x=0.06)
            _panel(axes, rows, arms, null_names)
        panels[-1].set_xlabel("Attribution inside the mask (share)")
        words = {name: f"{text} (middle 90 %)" for name, text in _NULLS.items()}
        handles = null_handles(null_names, words)
        area = Line2D([], [], color=INK, linestyle="--", linewidth=0.8, label="the mask's area")
        legend_below(drawing, [area, *handles])
    return drawing


def _panel(axes: Axes, rows: pd.DataFrame, arms: Sequence[str], null_names: Sequence[str]) -> None:
    ours, learned_nothing = measured(rows), nulls(rows)
    area = ours["mask_share"].mean()
    if np.isfinite(area):
        axes.axvline(area, color=INK, linestyle="--", linewidth=0.8, zorder=1)
    means = by_seed(ours, "foreground_share")
    for place, arm in enumerate(arms):
        of_arm = learned_nothing[learned_nothing["arm"] == arm]
        for style, name in enumerate(null_names):
            values = of_arm.loc[of_arm["null"] == name, "foreground_share"].dropna()
            if len(values):
                null_band(axes, style, *middle(values), place, 0.62 - 0.14 * style)
        if arm in means:
            look = arm_style(arm)
            found = means[arm]
            dots(axes, found, [place] * len(found), look)
            mean_bar(axes, found.mean(), place, 0.28)


def maps_figure(
    arrays: Mapping[str, np.ndarray], seed: int | None = None, images: Sequence[int] = (0, 1)
) -> Figure:
    """Draw ``attribute.npz``: for each image the arms as rows, its methods and sites as columns.

    Each map is scaled to its own largest absolute value, zero is white; the outline is the mask.
    The first class is shown, of the lowest seed unless given.
    """
    shown = [image for image in images if image < len(arrays["image_names"])]
    chosen = (arrays["map_seed"] == (arrays["map_seed"].min() if seed is None else seed)) & (
        arrays["map_class"] == arrays["map_class"][0]
    )
    pairs = zip(arrays["map_site"][chosen], arrays["map_method"][chosen], strict=True)
    columns = list(dict.fromkeys((str(site), str(method)) for site, method in pairs))
    arms = in_order(arrays["map_arm"][chosen].tolist())
    cell = (COLUMN - _LABELS - _GAP - (1 + len(columns)) * _GAP) / (1 + len(columns))
    block = len(arms) * (cell + _GAP) + _GAP
    height = _HEAD + len(shown) * block + _FOOT
    with paper_style():
        drawing = Figure(figsize=(COLUMN, height))
        for number, image in enumerate(shown):
            for line, arm in enumerate(arms):
                top = _HEAD + number * block + line * (cell + _GAP)
                for column in range(1 + len(columns)):
                    left = _LABELS + column * (cell + _GAP)
                    axes = drawing.add_axes(
                        (left / COLUMN, 1 - (top + cell) / height, cell / COLUMN, cell / height)
                    )
                    axes.set_axis_off()
                    if column == 0:
                        _label_row(axes, arm_style(arm).label)
                        _draw_image(axes, arrays, image)
                        continue
                    site, method = columns[column - 1]
                    _draw_map(axes, arrays, chosen, (arm, site, method), image)
                    if number == line == 0:
                        title = f"{_NAMES.get(method, method)}\n{_place(site)}"
                        axes.set_title(title, fontweight="normal", fontsize=7, pad=2)
        box = (_LABELS / COLUMN, 0.75 * _FOOT / height, 0.5, 0.12 * _FOOT / height)
        bar = drawing.colorbar(
            ScalarMappable(Normalize(-1, 1), COLOURS),
            cax=drawing.add_axes(box), orientation="horizontal", ticks=[-1, 0, 1],
        )  # fmt: skip
        bar.outline.set_visible(False)
        bar.set_ticklabels(["against", "0", "for the foreground"])
    return drawing


def randomised_figure(table: pd.DataFrame) -> Figure:
    """Draw ``attribute-randomised.csv``: similarity against how far down the weights are random.

    A panel per site and method. Full lines: random from the output down to a part; dotted: in that
    part alone. A line is the mean over the runs of an arm and their images. The band holds the
    middle 90 % of the similarities to the maps of other images.
    """
    panels_of = table[["site", "method"]].drop_duplicates().to_numpy().tolist()
    arms = in_order(table["arm"])
    with paper_style():
        height = (len(panels_of) * 4.4 + 1.6 + 0.35 * len(arms)) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        panels = drawing.subplots(len(panels_of), squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, (site, method) in zip(panels, panels_of, strict=True):
            rows = table[(table["site"] == site) & (table["method"] == method)]
            axes.set_title(f"{_NAMES.get(method, method)}, {_place(site)}", loc="left")
            axes.set_ylabel("Spearman of |map|")
            axes.grid(axis="y")
            _randomised(axes, rows, arms)
        panels[-1].set_xlabel("Parts with random weights, from the output (0: none)")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        kinds = [
            Line2D([], [], color=INK, linestyle="-", linewidth=1.1, label="down to this part"),
            Line2D([], [], color=INK, linestyle=":", linewidth=1.1, label="this part alone"),
        ]
        other = (table["null"] == "other-image").any()
        words = {"other-image": "another image's map (middle 90 %)"}
        bands = null_handles(["other-image"], words) if other else []
        legend_below(drawing, [*arm_handles(arms), *kinds, *bands])
    return drawing


def _randomised(axes: Axes, rows: pd.DataFrame, arms: Sequence[str]) -> None:
    null = rows.loc[rows["null"] == "other-image", "similarity"].dropna()
    if len(null):
        axes.axhspan(*middle(null), color=BAND, linewidth=1, zorder=0.5)
    for arm in arms:
        of_arm = rows[(rows["arm"] == arm) & (rows["null"] == "")]
        look = arm_style(arm)
        for mode, style in (("cascade", "-"), ("single", ":")):
            found = of_arm[of_arm["randomised"] == mode].groupby("order")["similarity"].mean()
            if mode == "cascade":  # as it is, a map is like itself
                found = pd.concat([pd.Series([1.0], index=[0]), found])
            axes.plot(
                found.index, found, color=look.colour, linestyle=style, linewidth=1.1,
                marker=look.marker, markersize=3, gid=f"{arm}-{mode}",
            )  # fmt: skip


def _draw_image(axes: Axes, arrays: Mapping[str, np.ndarray], image: int) -> None:
    axes.imshow(arrays["images"][image], cmap="gray", vmin=0, vmax=255, interpolation="none")
    _draw_outline(axes, arrays["masks"][image])


def _draw_map(
    axes: Axes,
    arrays: Mapping[str, np.ndarray],
    chosen: np.ndarray,
    whose: tuple[str, str, str],
    image: int,
) -> None:
    for name, value in zip(("map_arm", "map_site", "map_method"), whose, strict=True):
        chosen = chosen & (arrays[name] == value)
    places = np.flatnonzero(chosen)
    if not places.size:
        return
    found = arrays["maps"][places[0], image]
    most = float(np.abs(found).max()) or 1.0
    height, width = arrays["masks"][image].shape
    axes.imshow(
        found,
        cmap=COLOURS,
        vmin=-most,
        vmax=most,
        interpolation="none",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        aspect="auto",
    )
    _draw_outline(axes, arrays["masks"][image])


def _draw_outline(axes: Axes, mask: np.ndarray) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask > 0, levels=[0.5], colors=OUTLINE, linewidths=0.7)


def _label_row(axes: Axes, text: str) -> None:
    axes.annotate(
        wrapped(text, 12), (-0.08, 0.5), xycoords="axes fraction", ha="right", va="center",
        color=INK, fontsize=7,
    )  # fmt: skip


def _place(site: str) -> str:
    return "the image" if site == "input" else labels.site(site).lower()
