"""The comparison of a claim: seed by seed, and case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import arm_axis, dots, mean_bar, most_lines, wrapped, zero_line
from llm4seg_probe.drawing.style import (
    BAND,
    CENTIMETRE,
    COLUMN,
    INK,
    MUTED,
    condition_style,
    paper_style,
)

_LINE, _ROOM = 0.34, 1.7
_BLOCK = 2.9
_LABEL = 19  # characters of a line
_AXIS, _NARROW_AXIS = 23, 19
_FEWEST = 3  # different values without which there is no density


def figure(
    pairs: pd.DataFrame,
    table: str = "scores",
    margin: float | None = None,
    intervals: Mapping[int, tuple[float, float]] | None = None,
) -> Figure:
    """Draw one claim of ``pairs.csv``: left the runs, right the differences, each row to its scale.

    Left, a dot per run and a line per seed, from the first condition (on top) to the second.
    Right, a − b of each case, mean over seeds, or of each seed where the two share no cases; the
    bar is the mean, the band the margin. intervals: of the mean difference over another training
    run, by number of the comparison; drawn as a line through the bar.
    """
    every = [rows for _, rows in pairs.groupby("comparison", sort=False)]
    with paper_style():
        names = [[_name(rows, side) for side in "ab"] for rows in every]
        heights = [
            max(_BLOCK, _ROOM + 2 * _LINE * (1 + most_lines(both))) * CENTIMETRE for both in names
        ]
        drawing = Figure(figsize=(COLUMN, sum(heights)), layout="constrained")
        grid = drawing.subplots(
            len(every), 2, squeeze=False, width_ratios=[1.1, 1], height_ratios=heights
        )
        for (runs, cases), rows, both in zip(grid, every, names, strict=True):
            measure = labels.measure(str(rows["score"].iloc[0]), table)
            _seeds(runs, rows, both)
            contrast = any(" " in str(rows[side].iloc[0]) for side in "ab")
            name = f"Difference in {measure.name}" if contrast else measure.axis
            runs.set_xlabel(wrapped(name, _AXIS))
            interval = (intervals or {}).get(int(rows["comparison"].iloc[0]))
            _differences(cases, rows, margin, interval)
            name = wrapped(f"(difference in {measure.name})", _NARROW_AXIS)
            cases.set_xlabel(f"a − b by {unit(rows)}\n{name}")
    return drawing


def differences(rows: pd.DataFrame) -> pd.Series[float]:
    """a − b of each case, mean over seeds; of each seed where there are no cases."""
    keys = ["seed"] if unit(rows) == "seed" else ["group", "image"]
    return (rows["value_a"] - rows["value_b"]).groupby([rows[key] for key in keys]).mean()


def unit(rows: pd.DataFrame) -> str:
    """What the differences of a comparison are of: ``case``, or ``seed`` without shared cases."""
    return "case" if (rows["image"] != "").any() else "seed"


def alt(pairs: pd.DataFrame, table: str) -> str:
    """Say the means and ranges that the figure shows."""
    sentences = []
    for _, rows in pairs.groupby("comparison", sort=False):
        parts = []
        for side in "ab":
            means = _runs(rows, side)
            parts.append(
                f"{condition_style(str(rows[side].iloc[0])).label} "
                f"{labels.number(means.mean(), 3)} "
                f"({labels.number(means.min(), 3)} to {labels.number(means.max(), 3)})"
            )
        each = differences(rows)
        sentences.append(
            f"{rows['seed'].nunique()} seeds: {'; '.join(parts)}. a minus b over {len(each)} "
            f"{unit(rows)}s: mean {labels.number(each.mean(), 3, signed=True)}, from "
            f"{labels.number(each.min(), 3, signed=True)} to "
            f"{labels.number(each.max(), 3, signed=True)}."
        )
    name = labels.measure(str(pairs["score"].iloc[0]), table).name
    return f"Paired dots of {name}. {' '.join(sentences)}"


def _runs(rows: pd.DataFrame, side: str) -> pd.Series[float]:
    """Mean of one side in each run, by seed."""
    return rows.groupby("seed", sort=False)[f"value_{side}"].mean()


def _name(rows: pd.DataFrame, side: str) -> str:
    label = wrapped(condition_style(str(rows[side].iloc[0])).label, _LABEL)
    return f"{label}\n{labels.number(_runs(rows, side).mean(), 3)}"


def _seeds(axes: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    arm_axis(axes, names)
    both = [_runs(rows, side) for side in "ab"]
    for seed in both[0].index:
        axes.plot(
            [means[seed] for means in both], (0, 1), color=MUTED, alpha=0.55, linewidth=0.8,
            zorder=2, gid=f"seed-{seed}",
        )  # fmt: skip
    for row, (side, means) in enumerate(zip("ab", both, strict=True)):
        style = condition_style(str(rows[side].iloc[0]))
        tips = [
            f"{style.label}, seed {seed}: {labels.number(value, 3)}"
            for seed, value in means.items()
        ]
        dots(axes, means, [row] * len(means), style, size=18, tips=tips)
        mean_bar(axes, float(means.mean()), row, 0.28)
    axes.margins(x=0.12)
    axes.locator_params(axis="x", nbins=3)


def _differences(
    axes: Axes,
    rows: pd.DataFrame,
    margin: float | None,
    interval: tuple[float, float] | None,
) -> None:
    colour = condition_style(str(rows["a"].iloc[0])).colour
    each = differences(rows)
    if each.nunique() >= _FEWEST and unit(rows) == "case":
        seaborn.kdeplot(
            x=each.to_numpy(), bw_method="scott", cut=3, gridsize=80, fill=True, color=colour,
            alpha=0.3, linewidth=0, ax=axes, zorder=2,
        )  # fmt: skip
    top = axes.get_ylim()[1]
    axes.set(ylim=(-0.35 * top, 1.1 * top), ylabel="")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if margin is not None:
        axes.axvspan(-margin, margin, color=BAND, alpha=0.6, lw=0, zorder=0)
    zero_line(axes)
    # Dots that would cover each other lie on three lines, in the order of their values.
    heights = (-0.28 + 0.1 * (np.argsort(np.argsort(each.to_numpy())) % 3)) * top
    tips = [
        f"{' '.join(name) if isinstance(name, tuple) else f'seed {name}'}: "
        f"{labels.number(value, 3, signed=True)}"
        for name, value in each.items()
    ]
    dots(axes, each, heights, condition_style(str(rows["a"].iloc[0])), size=6, tips=tips, alpha=0.8)
    axes.vlines(each.mean(), -0.32 * top, 1.05 * top, INK, linewidth=1.2, zorder=4)
    if interval is not None and np.isfinite(interval).all():
        axes.hlines(0.5 * top, *interval, INK, linewidth=1.0, zorder=4)
    axes.locator_params(axis="x", nbins=3)
