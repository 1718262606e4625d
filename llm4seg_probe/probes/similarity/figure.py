"""Likeness of features: heat maps over arms and seeds, and over pairs of sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import wrapped
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import told_apart
from llm4seg_probe.errors import TableError

MEASURES = {
    "cka": "Debiased linear CKA (1: alike)",
    "procrustes": "Procrustes similarity (1: alike)",
    "cosine": "Mean cosine (−1 to 1)",
}
COLOURS = "cividis"
EXCHANGED = "images exchanged"
MOST_NUMBERED = 12
"""More columns than these leave no room for a number in each cell."""


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``similarity.csv``: between arms and seeds, and between sites, where there are such."""
    table = tables["similarity.csv"]
    kinds = set(table["between"])
    drawn = {}
    if kinds & {"arms", "seeds"}:
        drawn["similarity-arms"] = (figure(table), "similarity.csv")
    if "sites" in kinds:
        drawn["similarity-sites"] = (sites_figure(table), "similarity.csv")
    return drawn


def figure(similarity: pd.DataFrame, measure: str = "cka") -> Figure:
    """Draw the arms and seeds of ``similarity.csv``: a matrix of arms per site.

    Below the diagonal two arms at the same seed, mean over seeds; mirrored above it their null,
    the images of one exchanged; on it one arm at two seeds, mean over the pairs of them. Raises
    TableError where the table compares neither arms nor seeds.
    """
    rows = _told_apart(similarity)
    rows = rows[rows["between"].isin(["arms", "seeds"])]
    if rows.empty:
        raise TableError("similarity.csv compares neither arms nor seeds")
    arms = in_order([*rows["arm"], *rows["other_arm"]])
    names = [arm_style(arm).label for arm in arms]
    sites = list(rows["site"].unique())
    names = [wrapped(name, 18) for name in names]
    with paper_style():
        height = (len(sites) * (0.62 * len(arms) + 1.1) + 3.4) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        panels = drawing.subplots(len(sites), squeeze=False, sharex=True)[:, 0]
        for axes, site in zip(panels, sites, strict=True):
            matrix = _matrix(rows[rows["site"] == site], arms, measure)
            _heat(axes, pd.DataFrame(matrix, names, names), measure)
            axes.set_title(f"{labels.site(site)}\nabove the diagonal: {EXCHANGED}", loc="left")
        _colour_bar(drawing, list(panels), measure)
    return drawing


def sites_figure(similarity: pd.DataFrame, measure: str = "cka") -> Figure:
    """Draw the sites of ``similarity.csv``: pairs of sites as rows, arms as columns.

    A number is the mean over the arm's runs; under each pair stands its null. Raises TableError
    where the table does not compare sites.
    """
    rows = _told_apart(similarity)
    rows = rows[rows["between"] == "sites"]
    if rows.empty:
        raise TableError("similarity.csv does not compare sites")
    arms = in_order(rows["arm"])
    pairs = rows["site"] + " – " + rows["other_site"]
    lines = [(pair, null) for pair in pairs.unique() for null in rows["null"].unique()]
    means = rows[measure].groupby([pairs, rows["null"], rows["arm"]]).mean().unstack()
    matrix = means.reindex(index=lines, columns=arms)
    matrix.index = pd.Index([EXCHANGED if null else pair for pair, null in lines])
    matrix.columns = pd.Index([wrapped(arm_style(arm).label, 18) for arm in arms])
    with paper_style():
        height = (0.5 * len(lines) + 4.6) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        axes = drawing.add_subplot()
        axes.set_title("Between sites", loc="left")
        _heat(axes, matrix.astype(float), measure)
        _colour_bar(drawing, [axes], measure)
    return drawing


def _told_apart(similarity: pd.DataFrame) -> pd.DataFrame:
    """The table with conditions for arms, on both sides, where an arm and seed has several runs."""
    own = similarity[["run", "dataset", "arm", "seed"]]
    other = similarity[["other_run", "dataset", "other_arm", "other_seed"]]
    both = pd.concat([own, other.set_axis(own.columns, axis=1)]).drop_duplicates()
    named = told_apart(both)
    condition = dict(zip(named["run"], named["arm"], strict=True))
    return similarity.assign(
        arm=similarity["run"].map(condition), other_arm=similarity["other_run"].map(condition)
    )


def _matrix(rows: pd.DataFrame, arms: Sequence[str], measure: str) -> np.ndarray:
    """Means by unordered pair of arms, below and on the diagonal; above it those of the null."""
    place = {arm: index for index, arm in enumerate(arms)}
    ends = pd.DataFrame({"one": rows["arm"].map(place), "other": rows["other_arm"].map(place)})
    high, low = ends.max(axis=1), ends.min(axis=1)
    is_null = rows["null"] != ""
    shown = ~is_null | (high != low)
    row, column = high.where(~is_null, low)[shown], low.where(~is_null, high)[shown]
    means = rows.loc[shown, measure].groupby([row, column]).mean()
    matrix = np.full((len(arms), len(arms)), np.nan)
    for at_row, at_column, value in means.rename("value").reset_index().itertuples(index=False):
        matrix[int(at_row), int(at_column)] = value
    return matrix


def _heat(axes: Axes, values: pd.DataFrame, measure: str) -> None:
    """Draw a matrix with its numbers; letters keep their colour on a dark page, as cells do."""
    numbers = values.map(lambda value: labels.number(value, 2))
    seaborn.heatmap(
        values, vmin=-1.0 if measure == "cosine" else 0.0, vmax=1, cmap=COLOURS, cbar=False,
        annot=numbers if values.shape[1] <= MOST_NUMBERED else None, fmt="",
        annot_kws={"fontsize": 5.5}, ax=axes,
    )  # fmt: skip
    axes.tick_params(length=0, labelsize=6.5)
    axes.tick_params(axis="x", rotation=90)
    axes.tick_params(axis="y", rotation=0)
    axes.set(xlabel="", ylabel="")


def _colour_bar(drawing: Figure, panels: Sequence[Axes], measure: str) -> None:
    scale = panels[0].collections[0]
    bar = drawing.colorbar(scale, ax=list(panels), location="bottom", aspect=30, shrink=0.8)
    bar.outline.set_visible(False)
    bar.set_label(MEASURES[measure])
