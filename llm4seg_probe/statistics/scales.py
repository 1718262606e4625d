"""What a score's name says about it: which direction is better, and between what it lies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from llm4seg_probe.errors import ConfigError, TableError

LOWER_IS_BETTER = frozenset(
    {"hd", "hd95", "hausdorff", "asd", "assd", "masd", "noise", "loss", "error", "sigma1_share"}
)
FRACTIONS = frozenset(
    {
        "iou",
        "iou_reference",
        "jaccard",
        "dice",
        "dsc",
        "f1",
        "precision",
        "recall",
        "sensitivity",
        "specificity",
        "accuracy",
        "nsd",
        "auroc",
        "auc",
    }
)
PERCENT_FROM = 1.5
"""A fraction above this is taken for a percentage: rounding never gets there, per cent do."""


def is_lower_better(score: str, stated: bool | None) -> bool:
    """Whether smaller values of a score are better: as stated, else by its name."""
    return score.lower() in LOWER_IS_BETTER if stated is None else stated


def refuse_mixed_scales(score: str, by_run: pd.Series[float]) -> None:
    """Raise TableError when some runs hold fractions and others percentages.

    by_run: the largest value of each run, indexed by what names a run. Only scores whose name
    says that they are fractions are checked: a distance or a rank may well differ a hundredfold.
    """
    if score.lower() not in FRACTIONS or by_run.empty:
        return
    percent = by_run > PERCENT_FROM
    # A run of zeros looks the same in either unit, so it takes no side.
    fraction = (by_run <= 1) & (by_run > 0)
    if percent.any() and fraction.any():
        few = fraction if fraction.sum() <= percent.sum() else percent
        named = [" ".join(map(str, np.atleast_1d(key))) for key in by_run.index[few][:6]]
        unit = "fractions" if few is fraction else "percentages"
        raise TableError(
            f"{score} mixes fractions and percentages: {unit} in {', '.join(named)}"
            f"{' and more' if few.sum() > 6 else ''}, the other unit elsewhere. "
            "Bring all rows to one unit"
        )


def refuse_margin_of_another_scale(score: str, largest: float, margin: float) -> None:
    """Raise ConfigError when the scores are percentages and the margin can only be a fraction."""
    if score.lower() in FRACTIONS and largest > PERCENT_FROM and margin < 0.05:
        raise ConfigError(
            f"{score} is in per cent here (values up to {largest:.4g}), but the margin is "
            f"{margin:g}: give it in the same unit, such as {100 * margin:g}"
        )
