"""Score changes under each intervention, arm by arm, and against the rank that is kept."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    arm_handles,
    bounds_of,
    draw_change,
    interval_note,
    legend_below,
    limits,
    most_lines,
    tall_figure,
    wrapped,
    zero_line,
)
from llm4seg_probe.drawing.style import GRID, MUTED, arm_style, in_order, paper_style
from llm4seg_probe.errors import TableError

RANK = "low-rank"
_LINE = 24  # characters of a label's line
_PER_ARM, _PER_LINE = 0.2, 0.42  # centimetres of a row that each arm, and each line, takes
_WORDS = {
    "bypass": "Layer bypassed",
    "attention-off": "Attention off",
    "mlp-off": "MLP off",
    "head-off": "Head {} off",
    "permuted": "Tokens permuted",
    "mask": "Mask {}",
    "position": "Positions {}",
    "random-weights": "Weights random",
    "shuffled-weights": "Weights shuffled",
    "other-seed-weights": "Weights of another seed",
    "other-layer-weights": "Weights of layer {}",
    "patched": "Another image's '{}'",
    "direction-removed": "Direction {} removed",
}


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``intervene-effects.csv``."""
    source = "intervene-effects.csv"
    return {"interventions": (figure(tables[source]), source)}


def figure(effects: pd.DataFrame, score: str = "iou") -> Figure:
    """Draw ``intervene-effects.csv`` for one score: a forest, under it the curve over ranks.

    Raises TableError when no row has this score.
    """
    rows = effects[effects["score"] == score]
    if rows.empty:
        raise TableError(f"intervene-effects.csv has no row on {score}")
    arms = in_order(rows["arm"])
    ranks, others = rows[rows["intervention"] == RANK], rows[rows["intervention"] != RANK]
    kinds = _in_order(others[["intervention", "setting"]].drop_duplicates())
    texts = _texts(kinds)
    row = max(0.18 + _PER_ARM * len(arms), _PER_LINE * most_lines(texts))
    heights = [len(kinds) * row, 3.4]
    shown = [height for height, part in zip(heights, (others, ranks), strict=True) if len(part)]
    bounds = bounds_of(rows)
    with paper_style():
        drawing = tall_figure(sum(shown), row_height=1, extra=1.9 + 0.4 * ((len(arms) + 1) // 2))
        panels = list(drawing.subplots(len(shown), height_ratios=shown, squeeze=False)[:, 0])
        name = f"Change in {labels.measure(score).name} (difference)"
        if len(others):
            _forest(panels[0], others, kinds, arms, bounds)
            panels[0].set_xlabel(name)
        if len(ranks):
            _curve(panels[-1], ranks, arms, bounds)
            panels[-1].set_ylabel(name)
        legend_below(drawing, arm_handles(arms), interval_note(bounds))
    return drawing


def _texts(kinds: pd.DataFrame) -> list[str]:
    """The interventions in words, on as many lines as they take."""
    names = zip(kinds["intervention"], kinds["setting"], strict=True)
    return [wrapped(_WORDS.get(name, name).format(setting), _LINE) for name, setting in names]


def _in_order(kinds: pd.DataFrame) -> pd.DataFrame:
    order = {name: place for place, name in enumerate(_WORDS)}
    place = kinds["intervention"].map(lambda name: order.get(name, len(order)))
    return kinds.iloc[place.argsort(kind="stable")].reset_index(drop=True)


def _forest(
    axes: Axes,
    rows: pd.DataFrame,
    kinds: pd.DataFrame,
    arms: list[str],
    bounds: tuple[str, str] | None,
) -> None:
    arm_axis(axes, _texts(kinds))
    axes.set_xlim(*limits(rows["change"]))
    axes.xaxis.set_major_locator(MaxNLocator(4))  # labels of small changes are long
    zero_line(axes)
    axes.hlines([place - 0.5 for place in range(1, len(kinds))], *axes.get_xlim(), GRID, lw=0.5)
    places = {tuple(kind): place for place, kind in enumerate(kinds.to_numpy())}
    step = 0.8 / len(arms)
    for _, row in rows.iterrows():
        middle = (arms.index(row["arm"]) - (len(arms) - 1) / 2) * step
        place = places[row["intervention"], row["setting"]] + middle
        draw_change(axes, place, row, bounds)


def _curve(axes: Axes, rows: pd.DataFrame, arms: list[str], bounds: tuple[str, str] | None) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    for arm in arms:
        of_arm = rows[rows["arm"] == arm]
        style, rank = arm_style(arm), of_arm["setting"].astype(int)
        axes.plot(
            rank, of_arm["change"], color=style.colour, marker=style.marker, ms=3.5, lw=1, zorder=3
        )
        if bounds is not None:
            low, high = of_arm[bounds[0]], of_arm[bounds[1]]
            axes.fill_between(rank, low, high, color=style.colour, alpha=0.15, lw=0, zorder=2)
    ranks = sorted(rows["setting"].astype(int).unique())
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(*limits(rows["change"]))
    axes.set_xlabel("Directions kept after the layer (rank)")
