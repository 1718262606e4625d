"""What a claim compares: seed by seed, and case by case."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.figures.rows import arm_axis, most_lines
from llm4seg_probe.reporting.style import (
    BAND,
    CENTIMETRE,
    COLUMN,
    INK,
    MUTED,
    PAPER,
    condition_style,
    paper_style,
)
from llm4seg_probe.reporting.summaries import density
from llm4seg_probe.statistics.pairing import Paired

_LINE, _ROOM = 0.34, 0.9
_BLOCK = 2.1
_LABEL = 19  # characters of a line


def figure(pairs: Sequence[Paired], table: str = "scores", margin: float | None = None) -> Figure:
    """Draw the comparisons of a claim: left the runs, right the differences.

    Left, a dot per run and a line per seed, from the first condition (on top) to the second.
    Right, a − b of each case, mean over seeds, or of each seed where the two share no cases; the
    bar is the mean, the band the margin.
    """
    with paper_style():
        names = [[_name(text, own) for text, own in _sides(pair)] for pair in pairs]
        heights = [
            max(_BLOCK, _ROOM + 2 * _LINE * (1 + most_lines(both))) * CENTIMETRE for both in names
        ]
        drawing = Figure(figsize=(COLUMN, sum(heights) + 1.3 * CENTIMETRE), layout="constrained")
        grid = drawing.subplots(
            len(pairs), 2, squeeze=False, width_ratios=[1.1, 1], height_ratios=heights
        )
        for (runs, cases), pair, both in zip(grid, pairs, names, strict=True):
            _seeds(runs, pair, both)
            _differences(cases, pair, margin)
        measure = labels.measure(pairs[0].score, table)
        grid[-1][0].set_xlabel(measure.axis)
        grid[-1][1].set_xlabel(f"a − b by {_unit(pairs[-1])}")
    return drawing


def differences(pair: Paired) -> np.ndarray:
    """a − b of each case, mean over seeds; of each seed where there are no cases."""
    each = pair.values_a - pair.values_b
    found: np.ndarray = each[:, 0] if pair.groups is None else each.mean(axis=0)
    return found


def alt(pairs: Sequence[Paired], table: str) -> str:
    """What the figure says to those who cannot see it."""
    sentences = []
    for pair in pairs:
        parts = []
        for text, values in _sides(pair):
            means = values.mean(axis=1)
            parts.append(
                f"{condition_style(text).label} {labels.number(means.mean(), 3)} "
                f"({labels.number(means.min(), 3)} to {labels.number(means.max(), 3)})"
            )
        each = differences(pair)
        sentences.append(
            f"{len(pair.values_a)} seeds: {'; '.join(parts)}. a minus b over {len(each)} "
            f"{_unit(pair)}s: mean {labels.number(each.mean(), 3, signed=True)}, from "
            f"{labels.number(each.min(), 3, signed=True)} to "
            f"{labels.number(each.max(), 3, signed=True)}."
        )
    return f"Paired dots of {labels.measure(pairs[0].score, table).name}. {' '.join(sentences)}"


def _unit(pair: Paired) -> str:
    return "seed" if pair.groups is None else "case"


def _sides(pair: Paired) -> tuple[tuple[str, np.ndarray], tuple[str, np.ndarray]]:
    return (pair.a, pair.values_a), (pair.b, pair.values_b)


def _name(text: str, values: np.ndarray) -> str:
    label = fill(condition_style(text).label, _LABEL, break_on_hyphens=False)
    return f"{label}\n{labels.number(values.mean(), 3)}"


def _seeds(axes: Axes, pair: Paired, names: Sequence[str]) -> None:
    arm_axis(axes, names)
    both = np.stack([values.mean(axis=1) for _, values in _sides(pair)])
    for seed, ends in enumerate(both.T):
        axes.plot(
            ends, (0, 1), color=MUTED, alpha=0.55, linewidth=0.8, zorder=2, gid=f"seed-{seed}"
        )
    for place, (text, _) in enumerate(_sides(pair)):
        style = condition_style(text)
        axes.scatter(
            both[place],
            [place] * both.shape[1],
            s=18,
            color=style.colour,
            marker=style.marker,
            edgecolor=PAPER,
            linewidth=0.4,
            zorder=4,
        )
        axes.vlines(both[place].mean(), place - 0.28, place + 0.28, INK, linewidth=1.2, zorder=3)
    axes.margins(x=0.1)
    axes.locator_params(axis="x", nbins=3)


def _differences(axes: Axes, pair: Paired, margin: float | None) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(0, 1.15)
    colour = condition_style(pair.a).colour
    each = differences(pair)
    if margin is not None:
        axes.axvspan(-margin, margin, color=BAND, alpha=0.6, lw=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    x, height = density(each)
    if x.size and pair.groups is not None:
        axes.fill_between(
            x, 0.3, 0.3 + 0.8 * height / height.max(), color=colour, alpha=0.3, lw=0, zorder=2
        )
    # Dots that would cover each other lie on three lines, in the order of their values.
    lines = 0.08 + 0.07 * (np.argsort(np.argsort(each)) % 3)
    axes.scatter(each, lines, s=5, color=colour, edgecolor=PAPER, linewidth=0.2, zorder=3)
    axes.vlines(each.mean(), 0.02, 1.1, INK, linewidth=1.2, zorder=4)
    axes.locator_params(axis="x", nbins=3)
