"""Activation maps of some images by arm, before and after the layer, with the mask's outline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import wrapped
from llm4seg_probe.drawing.style import CENTIMETRE, PAGE, arm_style, in_order, paper_style
from llm4seg_probe.drawing.table_rows import spread_out
from llm4seg_probe.probes.arrays import MapArrays

COLOURS = "magma"
"""Colour map of activation: dark is the least, bright the most of one map."""
OUTLINE = "#35D0E0"
SITES = ("before", "after")
_LABELS, _HEAD, _GAP, _BLOCK_GAP, _EDGE, _FOOT = (
    size * CENTIMETRE for size in (2.4, 0.5, 0.06, 0.25, 0.15, 1.2)
)


def figure(
    arrays: MapArrays,
    seed: int,
    images: Sequence[int] | None = None,
    *,
    arms: Sequence[str] | None = None,
) -> Figure:
    """Draw ``maps.npz``: arms as rows, for each image a column before and a column after.

    images: their places in the arrays; four evenly spaced ones unless given. arms: all that have
    this seed unless given. The first row is the image alone and with the outline. Each map is
    scaled to its own range, as in the table.
    """
    chosen = spread_out(len(arrays.image_names), 4) if images is None else list(images)
    there = in_order(arrays.map_arm[arrays.map_seed == seed])
    arms = there if arms is None else [arm for arm in there if arm in arms]
    blocks = len(chosen)
    cell = (PAGE - _LABELS - _EDGE - blocks * _GAP - (blocks - 1) * _BLOCK_GAP) / (2 * blocks)
    height = 2 * _HEAD + cell + len(arms) * (cell + _GAP) + _FOOT
    with paper_style():
        drawing = Figure(figsize=(PAGE, height))

        def place(line: int, block: int, step: int) -> Axes:
            left = _LABELS + block * (2 * cell + _GAP + _BLOCK_GAP) + step * (cell + _GAP)
            down = _HEAD + cell + (_HEAD + (line - 1) * (cell + _GAP) + cell if line else 0)
            box = (left / PAGE, 1 - down / height, cell / PAGE, cell / height)
            axes = drawing.add_axes(box)
            axes.set_axis_off()
            return axes

        for block, image in enumerate(chosen):
            axes = place(0, block, 0)
            _draw_image(axes, arrays, image, outline=False)
            if block == 0:
                _label_row(axes, f"image, mask\nseed {seed}")
            _draw_image(place(0, block, 1), arrays, image, outline=True)
            for line, arm in enumerate(arms, start=1):
                for step, site in enumerate(SITES):
                    axes = place(line, block, step)
                    _draw_map(axes, arrays, arrays.map_place(arm, seed, site), image)
                    if line == 1:
                        axes.set_title(site, fontweight="normal", pad=2)
                    if block == step == 0:
                        _label_row(axes, wrapped(arm_style(arm).label, 16))
        box = (_LABELS / PAGE, 0.72 * _FOOT / height, 0.3, 0.1 * _FOOT / height)
        bar = drawing.colorbar(
            ScalarMappable(Normalize(0, 1), COLOURS),
            cax=drawing.add_axes(box), orientation="horizontal", ticks=[0, 1],
        )  # fmt: skip
        bar.outline.set_visible(False)
        bar.set_ticklabels(["least of a map", "most"])
    return drawing


def alt(
    arrays: MapArrays,
    seed: int,
    images: Sequence[int] | None = None,
    *,
    arms: Sequence[str] | None = None,
) -> str:
    """Say which images and arms are shown, and of which seed."""
    chosen = spread_out(len(arrays.image_names), 4) if images is None else list(images)
    names = [str(arrays.image_names[image]) for image in chosen]
    there = in_order(arrays.map_arm[arrays.map_seed == seed])
    shown = there if arms is None else [arm for arm in there if arm in arms]
    return (
        f"Activation maps of {len(names)} images ({', '.join(names)}), seed {seed}, before and "
        f"after the layer, for {', '.join(arm_style(arm).label for arm in shown)}. The numbers of "
        "each map stand in maps.csv."
    )


def _draw_image(axes: Axes, arrays: MapArrays, image: int, *, outline: bool) -> None:
    axes.imshow(
        arrays.images[image],
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="none",
        extent=_extent(arrays.masks[image]),
        aspect="equal",
    )
    if outline:
        _draw_outline(axes, arrays.masks[image])
    else:
        axes.set_title(
            labels.shorten(str(arrays.image_names[image]), 24),
            loc="left",
            pad=2,
            fontweight="normal",
            parse_math=False,
        )


def _draw_map(axes: Axes, arrays: MapArrays, place: int | None, image: int) -> None:
    if place is None:
        return
    axes.imshow(
        arrays.maps[place, image],
        cmap=COLOURS,
        vmin=0,
        vmax=1,
        interpolation="bilinear",
        extent=_extent(arrays.masks[image]),
        aspect="equal",
    )
    _draw_outline(axes, arrays.masks[image])


def _extent(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Edges of a mask's pixels: left, right, bottom, top."""
    height, width = mask.shape
    return (-0.5, width - 0.5, height - 0.5, -0.5)


def _draw_outline(axes: Axes, mask: np.ndarray) -> None:
    if mask.any() and not mask.all():
        axes.contour(mask > 0, levels=[0.5], colors=OUTLINE, linewidths=0.7)


def _label_row(axes: Axes, text: str) -> None:
    axes.annotate(text, (-0.08, 0.5), xycoords="axes fraction", ha="right", va="center")
