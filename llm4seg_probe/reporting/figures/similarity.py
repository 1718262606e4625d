"""How alike features are: heat maps over arms and seeds, and over pairs of sites."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.style import (
    CENTIMETRE,
    COLUMN,
    INK,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.reporting.summaries import told_apart

MEASURES = {
    "cka": "Debiased linear CKA (1: alike)",
    "procrustes": "Procrustes similarity (1: alike)",
    "cosine": "Mean cosine (−1 to 1)",
}
COLOURS = "cividis"
EXCHANGED = "images exchanged"
_CELL, _WIDEST_CELL, _NUMBERED_CELL, _TITLE, _BAR, _BAR_LABEL, _EDGE = (
    size * CENTIMETRE for size in (0.5, 1.1, 0.45, 0.75, 0.22, 0.95, 0.15)
)
_FONT, _LETTER = 6.5, 0.56  # points, and the width of a letter in them


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
    with paper_style():
        drawing, panels, bar = _laid_out([[_wrapped(name) for name in names]] * len(sites), names)
        for axes, site in zip(panels, sites, strict=True):
            image = _heat(axes, _matrix(rows[rows["site"] == site], arms, measure), measure)
            axes.set_title(labels.site(site), loc="left")
            axes.set_title(f"above: {EXCHANGED}", loc="right", fontsize=6, fontweight="normal")
        _colour_bar(drawing, image, bar, measure)
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
    with paper_style():
        drawing, (axes,), bar = _laid_out(
            [[EXCHANGED if null else pair for pair, null in lines]],
            [arm_style(arm).label for arm in arms],
        )
        axes.set_title("Between sites", loc="left")
        image = _heat(axes, means.reindex(index=lines, columns=arms).to_numpy(float), measure)
        _colour_bar(drawing, image, bar, measure)
    return drawing


def _laid_out(
    rows: Sequence[Sequence[str]], columns: Sequence[str]
) -> tuple[Figure, list[Axes], Axes]:
    """Panels of cells, one per list of row labels, above each other; and the colour bar's axes.

    By hand, because constrained layout gives up on long labels.
    """
    left, below = _room([name for names in rows for name in names]), _room(columns)
    cell = min((COLUMN - left - _EDGE) / len(columns), _WIDEST_CELL)
    lines = sum(len(names) for names in rows)
    height = lines * _CELL + len(rows) * _TITLE + below + _BAR + _BAR_LABEL + _EDGE
    drawing = Figure(figsize=(COLUMN, height))
    panels, top = [], height
    for names in rows:
        top -= _TITLE + len(names) * _CELL
        box = (left / COLUMN, top / height, len(columns) * cell / COLUMN)
        axes = drawing.add_axes((*box, len(names) * _CELL / height))
        axes.set_yticks(range(len(names)), names, fontsize=_FONT)
        axes.set_xticks([])
        panels.append(axes)
    panels[-1].set_xticks(range(len(columns)), columns, rotation=90, fontsize=_FONT)
    widest = COLUMN - left - 4 * _EDGE
    bar = drawing.add_axes((left / COLUMN, _BAR_LABEL / height, widest / COLUMN, _BAR / height))
    return drawing, panels, bar


def _room(names: Sequence[str]) -> float:
    """Inches that the longest line of some labels takes."""
    longest = max(len(line) for name in names for line in name.split("\n"))
    return (longest * _LETTER + 1.5) * _FONT / 72


def _wrapped(label: str) -> str:
    """A long label on two lines."""
    head, comma, tail = label.rpartition(", ")
    return f"{head},\n{tail}" if comma and len(label) > 18 else label


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


def _heat(axes: Axes, values: np.ndarray, measure: str) -> AxesImage:
    low = -1.0 if measure == "cosine" else 0.0
    image = axes.imshow(values, cmap=COLOURS, vmin=low, vmax=1, aspect="auto")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure_width = axes.get_figure(root=True).get_size_inches()[0]  # type: ignore[union-attr]
    if axes.get_position().width * figure_width / values.shape[1] < _NUMBERED_CELL:
        return image
    shades = colormaps[COLOURS]
    for row, column in np.argwhere(np.isfinite(values)):
        value = float(values[row, column])
        red, green, blue, _ = shades((value - low) / (1 - low))
        is_dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
        axes.text(
            column, row, labels.number(value, 2), ha="center", va="center",
            fontsize=5.5, color=PAPER if is_dark else INK,
        )  # fmt: skip
    return image


def _colour_bar(drawing: Figure, image: AxesImage, axes: Axes, measure: str) -> None:
    bar = drawing.colorbar(image, cax=axes, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.set_label(MEASURES[measure])
