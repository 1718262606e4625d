"""Learning curves: validation score and loss by epoch."""

from __future__ import annotations

import pandas as pd
import seaborn
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.axes import arm_handles, legend_below
from llm4seg_probe.drawing.style import CENTIMETRE, COLUMN, arm_style, in_order, paper_style

_PANELS = {
    "val_iou": "Validation IoU (0 to 1)",
    "val_accuracy": "Validation accuracy\n(0 to 1)",
    "val_loss": "Validation loss",
    "train_loss": "Training loss",
}


def figure(curves: pd.DataFrame) -> Figure:
    """Draw ``curves.csv``: a thick line per arm (mean over seeds), a thin one per run."""
    arms = in_order(curves["arm"])
    palette = {arm: arm_style(arm).colour for arm in arms}
    shown = [name for name in _PANELS if name in curves and curves[name].notna().any()]
    means = curves.groupby(["arm", "epoch"], sort=False)[shown].mean().reset_index()
    with paper_style():
        height = (3.6 * len(shown) + 0.6 + 0.3 * len(arms)) * CENTIMETRE
        drawing = Figure(figsize=(COLUMN, height), layout="constrained")
        panels = drawing.subplots(len(shown), squeeze=False, sharex=True)[:, 0]
        for axes, name in zip(panels, shown, strict=True):
            looks = {"x": "epoch", "y": name, "hue": "arm", "hue_order": arms, "palette": palette}
            seaborn.lineplot(
                curves, **looks, units="run", estimator=None, linewidth=0.5, alpha=0.4,
                legend=False, ax=axes,
            )  # fmt: skip
            seaborn.lineplot(means, **looks, errorbar=None, linewidth=1.4, legend=False, ax=axes)
            axes.set(ylabel=_PANELS[name], xlabel="")
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[-1].set_xlabel("Epoch")
        handles = arm_handles(arms)
        for handle in handles:
            handle.set_marker("")
        legend_below(drawing, handles)
    return drawing


def alt(curves: pd.DataFrame) -> str:
    """Say the validation score in the first and in the last epoch of each arm; else the loss."""
    name, word = ("val_iou", "IoU") if curves["val_iou"].notna().any() else ("val_loss", "loss")
    means = curves.groupby(["arm", "epoch"], sort=False)[name].mean()
    parts = []
    for arm in in_order(curves["arm"]):
        first, last = means[arm].index.min(), means[arm].index.max()
        parts.append(
            f"{arm_style(arm).label} {labels.number(means[arm][first], 3)} in epoch {first}, "
            f"{labels.number(means[arm][last], 3)} in epoch {last}"
        )
    return f"Lines by epoch. Mean validation {word} over seeds: {'; '.join(parts)}."
