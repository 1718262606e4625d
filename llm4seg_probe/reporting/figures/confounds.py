"""What comes with the layer: where it looks, how it counts places, its input, what is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from llm4seg_probe.reporting.figures.rows import arm_axis, tall_figure
from llm4seg_probe.reporting.style import (
    CENTIMETRE,
    INK,
    MUTED,
    PAGE,
    arm_style,
    in_order,
    paper_style,
)

_MOST, _LEAST = 0.95, 0.35
_HATCHES = {"encoder": "", "adapters": "xx", "layer": "\\\\", "decoder": "//"}
"""Parts in the order in which an image passes them, and how they are told apart."""


def grids(
    values: Mapping[str, np.ndarray], *, label: str, signed: bool, token: int | None = None
) -> Figure:
    """Draw grids of numbers, (H, W) each, in panels of one scale; a ring marks ``token``.

    signed: on a scale from −1 to 1; otherwise from zero to the largest number.
    """
    top = max(float(np.nanmax(grid)) for grid in values.values()) or 1.0
    low, high, colours = (-1.0, 1.0, "RdBu_r") if signed else (0.0, top, "magma")
    with paper_style():
        width = min(PAGE, (1.5 + 4.3 * len(values)) * CENTIMETRE)
        drawing = Figure(figsize=(width, 5.2 * CENTIMETRE), layout="constrained")
        panels = drawing.subplots(1, len(values), squeeze=False)[0]
        for axes, (name, grid) in zip(panels, values.items(), strict=True):
            image = axes.imshow(grid, cmap=colours, vmin=low, vmax=high, interpolation="none")
            if token is not None:
                row, column = divmod(token, grid.shape[1])
                axes.plot(column, row, "o", mfc="none", mec="#35D0E0", ms=6)
            axes.set_title(name, loc="left")
            axes.set_xticks([])
            axes.set_yticks([])
        drawing.colorbar(image, ax=list(panels), label=label, shrink=0.8)
    return drawing


def intensities(values: Mapping[str, np.ndarray], *, label: str) -> Figure:
    """Draw how numbers are spread, one row each: their range as a line, the middle 90 % as a bar.

    The axis is linear near zero and logarithmic beyond 0.001.
    """
    with paper_style():
        drawing = tall_figure(len(values), row_height=0.8, extra=1.5)
        axes = drawing.add_subplot()
        arm_axis(axes, list(values))
        for place, numbers in enumerate(values.values()):
            low, high = np.percentile(numbers, [5, 95])
            axes.hlines(place, numbers.min(), numbers.max(), MUTED, linewidth=1)
            axes.barh(place, high - low, left=low, height=0.4, color=INK, alpha=0.6)
        axes.set_xscale("symlog", linthresh=1e-3)
        axes.set_xticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1])
        axes.tick_params(axis="x", rotation=45)
        axes.grid(axis="x")
        axes.set_xlabel(label)
    return drawing


def parts(costs: pd.DataFrame) -> Figure:
    """Draw ``arm, part, trainable, frozen`` (parameters): a bar per arm, frozen parts pale."""
    arms = in_order(costs["arm"])
    names = [*_HATCHES, *(part for part in costs["part"].unique() if part not in _HATCHES)]
    rows = {(row["arm"], row["part"]): row for row in costs.to_dict("records")}
    with paper_style():
        drawing = tall_figure(len(arms), row_height=0.7, extra=2.0)
        axes = drawing.add_subplot()
        arm_axis(axes, [arm_style(arm).label for arm in arms])
        ends = []
        for place, arm in enumerate(arms):
            left = 0.0
            for part in (name for name in names if (arm, name) in rows):
                for kind, alpha in (("trainable", _MOST), ("frozen", _LEAST)):
                    length = float(rows[arm, part][kind])
                    look = {"facecolor": arm_style(arm).colour, "alpha": alpha, **_edged(part)}
                    axes.barh(place, length, left=left, height=0.6, **look)
                    left += length
            ends.append(left)
        shown = [name for name in names if name in set(costs["part"])]
        handles = [Patch(facecolor="none", label=name, **_edged(name)) for name in shown]
        axes.set_xlim(0, 1.03 * max(ends))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.set_xlabel("Parameters (pale: frozen)")
        drawing.legend(handles=handles, loc="outside lower left", ncols=4, handlelength=1.6)
    return drawing


def _edged(part: str) -> dict[str, Any]:
    return {"hatch": _HATCHES.get(part, ".."), "edgecolor": INK, "linewidth": 0.3}
