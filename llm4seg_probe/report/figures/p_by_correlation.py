"""p of published means and SDs as a curve over what was not printed: how the pairs correlate."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import (
    ARM_STYLES,
    CENTIMETRE,
    COLUMN,
    INK,
    MUTED,
    paper_style,
)
from llm4seg_probe.errors import TableError

MOST_NAMED = 6
"""More curves than this cannot be told apart: named are those that need least correlation."""
_LEAST = 1e-4
_COLOURS = [style.colour for style in ARM_STYLES.values()]


def figure(curves: pd.DataFrame, comparison: pd.DataFrame, alpha: float = 0.05) -> Figure:
    """Draw the ``curves`` of an audit of means, a panel per data set and score, bands by rounding.

    comparison: the audit's, which says from which correlation on a pair is significant. Raises
    TableError for an audit without curves.
    """
    if curves.empty:
        raise TableError("these results have no curve over the correlation")
    places = curves[["dataset", "score"]].drop_duplicates().itertuples(index=False)
    panels = [(str(dataset), str(score)) for dataset, score in places]
    least = comparison.groupby("a", sort=False)["crossing"].min().sort_values(kind="stable")
    named = [str(arm) for arm in least.index[:MOST_NAMED]]
    with paper_style():
        height = (5.6 * len(panels) + 1.2) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        grid = drawing.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for axes, (dataset, score) in zip(grid, panels, strict=True):
            ours, theirs = (
                table[(table["dataset"] == dataset) & (table["score"] == score)]
                for table in (curves, comparison)
            )
            _panel(axes, ours, theirs, named, alpha)
            name = labels.measure(score).name
            title = f"{name} on {dataset}" if dataset else name
            axes.set_title(title, loc="left", parse_math=False)
        grid[-1].set_xlabel("Correlation of the pairs (not printed)")
        drawing.supylabel("p, paired t-test", fontsize=7.5, color=INK)
    return drawing


def alt(comparison: pd.DataFrame) -> str:
    """From which correlation on each pair is significant."""
    parts = [
        f"{row['a']} against {row['b']} in {row['score']}"
        f"{' on ' + row['dataset'] if row['dataset'] else ''} {row['crossing']:.2f}"
        for _, row in comparison.iterrows()
    ]
    return (
        "Curves of p over the correlation of the pairs, falling to the right. p is below 0.05 from "
        f"this correlation on (above 1: never; below −1: always): {'; '.join(parts)}."
    )


def _panel(
    axes: Axes, curves: pd.DataFrame, comparison: pd.DataFrame, named: list[str], alpha: float
) -> None:
    for arm, rows in curves.groupby("a", sort=False):
        is_named = arm in named
        colour = _COLOURS[named.index(str(arm))] if is_named else MUTED
        x, width = rows["correlation"], 1.2 if is_named else 0.5
        p = rows[["p", "p_low", "p_high"]].clip(lower=_LEAST)
        if is_named:
            axes.fill_between(x, p["p_low"], p["p_high"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            x, p["p"], color=colour, linewidth=width, alpha=1 if is_named else 0.5,
            label=str(arm) if is_named else None, zorder=3 if is_named else 2,
        )  # fmt: skip
    axes.axhline(alpha, color=INK, linewidth=0.7, linestyle="--", zorder=1)
    axes.annotate(
        f"{alpha:g}", (1.01, alpha), va="center", color=INK, fontsize=7, annotation_clip=False
    )
    axes.set_yscale("log")
    axes.set_ylim(_LEAST, 1.1)
    axes.set_yticks([0.0001, 0.001, 0.01, 0.1, 1], ["0.0001", "0.001", "0.01", "0.1", "1"])
    axes.set_xlim(-0.95, 0.99)
    title = f"against {comparison['b'].iloc[0]}"
    legend = axes.legend(
        loc="lower left", title=title, alignment="left",
        title_fontsize=7, handlelength=1.2, ncols=2, columnspacing=1.0,
    )  # fmt: skip
    for text in (legend.get_title(), *legend.get_texts()):
        text.set_parse_math(False)  # somebody else's names: a dollar is a dollar
