"""Foreground and background in words, by arm: their distance, and which words they are."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    dots,
    legend_below,
    mean_bar,
    most_lines,
    null_band,
    null_handles,
    number_column,
    row_label,
    tall_figure,
)
from llm4seg_probe.drawing.style import INK, arm_style, in_order, paper_style
from llm4seg_probe.drawing.table_rows import apart_by_dataset, told_apart

NULLS = {
    "other-image": "other images' masks",
    "shuffled": "other images' tokens",
    "gaussian": "Gaussian tokens",
    "untrained": "before training",
}
PARTS = ("foreground", "background")
_THIN = 0.002
_LONGEST = 14


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``lens.csv`` and ``lens-words.csv``, two figures for each site."""
    distances = apart_by_dataset(told_apart(tables["lens.csv"]))
    words = apart_by_dataset(told_apart(tables["lens-words.csv"]))
    drawn = {}
    for site in distances["site"].unique():
        name = "lens" if site == "layer" else f"lens-{site}"
        drawn[name] = (figure(distances, site), "lens.csv")
        drawn[f"{name}-words"] = (words_figure(words, site), "lens-words.csv")
    return drawn


def figure(lens: pd.DataFrame, site: str = "layer") -> Figure:
    """Draw the distances of ``lens.csv`` at a site: arms as rows, a dot per run, bars at means.

    Means are over the images on which the nulls were measured. The band of other images' masks
    reaches from the lowest to the highest draw, the others from the lowest to the highest run.
    """
    rows = lens[lens["site"] == site]
    arms = in_order(rows["arm"])
    null_names = [name for name in NULLS if (rows["null"] == name).any()]
    names = [row_label(arm) for arm in arms]
    with paper_style():
        drawing = tall_figure(len(arms), row_height=max(0.72, 0.36 * most_lines(names)), extra=2.6)
        axes = drawing.add_subplot()
        arm_axis(axes, names)
        axes.grid(axis="x")
        means = [
            _row(axes, rows[rows["arm"] == arm], arm, place, null_names)
            for place, arm in enumerate(arms)
        ]
        number_column(axes, [(row, labels.number(m, 3)) for row, m in enumerate(means)], "mean")
        axes.set_xlim(left=0)
        axes.set_xlabel("Foreground to background, in words\n(Jensen-Shannon distance, 0 to 1)")
        legend_below(drawing, null_handles(null_names, NULLS))
    return drawing


def words_figure(words: pd.DataFrame, site: str = "layer", top: int = 5) -> Figure:
    """Draw ``lens-words.csv`` of the first seed: for each arm the words of most tokens.

    A bar is the word's share of the tokens of its part; the line is that share when masks are
    exchanged between images. A bar that ends at its line says no more than the position does.
    """
    rows = words[(words["site"] == site) & (words["null"] == "") & (words["share"] > 0)]
    rows = rows[rows["place"] <= top]
    rows = rows[rows["seed"] == rows["seed"].min()]
    arms = in_order(rows["arm"])
    titles = [row_label(arm) for arm in arms]
    with paper_style():
        drawing = tall_figure(
            len(arms) * (top + 1.8 + most_lines(titles)), row_height=0.36, extra=1.6
        )
        panels = drawing.subplots(len(arms), 2, squeeze=False, sharex=True)
        for line, arm, title in zip(panels, arms, titles, strict=True):
            for axes, part in zip(line, PARTS, strict=True):
                chosen = rows[(rows["arm"] == arm) & (rows["part"] == part)]
                _bars(axes, chosen.sort_values("place"), arm, top)
            line[0].set_title(f"{title}\nforeground", loc="left")
            line[1].set_title("\nbackground", loc="left")
        for axes in panels[-1]:
            axes.set_xlim(0, 100)
            axes.set_xlabel("Share of tokens (%)")
        if rows["exchanged_share"].notna().any():
            line = Line2D([], [], color=INK, linewidth=1.1, marker="|", linestyle="none")
            line.set_label("the same with other images' masks")
            legend_below(drawing, [line])
    return drawing


def shown(word: str) -> str:
    """A word of ``lens-words.csv`` for the eye: a space as ␣, what fonts may lack as its escape.

    >>> shown("' the'"), shown(repr("\\n")), shown(repr("\\u4e2d"))
    ('␣the', '\\\\n', '\\\\u4e2d')
    """
    text = ascii(str(ast.literal_eval(word)))[1:-1].replace(" ", "␣")
    return labels.shorten(text, _LONGEST)


def _row(axes: Axes, rows: pd.DataFrame, arm: str, place: int, null_names: Sequence[str]) -> float:
    """Draw one arm's row; returns its mean."""
    style = arm_style(arm)
    for number, name in enumerate(null_names):
        means = rows[rows["null"] == name].groupby(["run", "draw"])["distance"].mean().dropna()
        if len(means):
            null_band(axes, number, means.min() - _THIN, means.max() + _THIN, place, 0.8)
    images = rows.loc[rows["null"] != "", "image"].unique()
    own = rows[rows["null"] == ""]
    if len(images):
        own = own[own["image"].isin(images)]
    means = own.groupby("run")["distance"].mean().dropna()
    dots(axes, means, [place] * len(means), style)
    mean_bar(axes, means.mean(), place, 0.36)
    return float(means.mean())


def _bars(axes: Axes, rows: pd.DataFrame, arm: str, top: int) -> None:
    axes.set_ylim(top - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    places = range(len(rows))
    axes.set_yticks(places)
    axes.set_yticklabels([shown(word) for word in rows["word"]], fontsize=6, parse_math=False)
    axes.barh(places, 100 * rows["share"], height=0.7, color=arm_style(arm).colour, alpha=0.6)
    for place, share in zip(places, rows["exchanged_share"], strict=True):
        if pd.notna(share):
            axes.vlines(100 * share, place - 0.42, place + 0.42, color=INK, linewidth=1.1)
