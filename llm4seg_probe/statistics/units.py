"""Hold scores to one unit: refuse fractions beside percentages, in runs and between them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.score_names import known
from llm4seg_probe.scores import Score

PERCENT_FROM = 1.5
"""A fraction above this is taken for a percentage: rounding never gets there, per cent do."""

_HUNDREDFOLD = (30.0, 300.0)
"""Between these ratios of two runs' means the one is read as the other in per cent: arms that
differ by 3 in either direction are still caught, and no two fractions above 1/300 are that far."""


UNBOUNDED = frozenset(("wer", "brier"))
"""Fractions that exceed 1: errors per word, where there are more than words, and a Brier score over
several classes."""


def refuse_mixed_scales(score: str, by_run: pd.Series[float]) -> None:
    """Raise TableError when some runs hold fractions and others percentages.

    by_run: the largest value of each run, indexed by what names a run. A score that is known to
    be no fraction is not checked: a distance or a rank may well differ a hundredfold. Of one that
    is not known at all, runs are held against each other only where they lie a hundredfold apart.
    """
    kind = known(score)
    if by_run.empty or (kind is not None and not kind.fraction and not _is_bounded(kind)):
        return
    percent = (by_run > PERCENT_FROM) & (by_run <= 100 * PERCENT_FROM)
    # A run of zeros looks the same in either unit, so it takes no side.
    fraction = (by_run <= 1) & (by_run > 0)
    if not (percent.any() and fraction.any()):
        return
    if kind is None or not kind.fraction:
        ratio = float(by_run[percent].median() / by_run[fraction].median())
        if not _HUNDREDFOLD[0] < ratio < _HUNDREDFOLD[1]:
            return
    few = fraction if fraction.sum() <= percent.sum() else percent
    named = [" ".join(map(str, np.atleast_1d(key))).strip() for key in by_run.index[few][:6]]
    unit = "fractions" if few is fraction else "percentages"
    raise TableError(
        f"{score} mixes fractions and percentages: {unit} in {', '.join(named)}"
        f"{' and more' if few.sum() > 6 else ''}, the other unit elsewhere. "
        "Bring all rows to one unit"
    )


def refuse_impossible(score: str, values: pd.Series[float], runs: pd.DataFrame) -> None:
    """Raise TableError for values that a score cannot have, such as −1 for a missing distance.

    runs: the columns that name the run of each value.
    """
    kind = known(score)
    if kind is None:
        return
    stray = np.isfinite(values) & (values < 0) & (not kind.signed)
    if kind.fraction:
        stray |= np.isfinite(values) & (values > 100 * PERCENT_FROM)
        stray |= _beyond_the_whole(kind.name, values)
    if not stray.any():
        return
    shown = "; ".join(
        f"{' '.join(map(str, runs.loc[index]))}: {values[index]:g}"
        for index in values.index[stray][:5]
    )
    signed = "" if kind.fraction else ", or take absolute values where errors have a sign"
    raise TableError(
        f"{int(stray.sum())} of {len(values)} values of {score} cannot be ({kind.label} is "
        f"{'a fraction or a percentage' if kind.fraction else 'never below zero'}): {shown}"
        f"{'; …' if stray.sum() > 5 else ''}. Leave a cell empty that marks a missing value{signed}"
    )


_BOUNDED = frozenset(("kappa", "mcc", "r2", "bleu", "youden"))
"""Scores that may be negative, lie below 1, and are printed so or in per cent."""
_EITHER = frozenset(("error", "loss", "gain"))
"""Scores that may be fractions, and lie anywhere else as well."""


def _is_bounded(kind: Score) -> bool:
    return kind.name in _BOUNDED


def hundredfold(score: str, by_arm: pd.Series[float]) -> str:
    """Why arms may be in two units although all values could be of one; empty where not."""
    kind = known(score)
    if kind is not None and not (kind.fraction or kind.name in _BOUNDED | _EITHER):
        return ""
    middle = by_arm[by_arm > 0]
    if len(middle) < 2 or middle.max() < 50 * middle.min() or middle.max() > 200 * middle.min():
        return ""
    return (
        f"{score} of {middle.idxmax()} is {middle.max() / middle.min():.0f} times that of "
        f"{middle.idxmin()}: is one of them in per cent?"
    )


_ROUNDED = 1.005
"""A whole may be written so much above 1, by sums of rounded parts."""


def _beyond_the_whole(name: str, values: pd.Series[float]) -> pd.Series[bool]:
    """Fractions a little above 1, or per cent a little above 100, where all others are below.

    Those far above are in another unit, and told so elsewhere.
    """
    finite = values[np.isfinite(values)]
    if finite.empty or name in UNBOUNDED:
        return pd.Series(False, values.index)
    whole = 100.0 if finite.median() > PERCENT_FROM else 1.0
    return values.between(whole * _ROUNDED, whole * PERCENT_FROM, inclusive="right")


def refuse_mixed_cells(
    score: str, values: pd.Series[float], runs: pd.DataFrame, cases: pd.DataFrame
) -> None:
    """Raise TableError when single scores of a run are in another unit than the rest of it.

    runs, cases: the columns that name the run and the case of each value. In a run of fractions
    nothing can lie above 1.5; in one of percentages a value from 0 to 1 may be a failed case, but
    not if, times a hundred, it is what the run's other cases are, and other runs scored the case.
    """
    kind = known(score)
    if kind is None or not (kind.fraction or _is_bounded(kind)):
        return
    middle = values.groupby([runs[name] for name in runs], observed=True).transform("median")
    stray = (middle <= 1) & (values > PERCENT_FROM)
    as_percent = 100 * values / middle
    small = (middle > PERCENT_FROM) & (values > 0) & (values <= 1) & as_percent.between(0.5, 2)
    if len(cases.columns) and small.any():
        by_case = values.groupby([cases[name] for name in cases], observed=True)
        small &= by_case.transform("median") > PERCENT_FROM
    stray |= small
    if not stray.any():
        return
    shown = "; ".join(
        f"{' '.join(map(str, runs.loc[index]))}: {values[index]:g}"
        for index in values.index[stray][:5]
    )
    raise TableError(
        f"{int(stray.sum())} of {len(values)} values of {score} are in another unit than the rest "
        f"of their run ({shown}{'; …' if stray.sum() > 5 else ''}): bring all rows to one unit"
    )


def refuse_margin_of_another_scale(score: str, largest: float, margin: float | None) -> None:
    """Raise ConfigError when the scores are percentages and the margin can only be a fraction."""
    kind = known(score)
    if margin is None or kind is None or not kind.fraction:
        return
    if largest > PERCENT_FROM and margin < 0.05:
        raise ConfigError(
            f"{score} is in per cent here (values up to {largest:.4g}), but the margin is "
            f"{margin:g}: give it in the same unit, such as {100 * margin:g}"
        )
