"""Weights and gates: by epoch, a panel per mixture; and at the stored checkpoint, by layer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import pairwise
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from llm4seg_probe.drawing.axes import arm_handles, legend_below, wrapped
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    MUTED,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.probes.mixture import MIXTURE, SEEDS
from llm4seg_probe.probes.mixture.agreement import by_mixture

Colour = str | tuple[float, float, float, float]
_PER_LINE = 2
_DEPTHS = "viridis"
_RANGES = {"weight": (0.0, 1.0), "gate": (-1.0, 1.0)}
"""What can be: intervals of few seeds reach further, and are drawn as far as this."""
_MOST_TICKS = 12
_SPREAD = 0.5
"""How far the arms of one layer stand apart, in steps between layers."""


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``mixture.csv`` with its means over seeds."""
    table, seeds = by_mixture(tables[MIXTURE.name]), tables[SEEDS.name]
    found = {"mixture-stored": (stored_figure(table, seeds), MIXTURE.name)}
    if (table["checkpoint"] == "").any():  # else the run.pt files lay alone
        found = {"mixture-epochs": (epochs_figure(table, seeds), MIXTURE.name), **found}
    return found


def epochs_figure(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """By epoch: a panel per mixture, a line per layer, and a panel of the gates, a line per arm.

    Thick lines are means over seeds with their 95 % intervals, thin ones single runs; dashed is
    where training starts.
    """
    of_runs, means = table[table["checkpoint"] == ""], seeds[seeds["checkpoint"] == ""]
    mixtures = in_order(means.loc[means["what"] == "weight", "arm"])
    gated = in_order(means.loc[means["what"] == "gate", "arm"])
    count = len(mixtures) + bool(gated)
    lines = -(-count // _PER_LINE)
    layers = sorted({int(layer) for layer in means["layer"] if layer})
    colours = _by_depth(layers)
    with paper_style():
        entries = -(-(len(layers) + len(gated)) // 3)
        height = (lines * 4.4 + 0.8 + 0.4 * entries) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        panels = drawing.subplots(lines, _PER_LINE, squeeze=False, sharex=True)
        for axes in panels.flat[count:]:
            axes.set_axis_off()
        for axes in panels.flat[1 : len(mixtures)]:  # to be read beside each other
            axes.sharey(panels.flat[0])
        for axes, arm in zip(panels.flat, mixtures, strict=False):
            _weights_panel(
                axes, of_runs[of_runs["arm"] == arm], means[means["arm"] == arm], colours
            )
            axes.set_title(wrapped(arm_style(arm).label, 16), loc="left", fontsize=7)
        if gated:
            axes = panels.flat[len(mixtures)]
            axes.axhline(0, color=MUTED, linewidth=0.8, linestyle="--")
            for arm in gated:
                own, mean = (rows[rows["arm"] == arm] for rows in (of_runs, means))
                _line(axes, own, mean, "gate", arm_style(arm).colour)
            axes.set_ylabel("Gate (−1 to 1)")
            axes.set_title("Gates", loc="left", fontsize=7)
        for axes in panels.flat[max(0, count - _PER_LINE) : count]:
            axes.set_xlabel("Epoch")
            axes.tick_params(labelbottom=True)
        for axes in panels.flat[:count]:
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles = [Line2D([], [], color=colours[layer], label=f"layer {layer}") for layer in layers]
        legend_below(drawing, [*handles, *arm_handles(gated)], columns=3)
    return drawing


def _by_depth(layers: list[int]) -> dict[int, Colour]:
    """A colour for each layer, from dark to light with depth."""
    scale = matplotlib.colormaps[_DEPTHS]
    return {
        layer: scale(0.85 * place / max(1, len(layers) - 1)) for place, layer in enumerate(layers)
    }


def _weights_panel(
    axes: Axes, of_runs: pd.DataFrame, means: pd.DataFrame, colours: Mapping[int, Colour]
) -> None:
    layers = sorted({int(layer) for layer in means["layer"]})
    axes.axhline(1 / len(layers), color=MUTED, linewidth=0.8, linestyle="--")
    for layer in layers:
        own, mean = (rows[rows["layer"] == str(layer)] for rows in (of_runs, means))
        _line(axes, own, mean, "weight", colours[layer])
    axes.set_ylabel("Weight (0 to 1)")


def _line(
    axes: Axes, of_runs: pd.DataFrame, means: pd.DataFrame, what: str, colour: Colour
) -> None:
    for _, rows in of_runs.groupby("run", sort=False):
        axes.plot(rows["epoch"].to_numpy(), rows[what].to_numpy(), color=colour, lw=0.5, alpha=0.4)
    ordered = means.sort_values("epoch")
    epochs = ordered["epoch"].to_numpy(dtype=float)
    low, high = (ordered[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high"))
    low, high = (bound.clip(*_RANGES[what]) for bound in (low, high))
    axes.fill_between(epochs, low, high, color=colour, alpha=0.13, lw=0)
    axes.plot(epochs, ordered["mean"].to_numpy(dtype=float), color=colour, lw=1.4)


def stored_figure(table: pd.DataFrame, seeds: pd.DataFrame) -> Figure:
    """At the stored checkpoint: weights by layer, and gates, by arm.

    Small dots are runs, large ones means over seeds with their 95 % intervals.
    """
    of_runs, means = table[table["checkpoint"] == "best"], seeds[seeds["checkpoint"] == "best"]
    kinds = [what for what in ("weight", "gate") if (means["what"] == what).any()]
    arms = in_order(means["arm"])
    with paper_style():
        height = (5.2 * len(kinds) + 0.6 + 0.4 * len(arms)) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        panels = drawing.subplots(len(kinds), squeeze=False)[:, 0]
        for axes, what in zip(panels, kinds, strict=True):
            rows = means[means["what"] == what]
            if what == "weight":
                _stored_weights(axes, of_runs, rows)
            else:
                _stored_gates(axes, of_runs, rows)
            axes.grid(axis="y")
        legend_below(drawing, arm_handles(arms, line=0))
    return drawing


def _stored_weights(axes: Axes, of_runs: pd.DataFrame, means: pd.DataFrame) -> None:
    arms = in_order(means["arm"])
    layers = sorted({int(layer) for layer in means["layer"]})
    steps = [after - before for before, after in pairwise(layers)] or [1]
    for place, arm in enumerate(arms):
        own = means[means["arm"] == arm]
        shift = _SPREAD * min(steps) * ((place + 0.5) / len(arms) - 0.5)
        axes.axhline(1 / len(own), color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
        for row in own.to_dict("records"):
            one = of_runs[(of_runs["arm"] == arm) & (of_runs["layer"] == row["layer"])]
            _dots(axes, int(row["layer"]) + shift, one["weight"], row, arm)
    axes.set_xticks(layers[:: -(-len(layers) // _MOST_TICKS)])
    axes.set_xlabel("Layer of the language model (from 1)")
    axes.set_ylabel("Weight (0 to 1)")


def _stored_gates(axes: Axes, of_runs: pd.DataFrame, means: pd.DataFrame) -> None:
    arms = in_order(means["arm"])
    axes.axhline(0, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
    for place, row in enumerate(means.set_index("arm").loc[arms].to_dict("records")):
        arm = arms[place]
        one = of_runs[(of_runs["arm"] == arm) & (of_runs["layer"] == "")]
        _dots(axes, place, one["gate"], row, arm)
    axes.set_xticks(range(len(arms)), [wrapped(arm_style(arm).label, 18) for arm in arms])
    axes.set_xlim(-0.6, len(arms) - 0.4)
    axes.set_ylabel("Gate (−1 to 1)")


def _dots(
    axes: Axes, place: float, of_runs: pd.Series, row: Mapping[Hashable, Any], arm: str
) -> None:
    style = arm_style(arm)
    axes.plot([place] * len(of_runs), of_runs.to_numpy(dtype=float), "o", ms=2, alpha=0.5,
              color=style.colour, lw=0)  # fmt: skip
    if row["ci_low"] == row["ci_low"]:
        lowest, highest = _RANGES[row["what"]]
        reach = [max(row["ci_low"], lowest), min(row["ci_high"], highest)]
        axes.plot([place, place], reach, color=style.colour, lw=1)
    axes.plot(
        [place], [row["mean"]], marker=style.marker, ms=6.5, color=style.colour, linestyle="",
        markeredgecolor=PAPER, markeredgewidth=0.4, zorder=3,
    )  # fmt: skip
