"""Power curves: the chance to find the margin, by number of seeds, with the pilot's uncertainty."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from llm4seg_probe.drawing.axes import legend_below
from llm4seg_probe.drawing.style import COLUMN, MUTED, arm_style, condition_style, paper_style


def figure(summary: pd.DataFrame, curve: pd.DataFrame) -> Figure:
    """Draw the tables of a plan: one line per arm, at the pilot's own number of cases.

    Lines are closed forms, dots simulated studies, bands the range of the pilot's SD.
    """
    with paper_style():
        drawing = Figure(figsize=(COLUMN, 0.85 * COLUMN), layout="constrained")
        axes = drawing.add_subplot()
        for _, pair in summary.iterrows():
            rows = curve[(curve["dataset"] == pair["dataset"]) & (curve["a"] == pair["a"])]
            units = rows["n_units"]
            rows = rows[units.isna() | (units == pair["units"])].sort_values("n_seeds")
            style = arm_style(str(pair["a"]))
            seeds = rows["n_seeds"].astype(float)
            axes.fill_between(
                seeds, rows["power_low"], rows["power_high"], color=style.colour, alpha=0.12, lw=0
            )
            axes.plot(seeds, rows["power"], color=style.colour, label=style.label)
            axes.plot(seeds, rows["power_simulated"], style.marker, color=style.colour, ms=3)
        axes.axhline(0.8, color=MUTED, linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks([2, 5, 10, 20, 50, 100])
        axes.set_ylim(0, 1)
        axes.set_xlabel("Seeds (training runs per arm)")
        axes.set_ylabel("Power to find the margin (0 to 1)")
        handles = axes.get_legend_handles_labels()[0]
        against = condition_style(str(summary["b"].iloc[0])).label if "b" in summary else ""
        title = f"Against {against}; bands: what the pilot's SD leaves open" if against else ""
        legend_below(drawing, handles, title)
    return drawing
