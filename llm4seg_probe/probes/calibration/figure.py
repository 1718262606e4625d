"""Reliability diagrams by arm: how often answers are right, against how confident they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import legend_below
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    MUTED,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import apart_by_dataset, told_apart


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw ``calibration-bins.csv``, a figure for each class."""
    bins = apart_by_dataset(told_apart(tables["calibration-bins.csv"]))
    classes = list(bins["class"].unique())
    return {
        "reliability" + (f"-{name}" if len(classes) > 1 else ""): (
            figure(bins[bins["class"] == name]),
            "calibration-bins.csv",
        )
        for name in classes
    }


def figure(bins: pd.DataFrame) -> Figure:
    """Draw ``calibration-bins.csv`` of one class: a line per arm, the pixels of its runs pooled.

    Above: the share of right answers against the confidence, bin by bin; the band reaches from the
    lowest to the highest run, and on the diagonal the two are the same. The legend has the
    calibration error of these pixels. Below: how many pixels fall into each bin, on a log scale.
    """
    own = bins[(bins["null"] == "") & (bins["pixels"] > 0)]
    arms = in_order(own["arm"])
    with paper_style():
        height = (8.6 + 0.35 * len(arms)) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        upper, lower = drawing.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
        upper.plot([0.5, 1], [0.5, 1], color=MUTED, lw=0.8, ls="--", zorder=1)
        handles = [_arm(upper, lower, own[own["arm"] == arm], arm) for arm in arms]
        upper.set_ylabel("Share of right answers")
        upper.grid(axis="y")
        lower.set_yscale("log")
        lower.set_ylabel("Share of pixels")
        lower.set_xlabel("Confidence of the answer (0.5 to 1)")
        calibrated = Line2D([], [], color=MUTED, lw=0.8, ls="--", label="calibrated")
        legend_below(drawing, [*handles, calibrated], "Calibration error of all pixels in brackets")
    return drawing


def _arm(upper: Axes, lower: Axes, rows: pd.DataFrame, arm: str) -> Line2D:
    style = arm_style(arm)
    sums = rows.assign(
        confidence=rows["confidence"] * rows["pixels"], right_pixels=rows["right"] * rows["pixels"]
    ).groupby("bin")[["pixels", "confidence", "right_pixels"]].sum()  # fmt: skip
    places, right = sums["confidence"] / sums["pixels"], sums["right_pixels"] / sums["pixels"]
    by_bin = rows.groupby("bin")["right"]
    upper.fill_between(places, by_bin.min(), by_bin.max(), color=style.colour, alpha=0.15, lw=0)
    marks: dict[str, Any] = {"marker": style.marker, "markersize": 3.5, "markeredgecolor": PAPER,
             "markeredgewidth": 0.4}  # fmt: skip
    upper.plot(places, right, color=style.colour, gid=arm, **marks)
    lower.plot(places, sums["pixels"] / sums["pixels"].sum(), color=style.colour, **marks)
    error = (places - right).abs().mul(sums["pixels"]).sum() / sums["pixels"].sum()
    label = f"{style.label} ({labels.number(error, 4)})"
    return Line2D([], [], color=style.colour, marker=style.marker, ms=4, lw=1.1, label=label)
