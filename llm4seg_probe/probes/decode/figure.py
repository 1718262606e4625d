"""Foreground read off the tokens, by arm and by number of training images."""

from __future__ import annotations

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
from llm4seg_probe.drawing.style import MUTED, PAPER, arm_style, in_order, paper_style
from llm4seg_probe.drawing.table_rows import apart_by_dataset, told_apart
from llm4seg_probe.errors import TableError, unknown

NULLS = {
    "position": "position alone",
    "other-image": "another image's mask",
    "untrained": "network before training",
}
_LINES: dict[str, tuple[float, tuple[float, ...]]] = {
    "position": (0, (4, 1.5)),
    "other-image": (0, (1, 1)),
    "untrained": (0, (4, 1, 1, 1)),
}
_THIN = 0.0015


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``decode.csv``: by site and arm, and by the number of training images."""
    table = apart_by_dataset(told_apart(tables["decode.csv"]))
    return {
        "decode": (figure(table), "decode.csv"),
        "decode-images": (curves(table), "decode.csv"),
    }


def figure(
    decode: pd.DataFrame, measure: str = "auroc", sites: Sequence[str] | None = None
) -> Figure:
    """Draw ``decode.csv``: arms as rows, a panel per site, probes of all training images.

    A dot is a run, over all test tokens; the bar is the mean. Hollow dots have the position
    beside the features. Bands reach from the lowest to the highest run of a null. All sites of
    the table are drawn unless ``sites`` chooses some; raises TableError for one that it lacks.
    """
    present = _sites(decode, sites)
    rows = _of_all_images(_together(decode))
    arms, null_names = in_order(rows["arm"]), _null_names(rows)
    names = [row_label(arm) for arm in arms]
    height = max(0.68, 0.36 * most_lines(names))
    with paper_style():
        drawing = tall_figure(
            len(present) * len(arms), row_height=height, extra=2.6 + 0.5 * len(present)
        )
        panels = drawing.subplots(len(present), squeeze=False, sharex=True)[:, 0]
        for axes, name in zip(panels, present, strict=True):
            arm_axis(axes, names)
            axes.set_title(labels.site(name), loc="left")
            _panel(axes, rows[rows["site"] == name], measure, arms, null_names)
        panels[-1].set_xlabel(f"{labels.measure(measure).axis}, all test tokens")
        legend_below(drawing, [*_kinds(), *null_handles(null_names, NULLS)])
    return drawing


def curves(
    decode: pd.DataFrame, measure: str = "auroc", sites: Sequence[str] | None = None
) -> Figure:
    """Draw ``decode.csv`` by number of training images: a line per arm, the mean of its runs.

    Grey lines are the nulls, their means over all runs.
    """
    present = _sites(decode, sites)
    rows = _together(decode)
    features = rows[(rows["input"] == "features") & (rows["null"] == "")]
    arms, null_names = in_order(rows["arm"]), _null_names(rows)
    with paper_style():
        drawing = tall_figure(len(present), row_height=4.0, extra=1.4 + 0.35 * len(arms))
        panels = drawing.subplots(len(present), squeeze=False, sharex=True)[:, 0]
        for axes, name in zip(panels, present, strict=True):
            axes.set_title(labels.site(name), loc="left")
            axes.set_ylabel(labels.measure(measure).axis)
            axes.grid(axis="y")
            handles = []
            for arm in arms:
                of_arm = features[(features["site"] == name) & (features["arm"] == arm)]
                handles.append(_arm_line(_curve(axes, of_arm, measure), arm))
            for null in null_names:
                of_null = rows[(rows["site"] == name) & (rows["null"] == null)]
                handles.append(_null_line(_curve(axes, of_null, measure), null))
            sizes = sorted(rows["training_images"].unique())
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.minorticks_off()
        panels[-1].set_xlabel("Training images")
        legend_below(drawing, handles)
    return drawing


def _sites(decode: pd.DataFrame, sites: Sequence[str] | None) -> list[str]:
    found = list(decode["site"].unique())
    for name in sites or ():
        if name not in found:
            raise TableError(f"decode.csv: {unknown('site', name, found)}")
    return found if sites is None else list(sites)


def _together(decode: pd.DataFrame) -> pd.DataFrame:
    """Rows of all test tokens of a run together."""
    return decode[decode["image"] == ""]


def _of_all_images(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the probes that learned from all training images of their run."""
    return rows[rows["training_images"] == rows.groupby("run")["training_images"].transform("max")]


def _null_names(rows: pd.DataFrame) -> list[str]:
    return [name for name in NULLS if (rows["null"] == name).any()]


def _panel(
    axes: Axes, rows: pd.DataFrame, measure: str, arms: Sequence[str], null_names: Sequence[str]
) -> None:
    axes.grid(axis="x")
    numbers = []
    for place, arm in enumerate(arms):
        of_arm = rows[rows["arm"] == arm]
        for number, name in enumerate(null_names):
            values = of_arm.loc[of_arm["null"] == name, measure].dropna()
            if len(values):
                null_band(axes, number, values.min() - _THIN, values.max() + _THIN, place, 0.84)
        own = of_arm[of_arm["null"] == ""]
        features = own.loc[own["input"] == "features", measure]
        both = own.loc[own["input"] == "features+position", measure]
        style = arm_style(arm)
        dots(axes, both, [place + 0.2] * len(both), style, size=10, hollow=True)
        dots(axes, features, [place - 0.12] * len(features), style, size=14)
        mean_bar(axes, features.mean(), place - 0.16, 0.22)
        numbers.append((place, labels.number(features.mean(), 3)))
    number_column(axes, numbers, "mean")


def _curve(axes: Axes, rows: pd.DataFrame, measure: str) -> Line2D:
    means = rows.groupby("training_images")[measure].mean()
    (line,) = axes.plot(means.index.astype(float), means, linewidth=1.1, color=MUTED, zorder=2)
    return line


def _null_line(line: Line2D, null: str) -> Line2D:
    line.set(linestyle=_LINES[null], label=NULLS[null])
    return line


def _arm_line(line: Line2D, arm: str) -> Line2D:
    style = arm_style(arm)
    line.set(color=style.colour, marker=style.marker, label=style.label, zorder=3)
    line.set(markersize=3.5, markeredgecolor=PAPER, markeredgewidth=0.4)
    return line


def _kinds() -> list[Line2D]:
    handles = []
    for label, face in (("features", MUTED), ("features and position", PAPER)):
        dot = Line2D([], [], color=MUTED, marker="o", markersize=4, markerfacecolor=face)
        dot.set(linestyle="none", label=label)
        handles.append(dot)
    return handles
