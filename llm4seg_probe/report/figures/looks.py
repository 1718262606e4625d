"""The path of a claim over its declared looks: estimate, repeated interval, p and boundary."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import legend_below
from llm4seg_probe.drawing.style import BAND, CENTIMETRE, COLUMN, INK, MUTED, paper_style

_LOWEST_P = 1e-4  # smaller ones are drawn here: a boundary lies between 0.0001 and 0.05


def figure(rows: pd.DataFrame, margin: float, score: str, alpha: float = 0.05) -> Figure:
    """Draw the rows of one claim in ``looks.csv``, by the number of seeds at each look.

    Above, the difference with its interval, which holds at all looks at once; the first interval
    without zero decides, and is where the study could stop. Below, p of each look and the
    boundary that it has to pass.
    """
    rows = rows.sort_values("seeds").reset_index(drop=True)
    is_decided = rows["verdict"].ne("inconclusive")
    decided = is_decided & ~is_decided.shift(fill_value=False)
    with paper_style():
        drawing = Figure(figsize=(COLUMN, 8.4 * CENTIMETRE), layout="constrained")
        above, below = drawing.subplots(2, sharex=True, height_ratios=(1.5, 1))
        above.axhspan(-margin, margin, color=BAND, zorder=0)
        above.axhline(0, color=MUTED, linewidth=0.8)
        above.vlines(rows["seeds"], rows["ci_low"], rows["ci_high"], color=INK, linewidth=2)
        above.plot(rows["seeds"], rows["difference"], color=MUTED, linewidth=0.8, zorder=1)
        for at_it, face in ((~decided, "white"), (decided, INK)):
            above.plot(
                rows["seeds"][at_it], rows["difference"][at_it], "o", markersize=5,
                markerfacecolor=face, markeredgecolor=INK, linestyle="",
                label="decided here" if face == INK else "look",
            )  # fmt: skip
        above.set_ylabel(f"Difference in {score}")
        below.plot(
            rows["seeds"], rows["p"].clip(lower=_LOWEST_P), "o", color=INK, markersize=4, label="p"
        )
        below.plot(
            rows["seeds"], rows["threshold"], drawstyle="steps-mid", color=MUTED, linewidth=1.2,
            marker="_", markersize=9, label="boundary",
        )  # fmt: skip
        below.axhline(alpha, color=MUTED, linewidth=0.6, linestyle=":")
        below.set(yscale="log", ylabel="p", ylim=(_LOWEST_P / 2, 1.5), xlabel="Seeds (looks)")
        below.set_xscale("log", base=2)
        below.xaxis.set_major_locator(FixedLocator(rows["seeds"].tolist()))
        below.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        below.xaxis.set_minor_locator(NullLocator())
        handles = [*above.get_legend_handles_labels()[0], *below.get_legend_handles_labels()[0]]
        if not decided.any():
            handles.pop(1)
        legend_below(drawing, handles, "Band: the margin. Dotted: p of 0.05")
    return drawing


def alt(rows: pd.DataFrame) -> str:
    """Say the difference, its interval, p and the boundary at each look."""
    parts = [
        f"{row['seeds']:g} seeds {labels.effect(row['difference'], row['ci_low'], row['ci_high'])}"
        f", p {labels.p_value(row['p'])} against {labels.p_value(row['threshold'])}"
        for _, row in rows.sort_values("seeds").iterrows()
    ]
    return f"Differences by look with their intervals over all looks: {'; '.join(parts)}."
