"""Score and gain by the number of training images, arm by arm: ``sizes.csv``.

Description, not a test: the intervals are those of single means and single comparisons. Whether a
gain is larger on few images than on many is a claim of a difference of differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.arms import Term
from llm4seg_probe.statistics.conditions import NotThere, run_means, with_runs
from llm4seg_probe.statistics.ladder import CHOSEN
from llm4seg_probe.statistics.paired_tests import Estimate, paired
from llm4seg_probe.statistics.rows import as_text

COUNT = "training_images"
"""Column of runs.csv: how many images a run was trained on."""
_FIELD, _ALL = "train_images", "all"
_SAME_STEPS = "steps_per_epoch=full"


def sizes(
    scores: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    score: str = "iou",
    baseline: str = "cnn",
    where: Mapping[str, object] = CHOSEN,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Each arm at each size, of studies whose runs differ in ``data.train_images``.

    One row per data set, ``setting`` (what else deviates from the base, as a condition writes it),
    arm and ``size`` (as it was configured), smallest first: ``images`` that it came to, mean over
    the seeds and the range; the ``mean`` score over seeds with its t interval; the ``gain`` over
    the baseline with the paired t interval over the seeds that both have, empty for the baseline.
    Settings with one size alone are left out. Runs on all images stand among those of
    ``steps_per_epoch=full`` too, which for them means the same. Empty where no size varies.
    """
    empty = tables.conform(pd.DataFrame(columns=list(tables.SIZES.columns)), tables.SIZES)
    if _FIELD not in runs.columns or COUNT not in runs.columns:
        return empty
    joined = with_runs(scores, runs)
    found = [
        row
        for dataset, of_set in runs.groupby("dataset", sort=False)
        for setting, conditions in _settings(of_set).items()
        for row in _rows(joined, str(dataset), setting, conditions, baseline, score, where, alpha)
    ]
    return tables.conform(pd.DataFrame(found), tables.SIZES) if found else empty


def _settings(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Runs by what deviates in them beside the size, where the size varies among them."""
    deviating = [
        [item for item in text.split(",") if item and not item.startswith("dataset=")]
        for text in as_text(runs["deviation"])
    ]
    named = runs.assign(
        size=as_text(runs[_FIELD]),
        wanted=[",".join(items) for items in deviating],
        setting=[
            ",".join(item for item in items if not item.startswith(f"{_FIELD}="))
            for items in deviating
        ],
    )
    found = {str(setting): rows for setting, rows in named.groupby("setting", sort=False)}
    if _SAME_STEPS in found and "" in found:
        usual = found[""]
        found[_SAME_STEPS] = pd.concat([usual[usual["size"] == _ALL], found[_SAME_STEPS]])
    return {setting: rows for setting, rows in found.items() if rows["size"].nunique() > 1}


def _rows(
    table: pd.DataFrame,
    dataset: str,
    setting: str,
    runs: pd.DataFrame,
    baseline: str,
    score: str,
    where: Mapping[str, object],
    alpha: float,
) -> Iterator[dict[str, Any]]:
    of_size = runs.groupby("size")[COUNT].mean().sort_values()
    for size in of_size.index:
        means: dict[str, pd.Series[float]] = {}
        for (arm, wanted), _ in runs[runs["size"] == size].groupby(["arm", "wanted"], sort=False):
            try:
                means[arm] = run_means(table, score, _term(arm, wanted, dataset), where, ("class",))
            except NotThere:  # its runs have no such rows
                continue
        counts = runs.loc[runs["size"] == size, COUNT]
        for arm, values in means.items():
            against = means.get(baseline) if arm != baseline else None
            yield {
                "dataset": dataset,
                "score": score,
                "setting": setting,
                "arm": arm,
                "size": size,
                "images": counts.mean(),
                "images_low": counts.min(),
                "images_high": counts.max(),
                **_mean(values, alpha),
                **_gain(values, against, alpha),
            }


def _term(arm: str, wanted: str, dataset: str) -> Term:
    items = [item.partition("=") for item in wanted.split(",") if item]
    return Term(arm, (("dataset", dataset), *((name, value) for name, _, value in items)))


def _mean(values: pd.Series[float], alpha: float) -> dict[str, Any]:
    found = np.asarray(values, np.float64)
    n = len(found)
    sd = float(found.std(ddof=1)) if n > 1 else np.nan
    low, high = Estimate(n, float(found.mean()), sd, sd / n**0.5, n - 1).interval(1 - alpha)
    return {"n_seeds": n, "mean": found.mean(), "ci_low": low, "ci_high": high}


def _gain(
    values: pd.Series[float], against: pd.Series[float] | None, alpha: float
) -> dict[str, Any]:
    """The paired gain over the baseline, and a note on seeds that one of the two lacks."""
    if against is None:
        return {"gain": None, "gain_low": None, "gain_high": None, "note": ""}
    shared = values.index.intersection(against.index)
    alone = values.index.union(against.index).difference(shared)
    note = f"seeds {', '.join(map(str, alone))} are not in both: left out of the gain"
    if not len(shared):
        return {"gain": None, "gain_low": None, "gain_high": None, "note": note}
    gain = paired(
        np.asarray(values.loc[shared], np.float64), np.asarray(against.loc[shared], np.float64)
    )
    low, high = gain.interval(1 - alpha)
    return {
        "gain": gain.difference,
        "gain_low": low,
        "gain_high": high,
        "note": note if len(alone) else "",
    }
