"""Average scores over the classes of a case, and over the cases of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.roles import NAMES
from llm4seg_probe.statistics.rows import Columns, keyed, some_of

Absent = Literal["case", "per-case", "per-class"]
ABSENT: dict[Absent, str] = {
    "case": "a case that lacks a class is left out with its other classes",
    "per-case": "the mean of a case is over the classes that it has, as MetricsReloaded",
    "per-class": "each class is averaged over the cases that have it, then classes, as nnU-Net",
}
"""What to do with the classes that a case does not have."""


def scored(
    table: pd.DataFrame, score: str, columns: Columns, average_over: Sequence[str] = ()
) -> pd.DataFrame:
    """The key columns and ``value``, one row per data set, arm, seed and case.

    Columns in ``average_over`` (such as ``class``) are averaged over, within a case. Raises
    TableError when the score is no number, when a key is empty, when a column that is neither
    key nor averaged over tells measurements apart, or when rows are doubled. Infinite values
    count as missing.
    """
    rows = keyed(table, score, columns, average_over)
    if average_over:
        rows = _case_means(rows, columns, average_over, "case")
    return rows.assign(value=rows["value"].where(np.isfinite(rows["value"])))


def measurements(
    table: pd.DataFrame,
    score: str,
    columns: Columns,
    average_over: Sequence[str],
    absent: Absent,
    drop_unpaired: bool,
) -> tuple[pd.DataFrame, Columns, list[str]]:
    """Rows of :func:`scored` with infinite scores as they are, and with absent classes as told.

    Returns the rows, their columns (without cases where classes are averaged first), and notes.
    Raises TableError where a class is absent in some runs of a case only; with ``drop_unpaired``
    it is then left out of all of them.
    """
    rows = keyed(table, score, columns, average_over)
    if not average_over:
        return rows, columns, []
    rows = _with_empty_rows(rows, columns, average_over)
    rows, notes = _without_absent(rows, columns, average_over, absent, drop_unpaired)
    if absent == "per-class":
        rows = _of_the_same_cases(rows, columns, drop_unpaired, notes)
        run = [name for name in (columns.dataset, columns.arm, columns.seed) if name]
        by_class = rows.groupby([*run, *average_over], sort=False, observed=True)["value"].mean()
        means = by_class.groupby(run, sort=False, observed=True).mean().reset_index()
        return means, replace(columns, case=None, group=None), notes
    return _case_means(rows, columns, average_over, absent), columns, notes


def _with_empty_rows(
    rows: pd.DataFrame, columns: Columns, average_over: Sequence[str]
) -> pd.DataFrame:
    """The rows and, empty, those of what is averaged over that a run or case lacks.

    A row that is not written is as absent as one without a score. A fold that holds cases of its
    own is lacking in none of them. Raises TableError for a table without cases in which a run
    lacks some.
    """
    crossed = _crossing(rows, columns, average_over)
    if not crossed:
        return rows
    nested = [name for name in average_over if name not in crossed]
    within = [columns.dataset] if columns.dataset else []
    _refuse_parts_of_one_arm(rows, columns, crossed, within)
    units = rows[[*columns.keys, *nested]].drop_duplicates()
    parts = rows[[*within, *crossed]].drop_duplicates()
    count = _crossed(units, parts, within)
    if count <= len(rows):
        return rows
    if count > _MOST_ROWS:
        raise TableError(
            f"{' and '.join(crossed)} has {len(parts)} values, of which most runs and cases lack "
            "most: it is nothing to average over"
        )
    whole = units.merge(parts, on=within) if within else units.merge(parts, how="cross")
    whole = whole.merge(rows, how="left")
    if columns.case is None:
        first = whole[whole["value"].isna()].iloc[0]
        raise TableError(
            f"{first[columns.arm]}, seed {first[columns.seed]} has no score of "
            f"{', '.join(f'{name} {first[name]}' for name in crossed)}, which other runs have: a "
            "mean over others would be another quantity. Add it, or leave it out of all runs "
            f"(--where {crossed[0]}=…)"
        )
    return whole[list(rows.columns)]


def _crossing(rows: pd.DataFrame, columns: Columns, average_over: Sequence[str]) -> list[str]:
    """Columns of which a case has several values; all of them where there are no cases."""
    if columns.case is None:
        return list(average_over)
    return [name for name in average_over if _has_several(rows, name, columns)]


def _has_several(rows: pd.DataFrame, name: str, columns: Columns) -> bool:
    """Whether a case has several values of a column: in any run, of folds in one run."""
    case = [name for name in (columns.dataset, columns.group, columns.case) if name]
    within = columns.keys if words(name) in NAMES["fold"] else case
    return bool(rows.groupby(within, observed=True)[name].nunique(dropna=False).max() > 1)


def lacks_rows(table: pd.DataFrame, columns: Columns, average_over: Sequence[str]) -> bool:
    """Whether some run or case has no row of something that is averaged over."""
    within = [columns.dataset] if columns.dataset else []
    crossed = _crossing(table, columns, average_over)
    if not crossed:
        return False
    nested = [name for name in average_over if name not in crossed]
    units = table[[*columns.keys, *nested]].drop_duplicates()
    parts = table[[*within, *crossed]].drop_duplicates()
    return _crossed(units, parts, within) > len(table)


_MOST_ROWS = 5_000_000
"""Rows that absent ones may bring a table to: a small file must not take all memory."""


def _crossed(units: pd.DataFrame, parts: pd.DataFrame, within: Sequence[str]) -> int:
    """How many rows there are if each unit of a data set has each of its parts."""
    if not within:
        return len(units) * len(parts)
    counts = (frame.groupby(list(within), observed=True).size() for frame in (units, parts))
    first, second = counts
    return int((first * second).sum())


def _refuse_parts_of_one_arm(
    rows: pd.DataFrame, columns: Columns, crossed: Sequence[str], within: Sequence[str]
) -> None:
    """Raise TableError for a class (or the like) that some arm of a data set never has."""
    arms: pd.Series | int = rows[columns.arm].nunique()
    if within:
        arms = rows.groupby(list(within), observed=True)[columns.arm].transform("nunique")
    having = rows.groupby([*within, *crossed], observed=True)[columns.arm].transform("nunique")
    lacking = rows[having < arms]
    if lacking.empty:
        return
    first = lacking.iloc[0]
    part = " and ".join(f"{name} {first[name]}" for name in crossed)
    same = (rows[[*within, *crossed]] == first[[*within, *crossed]]).all(axis=1)
    known = rows.loc[same, columns.arm].astype(str).unique()
    others = [name for name in rows[columns.arm].astype(str).unique() if name not in known]
    raise TableError(
        f"{some_of(others, 4)} has no rows of {part}, which {some_of(known.tolist(), 4)} has: are "
        "they called alike in all arms? A mean over others would be another quantity; leave out "
        f"what not all have (--where {crossed[0]}=…), or, if {crossed[0]} names the arms, --arm "
        f"{crossed[0]}"
    )


def _of_the_same_cases(
    rows: pd.DataFrame, columns: Columns, drop_unpaired: bool, notes: list[str]
) -> pd.DataFrame:
    """The rows of cases that every arm scored; class means are over one set of cases.

    Seeds that arms share are held against each other one by one, else all of them together.
    Raises TableError where arms differ; with ``drop_unpaired`` such cases are left out.
    """
    if columns.case is None:
        return rows
    own = [name for name in (columns.dataset, columns.group, columns.case) if name]
    seeds = rows.groupby(columns.seed, observed=True)[columns.arm].nunique()
    shared = [columns.seed] if (seeds > 1).all() else []
    place = [*own, *shared]
    runs = [name for name in place if name in (columns.dataset, columns.seed)]
    arms: pd.Series | int = rows[columns.arm].nunique()
    if runs:
        arms = rows.groupby(runs, observed=True)[columns.arm].transform("nunique")
    lacking = rows.groupby(place, observed=True)[columns.arm].transform("nunique") < arms
    if not lacking.any():
        return rows
    cases = rows.loc[lacking, columns.case].astype(str).drop_duplicates().tolist()
    everywhere = rows.groupby(own, observed=True)[columns.arm].transform("nunique")
    moved = rows.loc[lacking & (everywhere == rows[columns.arm].nunique()), columns.case]
    if shared and not moved.empty:
        raise in_another(columns.seed, moved.astype(str).drop_duplicates().tolist())
    if not drop_unpaired:
        raise TableError(
            f"{len(cases)} cases were not scored in every arm ({some_of(cases, 4)}), so that the "
            "means of classes would be over other cases in each: score them, or leave them out "
            "with drop_unpaired (--drop-unpaired)"
        )
    notes.append(
        f"{len(cases)} cases without a score in some arm are left out of all ({some_of(cases, 4)})"
    )
    return rows[~lacking]


def in_another(run: str, cases: Sequence[str]) -> TableError:
    """The refusal of cases that one arm has in another fold than another arm."""
    return TableError(
        f"{len(cases)} cases are in another {run.replace(' of seed', '')} in one arm than in "
        f"another ({some_of(cases, 4)}): are the folds of all arms of one division?"
    )


def _case_means(
    rows: pd.DataFrame, columns: Columns, average_over: Sequence[str], absent: Absent
) -> pd.DataFrame:
    """Mean over the rows of one case, all cases of a kind alike; NaN where one of them is.

    With ``per-case`` the mean is over the classes that there are.
    """
    by = rows.groupby(columns.keys, sort=False, observed=True)["value"]
    sizes = by.size()
    per_case = [name for name in (columns.dataset, columns.group, columns.case) if name]
    spread = sizes.groupby(level=per_case).nunique() if per_case else pd.Series([sizes.nunique()])
    if (spread > 1).any():
        raise TableError(
            f"averaging over {', '.join(average_over)}: not all runs have the same number of rows "
            f"for {' '.join(map(str, np.atleast_1d(spread.index[spread > 1][0])))}: add what is "
            "missing, or keep the rows that all have (--where)"
        )
    means = by.mean() if absent == "per-case" else by.mean().where(by.count() == sizes)
    return means.reset_index()


def _without_absent(
    rows: pd.DataFrame,
    columns: Columns,
    average_over: Sequence[str],
    absent: Absent,
    drop_unpaired: bool,
) -> tuple[pd.DataFrame, list[str]]:
    """Classes that some case lacks: left out with the case, or alone, the same in all its runs."""
    case = [name for name in (columns.dataset, columns.group, columns.case) if name]
    if columns.case is None or rows["value"].notna().all():
        return rows, []
    cell = [*case, *average_over]
    filled = rows["value"].notna()
    counts = rows.assign(filled=filled).groupby(cell, observed=True)["filled"].agg(["sum", "size"])
    nowhere = counts.index[counts["sum"] == 0]
    some = counts.index[(counts["sum"] > 0) & (counts["sum"] < counts["size"])]
    in_cell = pd.MultiIndex.from_frame(rows[cell])
    notes = []
    if absent == "per-class":
        if len(some):
            notes.append(
                f"{len(some)} classes of cases have a score in some runs only, so that a run's "
                f"mean is over its own cases, as nnU-Net's ({some_of(_named(some), 4)})"
            )
        return rows, notes
    if absent == "per-case":
        if len(some) and not drop_unpaired:
            raise TableError(
                f"{some_of(_named(some), 4)}: no score in some runs only. Fill them, or leave them "
                "out of all runs with drop_unpaired (--drop-unpaired)"
            )
        if len(some):
            notes.append(
                f"{len(some)} classes of cases without a score in some run are left out of all "
                f"({some_of(_named(some), 4)})"
            )
        return rows.assign(value=rows["value"].where(~in_cell.isin(some))), notes
    # A case that has no score of any class stays, and is counted where arms are brought together.
    of_case = pd.MultiIndex.from_frame(rows[case])
    lacking = of_case[in_cell.isin(nowhere)].unique()
    has_other = of_case[filled.to_numpy()].unique()
    partly = lacking[lacking.isin(has_other)]
    if len(partly) and len(partly) == of_case.nunique():
        raise TableError(
            f"no case has a score of every {' and '.join(average_over)}: take the mean over those "
            "that each has (--absent per-case), or average each over the cases that have it "
            "(--absent per-class)"
        )
    if len(partly):
        notes.append(
            f"{len(partly)} cases that lack a class in every run are left out with their other "
            f"classes ({some_of(_named(partly), 4)})"
        )
    return rows[~of_case.isin(partly)], notes


def _named(index: pd.Index) -> list[str]:
    """Places of an index in words."""
    return [" ".join(str(part) for part in np.atleast_1d(place)) for place in index.tolist()]
