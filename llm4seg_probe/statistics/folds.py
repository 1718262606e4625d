"""Tables of cross-validation: each fold, or each repetition of each fold, as one unit."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.statistics.selecting import Columns, scored

UNIT = "fold of seed"


def by_fold(
    table: pd.DataFrame, score: str, columns: Columns, fold: str, average_over: tuple[str, ...]
) -> tuple[pd.DataFrame, Columns]:
    """Rows of :func:`selecting.scored`, one per arm and fold: the mean over the fold's own cases.

    A table that repeats the folds by seed has a unit for each pair of the two; one without seeds
    has a unit for each fold. Raises TableError where the arms of a fold were not scored on the
    same cases, or a score is missing.
    """
    if fold not in table.columns:
        raise TableError(unknown("column (fold)", fold, map(str, table.columns)))
    unit = table[fold].astype(str)
    if columns.seed in table.columns and columns.seed != fold:
        unit = unit + " of " + table[columns.seed].astype(str)
    units = table.drop(columns=fold).assign(**{UNIT: unit})
    columns = replace(columns, seed=UNIT).present_in(units)
    rows = scored(units, score, columns, average_over)
    if rows["value"].isna().any():
        raise TableError(
            f"{score} is empty for fold {rows.loc[rows['value'].isna(), UNIT].iloc[0]}"
        )
    own = [name for name in (columns.group, columns.case) if name]
    if own:
        arms = rows[columns.arm].nunique()
        shared = rows.groupby([name for name in columns.keys if name != columns.arm]).size()
        lonely = shared[shared != arms]
        if len(lonely):
            raise TableError(
                f"fold {lonely.index.to_frame()[UNIT].iloc[0]}: its {len(lonely)} cases were not "
                "scored in every arm"
            )
    keys = [name for name in columns.keys if name not in own]
    means = rows.groupby(keys, sort=False, observed=True)["value"].mean().reset_index()
    return means, replace(columns, case=None, group=None)
