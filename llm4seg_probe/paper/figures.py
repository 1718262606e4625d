"""Figures of the notebooks: layers, confounders, and the paper's printed numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import arm_axis, tall_figure
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    INK,
    MUTED,
    PAGE,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import by_seed, measured, on_test_split, one_kind_of_map
from llm4seg_probe.errors import TableError

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


_FLAT: tuple[tuple[str, tuple[int, tuple[float, ...]]], ...] = (
    ("cnn", (0, ())),
    ("transformer", (0, (4.0, 2.0))),
)
_CURVES = ("llm", "llm-trainable")


def by_layer(scores: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Mean test IoU of each run whose only deviation is its layer: ``arm, layer, seed, iou``.

    scores, runs: ``scores.csv`` (arms as conditions or plain) and ``runs.csv``. Arms without a
    language model's layer have no number in ``layer``. Raises TableError where no run is left.
    """
    deviation = runs["deviation"].fillna("") if "deviation" in runs.columns else ""
    plain = runs.assign(deviation=deviation)
    plain = plain[plain["deviation"].str.fullmatch(r"(layer=\d+)?")]
    chosen = on_test_split(scores)
    chosen = chosen[chosen["run"].isin(plain["run"])]
    means = by_seed(chosen.assign(arm=chosen["run"], seed=0), "iou").iloc[0]
    rows = plain[plain["run"].isin(means.index)][["run", "arm", "layer", "seed"]]
    rows = rows.assign(
        layer=pd.to_numeric(rows["layer"], errors="coerce").astype("Int64"),
        iou=rows["run"].map(means.to_dict()),
    )
    rows.loc[~rows["arm"].isin(_CURVES), "layer"] = pd.NA
    return rows[["arm", "layer", "seed", "iou"]].sort_values(["arm", "layer", "seed"])


def spread(table: pd.DataFrame) -> pd.DataFrame:
    """How scores of ``arm, layer, iou`` are spread, by arm: ``between_layers, between_seeds``.

    The standard deviation of the layers' means, and the mean over layers of the standard
    deviation of one layer's runs (NaN where there is one run of each).
    """
    layers = table.dropna(subset="layer").groupby(["arm", "layer"])["iou"]
    by_arm = layers.agg(mean="mean", sd="std").groupby("arm")
    spreads = {"between_layers": by_arm["mean"].std(), "between_seeds": by_arm["sd"].mean()}
    return pd.DataFrame(spreads)


def layers_figure(ours: pd.DataFrame, theirs: pd.DataFrame) -> Figure:
    """Draw two tables of ``arm, layer, iou``: ours with a dot per seed, the paper's without.

    Lines join the means over seeds. The arms without a layer are levels across the panel; ours
    have the range of their seeds as a band.
    """
    if not ours["layer"].notna().any():
        raise TableError("no run of ours says which layer it used: nothing to draw by layer")
    with paper_style():
        drawing = Figure(figsize=(COLUMN, 1.25 * COLUMN), layout="constrained")
        upper, lower = drawing.subplots(2, 1)
        _panel(upper, ours, "Here")
        _panel(lower, theirs, "Paper (LLaMA-3.2-1B, one run each)")
        lower.set_xlabel("Layer of the language model, from 1")
        entries = {
            name: handle
            for axes in (lower, upper)
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        drawing.legend(
            entries.values(), entries, loc="outside lower left", ncols=2, handlelength=2.4
        )
    return drawing


def _panel(axes: Axes, table: pd.DataFrame, title: str) -> None:
    axes.set_title(title, loc="left")
    axes.set_ylabel(labels.measure("iou").axis)
    axes.grid(axis="y")
    for arm, dashes in _FLAT:
        scores = table.loc[table["arm"] == arm, "iou"]
        if len(scores):
            style = arm_style(arm)
            axes.axhspan(scores.min(), scores.max(), color=style.colour, alpha=0.12, lw=0)
            axes.axhline(
                scores.mean(), color=style.colour, linewidth=1, ls=dashes, label=style.label
            )
    for arm in _CURVES:
        rows = table[(table["arm"] == arm) & table["layer"].notna()]
        if rows.empty:
            continue
        style = arm_style(arm)
        means = rows.groupby("layer")["iou"].mean()
        places = means.index.to_numpy(dtype=float)
        axes.plot(places, means, color=style.colour, linewidth=1.2, zorder=3, label=style.label)
        axes.scatter(
            rows["layer"].to_numpy(dtype=float),
            rows["iou"],
            s=12,
            color=style.colour,
            marker=style.marker,
            edgecolor=PAPER,
            linewidth=0.4,
            zorder=4,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


_BARS = {"before": (-0.2, 0.4), "after": (0.2, 0.95)}


def printed_figure(maps: pd.DataFrame, theirs: pd.DataFrame) -> Figure:
    """Draw ``maps.csv`` and the paper's ``dataset, arm, before, after``, a panel for each set.

    Bars are means; ours have a dot per run. An arm that the paper's figure lacks has no bar in
    its panels, and the other way round.
    """
    chosen = measured(one_kind_of_map(maps))
    arms = in_order([*chosen["arm"], *theirs["arm"]])
    sets = list(theirs["dataset"].unique())
    with paper_style():
        height = (len(arms) * 0.9 + 2.4) * CENTIMETRE
        drawing = Figure(figsize=(PAGE, height), layout="constrained")
        first, *others = drawing.subplots(1, 1 + len(sets), sharex=True)
        _ours(first, chosen, arms)
        for axes, name in zip(others, sets, strict=True):
            _paper(axes, theirs[theirs["dataset"] == name], arms)
            axes.set_title(f"Paper, {name}", loc="left")
        first.set_title("Here", loc="left")
        first.set_xlim(left=0)
        drawing.supxlabel(labels.measure("iou", "maps").axis, fontsize=7.5)
        drawing.legend(
            handles=[
                Patch(color=MUTED, alpha=opacity, label=labels.site(name).lower(), lw=0)
                for name, (_, opacity) in _BARS.items()
            ],
            loc="outside lower left",
            ncols=2,
        )
    return drawing


def _ours(axes: Axes, maps: pd.DataFrame, arms: Sequence[str]) -> None:
    arm_axis(axes, [arm_style(arm).label for arm in arms])
    for site, (offset, _) in _BARS.items():
        rows = maps[maps["site"] == site]
        if rows.empty:
            continue
        means = by_seed(rows, "iou")
        for place, arm in enumerate(arms):
            if arm in means:
                mean, furthest = float(means[arm].mean()), float(means[arm].max())
                _bar(axes, place, site, arm, mean, beyond=max(mean, furthest))
                axes.scatter(
                    means[arm],
                    [place + offset] * len(means),
                    s=5,
                    facecolor=PAPER,
                    edgecolor=INK,
                    linewidth=0.4,
                    zorder=4,
                )


def _paper(axes: Axes, theirs: pd.DataFrame, arms: Sequence[str]) -> None:
    arm_axis(axes, [""] * len(arms))
    for row in theirs.to_dict("records"):
        for site in _BARS:
            place = arms.index(row["arm"])
            _bar(axes, place, site, row["arm"], row[site], beyond=row[site])


def _bar(axes: Axes, place: int, site: str, arm: str, value: float, *, beyond: float) -> None:
    offset, opacity = _BARS[site]
    colour = arm_style(arm).colour
    axes.barh(place + offset, value, height=0.36, color=colour, alpha=opacity, zorder=2)
    axes.annotate(
        labels.number(value, 3),
        (beyond, place + offset),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=6,
        color=INK,
        zorder=5,
    )
