"""Average scores over the cases of a fold, where folds are what is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.averages import Absent, in_another, measurements
from llm4seg_probe.statistics.columns import column_named
from llm4seg_probe.statistics.rows import Columns, as_text, some_of

UNIT = "fold of seed"


def by_fold(
    table: pd.DataFrame,
    score: str,
    columns: Columns,
    fold: str,
    average_over: Sequence[str],
    absent: Absent = "case",
    drop_unpaired: bool = False,
) -> tuple[pd.DataFrame, Columns, list[str]]:
    """Rows of :func:`scored`, one per arm and fold: the mean over the fold's own cases.

    Where seeds repeat the division anew, each pair of fold and seed is a unit. Where they do not
    (no seeds; seeds of their own in each fold; cases that stay in their fold whatever the seed),
    each fold is one, and its seeds are averaged: they say nothing about other data.

    Returns the rows, their columns, and notes on what was left out. Raises TableError where the
    arms of a fold were not scored on the same cases, or a score is missing; with
    ``drop_unpaired`` those cases are left out of all arms.
    """
    fold = column_named(table, fold, "column (fold)")
    blank = np.flatnonzero(as_text(table[fold]).str.strip() == "")
    if len(blank):
        places = some_of([int(row) + 2 for row in blank], 4)
        raise TableError(
            f"column {fold} is empty in {len(blank)} of {len(table)} rows (such as {places}): "
            "fill it, or leave those rows out"
        )
    unit, told = as_text(table[fold]), ""
    folds: dict[str, str] = {}
    if columns.seed in table.columns and columns.seed != fold:
        runs = table.groupby([columns.arm, fold], observed=True)[columns.seed].nunique()
        if runs.max() > 1:
            pairs = unit + " of " + as_text(table[columns.seed])
            if _is_one_division(table, fold, columns):
                folds = dict(zip(pairs, unit, strict=True))
                told = f"the seeds of a fold are averaged ({columns.seed}): they share its data"
            else:
                told = (
                    f"each {columns.seed} is taken to divide the data anew, in folds of its own: "
                    f"if it does not, take each cross-validation as one run (--average-over {fold})"
                )
            unit = pairs
    _refuse_other_divisions(table, columns, fold)
    units = table.drop(columns=[fold]).assign(**{UNIT: unit})
    columns = replace(columns, seed=UNIT).present_in(units)
    rows, columns, notes = measurements(units, score, columns, average_over, absent, drop_unpaired)
    notes += [told] if told else []
    keys = [name for name in (columns.dataset, columns.arm, UNIT) if name]
    own = [name for name in (columns.group, columns.case) if name]
    if own:
        rows = _in_every_arm(rows, columns, own, drop_unpaired, notes)
    elif rows["value"].isna().any():
        empty = rows.loc[rows["value"].isna(), UNIT].drop_duplicates().tolist()
        if not drop_unpaired:
            raise TableError(f"{score} is empty for fold {empty[0]}")
        rows = rows[~rows[UNIT].isin(empty)]
        notes.append(f"fold {some_of(empty)} without a score in some arm is left out")
    means = rows.groupby(keys, sort=False, observed=True)["value"].mean().reset_index()
    if folds:
        means[UNIT] = means[UNIT].map(folds)
        means = means.groupby(keys, sort=False, observed=True)["value"].mean().reset_index()
    return means, replace(columns, case=None, group=None), notes


@dataclass(frozen=True)
class FoldShare:
    """Part of a data set's cases that one fold tests, and how it is known."""

    value: float
    told: str
    doubtful: bool = False


def fold_shares(table: pd.DataFrame, columns: Columns, fold: str) -> dict[str, FoldShare]:
    """The test share of each data set (``""`` without): as its cases show, else one over the folds.

    The folds are those of one run, where seeds repeat them.
    """
    datasets = as_text(table[columns.dataset]) if columns.dataset else pd.Series("", table.index)
    return {
        str(name): _fold_share(part, columns, fold)
        for name, part in table.groupby(datasets, observed=True)
    }


def _fold_share(part: pd.DataFrame, columns: Columns, fold: str) -> FoldShare:
    run = [columns.arm]
    if columns.seed in part and columns.seed != fold:
        by_seed = part.groupby([columns.arm, columns.seed], observed=True)[fold].nunique()
        run += [columns.seed] if by_seed.max() > 1 else []
    count = int(part.groupby(run, observed=True)[fold].nunique().max())
    own = [name for name in (columns.group, columns.case) if name]
    if own:
        cases = part[own].drop_duplicates()
        tested = part[[*run, fold, *own]].drop_duplicates()
        sizes = tested.groupby([*run, fold], observed=True).size()
        share = float(sizes.mean()) / len(cases)
        numbered = _are_numbered_anew(tested, run, fold, own)
        if numbered and share < 1:
            return FoldShare(
                1 / count,
                f"{count} folds: the test share is taken to be 1/{count} (--test-share), and cases "
                f"of one name in several folds for others (such as {own[-1]} "
                f"{cases[own[-1]].iloc[0]})",
                True,
            )
        if share < 1 and abs(share * count - 1) > _UNEVEN:
            return FoldShare(
                share,
                f"{count} folds, each of which tests {100 * share:.0f} % of the cases: the test "
                f"share is taken to be {share:.3g} (--test-share)",
            )
    many = not own and count > _MOST_FOLDS
    skipped = _skipped(part[fold])
    unless = ", which is wrong if these are repetitions of fewer folds" if many else ""
    if skipped:
        unless = (
            f", which is wrong if there is a fold {some_of(skipped)} too, of which the table has "
            "nothing"
        )
    return FoldShare(
        1 / count,
        f"{count} folds: the test share is taken to be 1/{count} (--test-share){unless}",
        many or bool(skipped),
    )


