"""Attributions: their share inside the mask by arm, and the signed maps of some images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.rows import arm_axis, null_band, null_handles, tall_figure
from llm4seg_probe.reporting.style import (
    CENTIMETRE,
    COLUMN,
    INK,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.reporting.summaries import by_seed, measured, middle, nulls

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
_LABELS, _HEAD, _GAP = (size * CENTIMETRE for size in (1.75, 0.75, 0.06))


def figure(table: pd.DataFrame) -> Figure:
    """Draw ``attribute.csv``: arms as rows, a panel per site and method.

    A dot is a run, the mean over its images; the bar is the mean over runs, the dashed line the
    mask's own share of the area. Bands hold the middle 90 % of the images of a null.
    """
    panels_of = table[["site", "method"]].drop_duplicates().to_numpy().tolist()
    arms = in_order(table["arm"])
    null_names = [name for name in _NULLS if (table["null"] == name).any()]
    with paper_style():
        drawing = tall_figure(
            len(panels_of) * len(arms), row_height=0.62, extra=2.6 + 0.5 * len(panels_of)
        )
        panels = drawing.subplots(len(panels_of), squeeze=False, sharex=True)[:, 0]
        for axes, (site, method) in zip(panels, panels_of, strict=True):
            arm_axis(axes, [arm_style(arm).label for arm in arms])
            axes.set_title(f"{_NAMES.get(method, method)}, {_place(site)}", loc="left")
            rows = table[(table["site"] == site) & (table["method"] == method)]
            axes.margins(x=0.06)
            _panel(axes, rows, arms, null_names)
        panels[-1].set_xlabel("Attribution inside the mask (share)")
        handles = null_handles(null_names)
        for handle, name in zip(handles, null_names, strict=True):
            handle.set_label(f"{_NULLS[name]} (middle 90 %)")
        area = Line2D([], [], color=INK, linestyle="--", linewidth=0.8, label="the mask's area")
        drawing.legend(handles=[area, *handles], loc="outside lower left", handlelength=1.6)
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
            axes.scatter(
                found, [place] * len(found), s=16, color=look.colour, marker=look.marker,
                edgecolor=PAPER, linewidth=0.4, zorder=4, label=look.label,
            )  # fmt: skip
            axes.vlines(found.mean(), place - 0.28, place + 0.28, color=INK, lw=1.2, zorder=3)


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
    cell = (COLUMN - _LABELS - len(columns) * _GAP) / (1 + len(columns))
    block = len(arms) * (cell + _GAP) + _GAP
    height = _HEAD + len(shown) * block
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
    return drawing


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
        text.replace(", ", ",\n"), (-0.08, 0.5), xycoords="axes fraction", ha="right", va="center",
        color=INK, fontsize=7,
    )  # fmt: skip


def _place(site: str) -> str:
    return "the image" if site == "input" else labels.site(site).lower()
