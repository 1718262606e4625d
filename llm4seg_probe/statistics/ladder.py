"""The gain taken apart: one part of the layer after the other, from plain CNN to language model.

``cnn → adapters → mlp → random-frozen → shuffled-frozen → llm``: each arm has one thing more than
the one before, so that the steps add up to the whole gain. Description, not a test: the intervals
are those of single comparisons, and no claim rests on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.arms import Term, beside_ladder, ladder_steps
from llm4seg_probe.statistics.conditions import NotThere, run_means, with_runs
from llm4seg_probe.statistics.paired_tests import paired
from llm4seg_probe.statistics.rows import as_text

RUNGS, BESIDE = ladder_steps(), beside_ladder()

CHOSEN: dict[str, object] = {"split": "test", "checkpoint": "best"}


def ladder(
    scores: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    *,
    score: str = "iou",
    where: Mapping[str, object] = CHOSEN,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """``ladder.csv``: each step, and each arm beside it, with paired intervals over seeds.

    scores: a ``scores.csv``; runs: its ``runs.csv``, which tells the runs that deviate from their
    arm; those are left out. Of each data set with two arms of the ladder one row per step
    (``step`` 1, 2, …; empty beside it): ``from, to, what``, the ``difference`` to − from with
    ``ci_*`` and ``p`` over the seeds that all arms of the ladder share, and the ``gain`` over its
    foot. ``note`` names arms that were not run and seeds that were left out.
    """
    joined = with_runs(scores, runs)
    rows: list[dict[str, Any]] = []
    for dataset in as_text(joined["dataset"]).drop_duplicates():
        means = _means(joined, score, where, dataset)
        present = [arm for arm in RUNGS if arm in means]
        if len(present) >= 2:
            found = _steps(means, present, alpha) + _beside(means, present[0], alpha)
            rows += [{"dataset": dataset, "score": score, **row} for row in found]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(tables.LADDER.columns))
    return tables.conform(frame, tables.LADDER)


def _means(
    table: pd.DataFrame, score: str, where: Mapping[str, object], dataset: str
) -> dict[str, pd.Series[float]]:
    """Mean score of each run by arm and seed, of the arms that there are."""
    found = {}
    for arm in (*RUNGS, *BESIDE):
        try:
            term = Term(arm, (("dataset", dataset),))
            found[arm] = run_means(table, score, term, where, ("class",))
        except NotThere:
            continue
    return found


def _steps(
    means: Mapping[str, pd.Series[float]], present: Sequence[str], alpha: float
) -> list[dict[str, Any]]:
    shared, left_out = _shared([means[arm] for arm in present])
    every = list(RUNGS)
    rows = []
    for step, (lower, upper) in enumerate(pairwise(present), start=1):
        skipped = every[every.index(lower) + 1 : every.index(upper)]
        notes = [f"no runs of {', '.join(skipped)}: their part is in this step"] if skipped else []
        rows.append(
            {
                "step": step,
                "what": ", and ".join(RUNGS[arm] for arm in (*skipped, upper)),
                **_compared(means, lower, upper, present[0], shared, alpha),
                "note": "; ".join([*notes, *left_out]),
            }
        )
    return rows


def _beside(means: Mapping[str, pd.Series[float]], foot: str, alpha: float) -> list[dict[str, Any]]:
    rows = []
    for arm, what in BESIDE.items():
        if arm in means:
            shared, left_out = _shared([means[foot], means[arm]])
            found = _compared(means, foot, arm, foot, shared, alpha)
            rows.append({"step": None, "what": what, **found, "note": "; ".join(left_out)})
    return rows


def _shared(series: Sequence[pd.Series[float]]) -> tuple[pd.Index, list[str]]:
    """Seeds that all of them have, and a note on the others."""
    shared, every = series[0].index, series[0].index
    for one in series[1:]:
        shared, every = shared.intersection(one.index), every.union(one.index)
    alone = every.difference(shared)
    told = ", ".join(map(str, alone))
    return shared, [f"seeds {told} are not in every arm: left out"] if len(alone) else []


def _compared(
    means: Mapping[str, pd.Series[float]],
    lower: str,
    upper: str,
    foot: str,
    shared: pd.Index,
    alpha: float,
) -> dict[str, Any]:
    values = {arm: np.asarray(means[arm].loc[shared], np.float64) for arm in (lower, upper, foot)}
    row: dict[str, Any] = {"from": lower, "to": upper, "n_seeds": len(shared)}
    if not len(shared):
        numbers = ("difference", "ci_low", "ci_high", "p", "gain", "gain_low", "gain_high")
        return row | dict.fromkeys(numbers)
    step = paired(values[upper], values[lower])
    gain = paired(values[upper], values[foot])
    low, high = step.interval(1 - alpha)
    gain_low, gain_high = gain.interval(1 - alpha)
    return row | {
        "difference": step.difference,
        "ci_low": low,
        "ci_high": high,
        "p": step.p,
        "gain": gain.difference,
        "gain_low": gain_low,
        "gain_high": gain_high,
    }
