"""Every condition of a study against its baseline, where the two were scored on the same cases."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.statistics.assessing import assess
from llm4seg_probe.statistics.compare import comparison
from llm4seg_probe.statistics.conditions import by_condition
from llm4seg_probe.statistics.pairs import Selection, pairs_in
from llm4seg_probe.statistics.rules import Rules
from llm4seg_probe.statistics.scales import is_lower_better


def compare_arms(
    scores: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    score: str = "iou",
    baseline: str = "cnn",
    margin: float = 0.005,
) -> pd.DataFrame:
    """``comparison.csv`` of a study of several data sets, splits and settings, as one family.

    scores: rows of one split and checkpoint; runs: the ``runs.csv`` that names their deviations.
    A condition is compared with the baseline of the same data set and cases: the plain one, or
    the one that deviates in the data alone, such as ``cnn[data.split=reference]``. Conditions
    without such a baseline are left out. Raises TableError where no run is the baseline's.
    """
    conditions = by_condition(scores, runs)
    arms = scores["arm"].astype(str)
    if baseline not in set(arms):
        raise TableError(unknown("arm", baseline, arms.drop_duplicates()))
    pairs = []
    for rows, base in _comparable(conditions, baseline):
        if rows["arm"].nunique() > 1:
            pairs += pairs_in(
                rows, Selection(score=score, baseline=base, average_over=_classes(rows))
            )
    if not pairs:
        raise TableError(f"no condition was scored on the same cases as the baseline '{baseline}'")
    rules = Rules(margin, lower_is_better=is_lower_better(score, None))
    return comparison(assess(pairs, rules))


def _classes(rows: pd.DataFrame) -> tuple[str, ...]:
    return ("class",) if rows["class"].nunique() > 1 else ()


def _comparable(table: pd.DataFrame, baseline: str) -> Iterator[tuple[pd.DataFrame, str]]:
    """The rows of each data set that were scored on the same cases, and their baseline."""
    for _, rows in table.groupby("dataset", sort=False):
        cases = rows.groupby("arm", sort=False)["image"].agg(frozenset)
        for _, alike in cases.groupby(cases.to_numpy(), sort=False):
            bases = [arm for arm in alike.index if arm.partition("[")[0] == baseline]
            if bases:
                yield rows[rows["arm"].isin(alike.index)], min(bases, key=len)
