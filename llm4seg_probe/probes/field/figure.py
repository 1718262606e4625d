"""Effective receptive fields: heat maps on a log scale, and the fall with distance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llm4seg_probe.drawing.axes import legend_below, wrapped
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    INK,
    MUTED,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import told_apart
from llm4seg_probe.probes.arrays import with_conditions

COLOURS = "magma"
DECADES = 5
"""How many powers of ten below the largest value the heat maps show."""
_PER_LINE = 3
_STATES = {"with": "with layer", "bypassed": "bypassed", "none": "no layer"}

Panel = tuple[str, str, str]
"""Arm, what the field is taken with respect to, and what the layer does."""


def figures(
    tables: Mapping[str, pd.DataFrame], arrays: Mapping[str, np.ndarray] | None
) -> dict[str, tuple[Figure, str]]:
    """Draw the fields of ``field.npz``."""
    assert arrays is not None
    table = told_apart(tables["field.csv"])
    named = with_conditions(arrays, dict(zip(table["run"], table["arm"], strict=True)))
    return {"field": (figure(named), "field.npz")}


def figure(arrays: Mapping[str, np.ndarray], site: str | None = None) -> Figure:
    """Draw ``field.npz``: a heat map per arm and state of the layer, and radial profiles.

    Maps and lines are means over the runs of an arm; the site is the first one unless given.
    Fields of tokens (``before`` to ``after``) have heat maps of their own, at the end. The
    profile of the network before training is grey.
    """
    chosen = site or str(arrays["field_site"][0])
    of_image = (arrays["field_site"] == chosen) & (arrays["field_wrt"] == "input")
    own = (arrays["field_null"] == "") & (of_image | (arrays["field_wrt"] != "input"))
    panels = _panels(arrays, own)
    lines = -(-len(panels) // _PER_LINE)
    with paper_style():
        drawing = Figure(figsize=(COLUMN, (lines * 3.1 + 6.6) * CENTIMETRE), layout="constrained")
        parts = drawing.subfigures(2, 1, squeeze=False, height_ratios=[lines * 3.1, 6.6])
        upper, lower = parts[:, 0]
        grid = upper.subplots(lines, _PER_LINE, squeeze=False)
        image = None
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, panel in zip(grid.flat, panels, strict=False):
            image = _heat(axes, arrays, own, panel)
        if image is not None:
            bar = upper.colorbar(image, ax=grid, location="bottom", shrink=0.7, aspect=30, pad=0.02)
            bar.set_label("Field, powers of ten below its largest value")
        _profiles(lower.subplots(), arrays, of_image)
    return drawing


def _panels(arrays: Mapping[str, np.ndarray], own: np.ndarray) -> list[Panel]:
    names = zip(
        *(arrays[name][own].tolist() for name in ("field_arm", "field_wrt", "field_layer")),
        strict=True,
    )
    found: list[Panel] = list(dict.fromkeys(names))
    arms = in_order(panel[0] for panel in found)
    return sorted(found, key=lambda panel: (panel[1] != "input", arms.index(panel[0])))


def _heat(axes: Axes, arrays: Mapping[str, np.ndarray], own: np.ndarray, panel: Panel) -> object:
    arm, wrt, layer = panel
    rows = own & (arrays["field_arm"] == arm)
    rows &= (arrays["field_wrt"] == wrt) & (arrays["field_layer"] == layer)
    places = np.flatnonzero(rows)
    height, width = arrays["field_size"][places[0]]
    mean = arrays["fields"][places, :height, :width].mean(0)
    with np.errstate(divide="ignore"):
        powers = np.log10(mean / mean.max())
    below = -float(DECADES)
    drawn = axes.imshow(
        np.maximum(powers, below), cmap=COLOURS, vmin=below, vmax=0, interpolation="none"
    )
    state = "of the tokens, not the image" if wrt != "input" else _STATES[layer]
    axes.set_title(
        f"{wrapped(arm_style(arm).label, 18)}\n{state}",
        fontsize=7,
        fontweight="normal",
        loc="left",
        pad=2,
    )
    return drawn


def _profiles(axes: Axes, arrays: Mapping[str, np.ndarray], of_image: np.ndarray) -> None:
    arms = in_order(arrays["field_arm"][of_image].tolist())
    ours = arrays["profiles"][of_image & (arrays["field_null"] == "")]
    lowest = float(ours[ours > 0].min())
    for arm in arms:
        for null, layer in _kinds(arrays, of_image & (arrays["field_arm"] == arm)):
            rows = of_image & (arrays["field_arm"] == arm)
            rows &= (arrays["field_null"] == null) & (arrays["field_layer"] == layer)
            mean = arrays["profiles"][rows].mean(0)
            style = arm_style(arm)
            axes.plot(
                np.where(mean > 0, mean, np.nan),
                color=MUTED if null else style.colour,
                linestyle=":" if null else ("--" if layer == "bypassed" else "-"),
                linewidth=0.8 if null else 1.2,
                zorder=2 if null else 3,
                gid=f"{arm}-{layer}-{null}",
            )
    axes.set_yscale("log")
    # Before training it falls to nothing, which would leave no room for the others.
    axes.set_ylim(bottom=lowest / 100)
    axes.set_xlabel("Distance from the centre (pixels)")
    axes.set_ylabel("Field (share per pixel)")
    axes.grid(axis="y")
    handles = [
        Line2D([], [], color=arm_style(arm).colour, label=arm_style(arm).label) for arm in arms
    ]
    if (arrays["field_layer"][of_image] == "bypassed").any():
        handles.append(Line2D([], [], color=INK, linestyle="--", label="layer bypassed"))
    if (arrays["field_null"][of_image] != "").any():
        handles.append(Line2D([], [], color=MUTED, linestyle=":", label="before training"))
    drawing = axes.get_figure(root=True)
    assert drawing is not None
    legend_below(drawing, handles)


def _kinds(arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> list[tuple[str, str]]:
    pairs = zip(
        arrays["field_null"][rows].tolist(), arrays["field_layer"][rows].tolist(), strict=True
    )
    # The null of a bypassed layer is that of a network which is not asked about.
    return [pair for pair in dict.fromkeys(pairs) if pair != ("untrained", "bypassed")]
