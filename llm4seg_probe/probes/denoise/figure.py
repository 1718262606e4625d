"""Signal-to-noise by strength of noise and by principal direction, and the gain of the layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import (
    arm_axis,
    arm_handles,
    arm_labels,
    dots,
    legend_below,
    mean_bar,
    null_band,
    null_handles,
    number_column,
    tall_figure,
    zero_line,
)
from llm4seg_probe.drawing.style import (
    CENTIMETRE,
    COLUMN,
    INK,
    MUTED,
    PAPER,
    arm_style,
    in_order,
    paper_style,
)
from llm4seg_probe.drawing.table_rows import apart_by_dataset, by_seed, middle, told_apart
from llm4seg_probe.probes.denoise.gain import SPOKEN_STRENGTH, chance_gains, gains

_PER_LINE = 2
_LINES = ("--", "-", ":", "-.")
_AXIS = "Signal-to-noise (dB)"


def figures(tables: Mapping[str, pd.DataFrame], arrays: object) -> dict[str, tuple[Figure, str]]:
    """Draw the levels, the gain where both sides of a layer were looked at, and the directions."""
    table = apart_by_dataset(told_apart(tables["denoise.csv"]))
    drawn = {"denoise": (figure(table), "denoise.csv")}
    if len(gains(table)):
        drawn["denoise-gain"] = (gain_figure(table), "denoise.csv")
    directions = apart_by_dataset(told_apart(tables["denoise-directions.csv"]))
    drawn["denoise-directions"] = (directions_figure(directions), "denoise-directions.csv")
    return drawn


def figure(table: pd.DataFrame) -> Figure:
    """Draw ``denoise.csv``: a panel per site and kind of noise, a line per arm over the strengths.

    A line is the mean of the runs, each the mean over its images of the decibels, all tokens; the
    band reaches from the lowest to the highest run. Dotted is the network before training.
    """
    rows = table[table["part"] == table["part"].iloc[0]]
    panels = list(rows[["noise", "site"]].drop_duplicates().itertuples(index=False, name=None))
    arms = in_order(rows["arm"])
    lines = -(-len(panels) // _PER_LINE)
    with paper_style():
        height = (lines * 4.3 + 1.3 + 0.35 * len(arms)) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        grid = drawing.subplots(lines, _PER_LINE, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        several = rows["noise"].nunique() > 1
        for axes, (noise, site) in zip(grid.flat, panels, strict=False):
            here = rows[(rows["noise"] == noise) & (rows["site"] == site)]
            _levels(axes, here, arms)
            title = labels.site(site)
            axes.set_title(f"{title}\n{noise}" if several else title, loc="left", fontsize=7)
        for axes in grid[:, 0]:
            axes.set_ylabel(_AXIS)
        for axes in grid.flat[max(0, len(panels) - _PER_LINE) : len(panels)]:
            axes.set_xlabel("Noise, strength 1 to 5")
            axes.tick_params(labelbottom=True)
        handles = arm_handles(arms)
        if (rows["null"] == "untrained").any():
            handles.append(Line2D([], [], color=MUTED, ls=":", label="before training"))
        legend_below(drawing, handles)
    return drawing


def gain_figure(table: pd.DataFrame) -> Figure:
    """Draw the gain of the layer at strength 3: arms as rows, a panel per kind of noise.

    Filled marks are all tokens, hollow ones those of the background alone, a mark per run; the
    upright stroke is the mean over runs of all tokens. The band holds the middle 90 % of what the
    images gain when the features before the layer pass a linear map at random instead.
    """
    table = table[table["strength"] == SPOKEN_STRENGTH]
    chance = chance_gains(table)
    found = gains(table[table["null"] == ""])
    kinds = list(found["noise"].unique())
    arms = in_order(found["arm"])
    null_names = ["random-map"] if chance["gain"].notna().any() else []
    with paper_style():
        names, taller = arm_labels(arms, 18)
        drawing = tall_figure(
            len(kinds) * len(arms), row_height=max(0.9, 0.8 * taller), extra=2.4 + len(kinds) * 0.6
        )
        panels = drawing.subplots(len(kinds), 1, squeeze=False, sharex=True)[:, 0]
        for axes, kind in zip(panels, kinds, strict=True):
            arm_axis(axes, names)
            zero_line(axes)
            axes.use_sticky_edges = False  # a mark at 0 shall not lie on the frame
            axes.margins(x=0.08)
            _gains(axes, found[found["noise"] == kind], chance[chance["noise"] == kind], arms)
            if len(kinds) > 1:
                axes.set_title(kind, loc="left", fontsize=7)
        panels[-1].set_xlabel("After − before (difference in dB)")
        marks = [
            Line2D([], [], color=INK, marker="o", ls="", ms=4, label="all tokens"),
            Line2D([], [], color=INK, marker="o", ls="", ms=4, mfc=PAPER, label="background"),
        ]
        legend_below(drawing, [*marks, *null_handles(null_names)])
    return drawing


def directions_figure(directions: pd.DataFrame) -> Figure:
    """Draw ``denoise-directions.csv`` at strength 3: the ratio along each principal direction.

    A line per arm and site, the mean of the runs' decibels; a direction without signal above the
    noise has none.
    """
    rows = directions[(directions["direction"] > 0) & (directions["null"] == "")]
    rows = rows[rows["strength"] == SPOKEN_STRENGTH]
    kinds, sites = list(rows["noise"].unique()), list(rows["site"].unique())
    arms = in_order(rows["arm"])
    with paper_style():
        height = (4.6 * len(kinds) + 1.3 + 0.35 * (len(arms) + len(sites))) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        panels = drawing.subplots(len(kinds), 1, squeeze=False, sharex=True)[:, 0]
        for axes, kind in zip(panels, kinds, strict=True):
            for place, site in enumerate(sites):
                here = rows[(rows["noise"] == kind) & (rows["site"] == site)]
                for arm in arms:
                    means = here[here["arm"] == arm].groupby("direction")["snr_db"].mean()
                    style = _LINES[place % len(_LINES)]
                    axes.plot(means.index, means, color=arm_style(arm).colour, ls=style, lw=1.1,
                              gid=f"{arm}-{site}")  # fmt: skip
            axes.set_ylabel(_AXIS)
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if len(kinds) > 1:
                axes.set_title(kind, loc="left", fontsize=7)
        panels[-1].set_xlabel("Principal direction of the clean features, largest first")
        handles = [
            Line2D([], [], color=INK, ls=_LINES[place % len(_LINES)], label=labels.site(site))
            for place, site in enumerate(sites)
        ]
        of_arms = [
            Line2D([], [], color=arm_style(a).colour, label=arm_style(a).label) for a in arms
        ]
        legend_below(drawing, [*of_arms, *handles])
    return drawing


def _levels(axes: Axes, rows: pd.DataFrame, arms: Sequence[str]) -> None:
    strengths = sorted(int(strength) for strength in rows["strength"].unique())
    for null in ("", "untrained"):
        kind = rows[(rows["null"] == null) & rows["snr_db"].notna()]
        if kind.empty:
            continue
        for arm in arms:
            of_arm = kind[kind["arm"] == arm]
            there = [s for s in strengths if (of_arm["strength"] == s).any()]
            runs = [by_seed(of_arm[of_arm["strength"] == s], "snr_db")[arm] for s in there]
            means = [each.mean() for each in runs]
            style = arm_style(arm)
            if null:
                axes.plot(there, means, color=style.colour, ls=":", lw=0.8, gid=f"{arm}-{null}")
                continue
            lows, highs = [each.min() for each in runs], [each.max() for each in runs]
            axes.fill_between(there, lows, highs, color=style.colour, alpha=0.15, lw=0)
            axes.plot(
                there, means, color=style.colour, marker=style.marker, markersize=3.5,
                markeredgecolor=PAPER, markeredgewidth=0.4, label=style.label, gid=arm,
            )  # fmt: skip
    axes.set_xticks(strengths)
    axes.grid(axis="y")


def _gains(axes: Axes, rows: pd.DataFrame, chance: pd.DataFrame, arms: Sequence[str]) -> None:
    numbers = []
    for place, arm in enumerate(arms):
        of_arm = rows[rows["arm"] == arm]
        null = chance[(chance["arm"] == arm) & (chance["part"] == "all")]["gain"]
        if null.notna().any():
            null_band(axes, 0, *middle(null), place, 0.7)
        for part, offset in (("all", -0.12), ("background", 0.18)):
            own = of_arm[(of_arm["part"] == part) & of_arm["gain"].notna()]
            if own.empty:
                continue
            runs = by_seed(own, "gain")[arm]
            hollow = part != "all"
            dots(axes, runs, [place + offset] * len(runs), arm_style(arm), size=10, hollow=hollow)
            if part == "all":
                mean_bar(axes, runs.mean(), place, 0.3)
                numbers.append((place, labels.number(runs.mean(), 1, signed=True)))
    number_column(axes, numbers, "all")