def _skipped(folds: pd.Series) -> list[int]:
    """Numbers that are missing between those of the folds: 1 and 3 of 0, 2 and 4."""
    numbers = pd.to_numeric(folds, errors="coerce").drop_duplicates()
    if numbers.isna().any() or (numbers % 1).any() or numbers.max() > 2 * len(numbers) + 1:
        return []
    return sorted(set(range(int(numbers.min()), int(numbers.max()))) - set(numbers.astype(int)))


_MOST_FOLDS = 10
"""Beyond so many numbers of folds they are rather those of several repetitions."""
_UNEVEN = 0.25
"""How far folds may lie from a division of the cases: some arms or folds lack a few."""


def _are_numbered_anew(
    tested: pd.DataFrame, run: Sequence[str], fold: str, own: Sequence[str]
) -> bool:
    """Whether the cases of each fold are among those of every larger one, as 0, 1, 2, … are."""
    _, first = next(iter(tested.groupby(list(run), sort=False, observed=True)))
    folds = [
        set(part[list(own)].itertuples(index=False, name=None))
        for _, part in first.groupby(fold, observed=True)
    ]
    folds.sort(key=len)
    return len(folds) > 1 and all(a <= b for a, b in pairwise(folds))


def _refuse_other_divisions(table: pd.DataFrame, columns: Columns, fold: str) -> None:
    """Raise TableError where arms without cases have folds of other numbers, or half as many."""
    if columns.case is not None:
        return  # cases tell where each lies
    within = as_text(table[columns.dataset]) if columns.dataset else pd.Series("", table.index)
    for _, part in table.groupby(within, observed=True):
        own = {
            str(arm): rows[fold].drop_duplicates().tolist()
            for arm, rows in part.groupby(columns.arm, sort=False, observed=True)
        }
        first, folds = next(iter(own.items()))
        for arm, others in own.items():
            fewest, most = sorted((len(folds), len(others)))
            apart = set(folds) - set(others) and set(others) - set(folds)
            if apart or 2 * fewest <= most:
                raise TableError(
                    f"{first} has the folds {some_of(folds)}, {arm} {some_of(others)}: are they "
                    "numbered alike, and of one division? Number them alike, or compare the arms "
                    "that have the same (--where)"
                )


def _is_one_division(table: pd.DataFrame, fold: str, columns: Columns) -> bool:
    """Whether all seeds share one division in folds, as far as seeds or cases can tell."""
    within = [name for name in (columns.dataset, columns.seed) if name]
    if table.groupby(within, observed=True)[fold].nunique().max() == 1:
        return True
    own = [name for name in (columns.dataset, columns.group, columns.case) if name]
    if columns.case is None or columns.case not in table.columns:
        return False
    return bool(table.groupby(own, observed=True)[fold].nunique().max() == 1)


def _in_every_arm(
    rows: pd.DataFrame,
    columns: Columns,
    own: list[str],
    drop_unpaired: bool,
    notes: list[str],
) -> pd.DataFrame:
    """The cases of each fold that have a score in every arm."""
    place = [name for name in columns.keys if name != columns.arm]
    filled = rows[rows["value"].notna()]
    counts = filled.groupby(place, observed=True).size()
    every = rows.groupby(place, observed=True).size()
    lacking = every.index[counts.reindex(every.index, fill_value=0) != rows[columns.arm].nunique()]
    if not len(lacking):
        return rows
    by_arm = filled.groupby([columns.arm, *own], observed=True)[UNIT].nunique()
    arms_of = filled.groupby(own, observed=True)[columns.arm].nunique()
    short = lacking.to_frame(index=False)[own].drop_duplicates()
    moved = [
        str(case[-1])
        for case in short.itertuples(index=False, name=None)
        if arms_of.get(case if len(own) > 1 else case[0], 0) == rows[columns.arm].nunique()
    ]
    fold = lacking.to_frame()[UNIT].iloc[0]
    cases = lacking.to_frame().loc[lambda frame: frame[UNIT] == fold, own[-1]].astype(str).tolist()
    if len(lacking) == len(every):
        raise TableError(
            "no case is in the same fold in two arms: are the folds of all arms numbered alike, "
            "and of one division?"
        )
    if moved and by_arm.max() == 1 and columns.dataset is None:
        raise in_another(UNIT, moved)
    if not drop_unpaired:
        raise TableError(
            f"fold {fold}: its {len(cases)} cases were not scored in every arm "
            f"({some_of(cases, 4)}): score them, or leave them out with drop_unpaired "
            "(--drop-unpaired)"
        )
    named = lacking.to_frame()[own[-1]].astype(str).tolist()
    notes.append(
        f"{len(named)} cases without a score in some arm are left out of all ({some_of(named, 4)})"
    )
    kept = rows.set_index(place).index
    return rows[~kept.isin(lacking)]
