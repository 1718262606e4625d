"""The pairs of arms that a table holds, data set by data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.statistics import selecting
from llm4seg_probe.statistics.folds import by_fold
from llm4seg_probe.statistics.pairing import Paired, measured, pair
from llm4seg_probe.statistics.scales import refuse_mixed_scales
from llm4seg_probe.statistics.selecting import Columns


@dataclass(frozen=True)
class Selection:
    """Which rows and pairs of a table are wanted; the fields are those of ``compare``."""

    score: str = "iou"
    baseline: str = "cnn"
    columns: Columns = field(default_factory=Columns)
    where: Mapping[str, object] = field(default_factory=dict)
    average_over: tuple[str, ...] = ()
    pairs: Sequence[tuple[str, str]] | None = None
    fold: str | None = None
    drop_unpaired: bool = False
    unpaired: bool = False


def pairs_in(table: pd.DataFrame, wanted: Selection) -> list[Paired]:
    """Every arm with the baseline, by name, or the pairs named, in each data set.

    Raises TableError where the table does not allow it.
    """
    chosen = selecting.where(table, wanted.where)
    if wanted.fold is not None:
        rows, columns = by_fold(
            chosen, wanted.score, wanted.columns, wanted.fold, wanted.average_over
        )
    else:
        columns = wanted.columns.present_in(table)
        rows = selecting.scored(chosen, wanted.score, columns, wanted.average_over)
    run = [name for name in (columns.dataset, columns.arm, columns.seed) if name]
    refuse_mixed_scales(wanted.score, rows.groupby(run, observed=True)["value"].max())
    named = _named(rows, columns, wanted)
    datasets = rows[columns.dataset].astype(str) if columns.dataset else pd.Series("", rows.index)
    found: list[Paired] = []
    for dataset, part in rows.groupby(datasets):
        found += _in_dataset(str(dataset), part, columns, named, wanted)
    return found


def _named(rows: pd.DataFrame, columns: Columns, wanted: Selection) -> list[tuple[str, str]]:
    valid = sorted(rows[columns.arm].astype(str).unique())
    baseline = str(wanted.baseline)
    if wanted.pairs is not None:
        named = [(str(a), str(b)) for a, b in wanted.pairs]
    else:
        named = [(name, baseline) for name in valid if name != baseline]
    for name in [name for both in named for name in both] or [baseline]:
        if name not in valid:
            raise TableError(unknown("arm", name, valid))
    if not named:
        raise TableError(f"the table has no arm beside '{baseline}' to compare it with")
    return named


def _in_dataset(
    dataset: str,
    rows: pd.DataFrame,
    columns: Columns,
    named: Sequence[tuple[str, str]],
    wanted: Selection,
) -> list[Paired]:
    arms = rows[columns.arm].astype(str)
    by_arm = {name: measured(own, columns) for name, own in rows.groupby(arms, sort=False)}
    for name in dict.fromkeys(name for both in named for name in both):
        if name not in by_arm:
            raise TableError(f"data set '{dataset}' has no rows of arm '{name}'")
    return [
        pair(
            by_arm[a], by_arm[b], (a, b), dataset=dataset, score=wanted.score,
            has_cases=columns.case is not None, drop_unpaired=wanted.drop_unpaired,
            unpaired=wanted.unpaired,
        )
        for a, b in named
    ]  # fmt: skip
