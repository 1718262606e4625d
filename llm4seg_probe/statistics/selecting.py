"""From anybody's tidy table to one score per seed and case, and nothing averaged in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError, unknown

MAY_BE_ABSENT = {"case": "image", "group": "group", "dataset": "dataset"}
"""Columns looked for by default; a table without them has no cases, groups or data sets."""

SEPARATE = (
    "split",
    "checkpoint",
    "fold",
    "site",
    "part",
    "null",
    "reduction",
    "threshold",
    "class",
    "label",
    "organ",
    "epoch",
    "step",
    "phase",
    "stage",
    "subset",
    "set",
    "partition",
    "corruption",
    "severity",
    "strength",
)
"""Columns whose values are different measurements, even where no two rows collide."""


_OR = {
    "fold": ", or compare by fold, with fold and test_share",
    "class": ", or average over them, --average-over class (average_over=['class'])",
}


@dataclass(frozen=True)
class Columns:
    """Names of the key columns; None where the table has no such thing."""

    arm: str = "arm"
    seed: str = "seed"
    case: str | None = "image"
    group: str | None = "group"
    dataset: str | None = "dataset"

    def present_in(self, table: pd.DataFrame) -> Columns:
        """These columns, without those of the defaults that the table lacks or never fills.

        Raises TableError for a column that was asked for and is not there.
        """
        found: dict[str, str | None] = {}
        for role, name in vars(self).items():
            if name is None:
                found[role] = None
            elif name in table.columns:
                idle = MAY_BE_ABSENT.get(role) == name and (as_text(table[name]) == "").all()
                found[role] = None if idle else name
            elif MAY_BE_ABSENT.get(role) == name:
                found[role] = None
            else:
                raise TableError(unknown(f"column ({role})", name, map(str, table.columns)))
        return Columns(**found)  # type: ignore[arg-type]

    @property
    def keys(self) -> list[str]:
        """The key columns that there are."""
        return [name for name in (self.dataset, self.arm, self.seed, self.group, self.case) if name]


def where(table: pd.DataFrame, filters: Mapping[str, object]) -> pd.DataFrame:
    """Rows whose columns have the given values; empty cells match ``""``.

    Numbers are compared as numbers, everything else as text. Raises TableError for a column or
    a value that the table does not have, with the nearest that it has.
    """
    for column, wanted in filters.items():
        if column not in table.columns:
            raise TableError(unknown("column", column, map(str, table.columns)))
        matches = matching(table[column], wanted)
        if not matches.any():
            seen = as_text(table[column]).drop_duplicates().head(20)
            raise TableError(
                unknown(f"value of {column}", str(wanted), [f"{value}" for value in seen])
            )
        table = table[matches]
    return table


def matching(column: pd.Series, wanted: object) -> pd.Series[bool]:
    """Which cells hold a value, given as it would be written in a file."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        number = pd.to_numeric(pd.Series([wanted]), errors="coerce").iloc[0]
        return column.isna() if wanted == "" else (column == number).fillna(False).astype(bool)
    if isinstance(column.dtype, pd.StringDtype):  # quicker than through Python's objects
        return column.fillna("") == str(wanted)
    return as_text(column) == str(wanted)


def as_text(column: pd.Series) -> pd.Series[str]:
    """A column as text, missing cells as ``""``."""
    return column.astype(object).where(column.notna(), "").astype(str)


def scored(
    table: pd.DataFrame, score: str, columns: Columns, average_over: Sequence[str] = ()
) -> pd.DataFrame:
    """The key columns and ``value``, one row per data set, arm, seed and case.

    Columns in ``average_over`` (such as ``class``) are averaged over, within a case. Raises
    TableError when the score is no number, when a key is empty, when a column that is neither
    key nor averaged over tells measurements apart, or when rows are doubled. Infinite values
    count as missing.
    """
    for name in (score, *average_over):
        if name not in table.columns:
            raise TableError(unknown("column", name, map(str, table.columns)))
    if table.empty:
        raise TableError("the table has no rows")
    table = table.reset_index(drop=True)
    rows = table[columns.keys].copy()
    if rows[columns.seed].dtype == object:
        rows[columns.seed] = as_text(rows[columns.seed])  # numbers beside text do not sort
    rows["value"] = _numbers(table[score])
    for name in columns.keys:
        if table[name].isna().any():
            raise TableError(
                f"column {name} is empty in {int(table[name].isna().sum())} of {len(table)} rows; "
                "fill it or leave those rows out"
            )
    _refuse_separate(table, score, columns, average_over)
    if average_over:
        _refuse_doubled(table, columns, [*columns.keys, *average_over])
        return _averaged(rows, columns, average_over)
    _refuse_doubled(table, columns, columns.keys)
    return rows


def _averaged(rows: pd.DataFrame, columns: Columns, average_over: Sequence[str]) -> pd.DataFrame:
    """Mean over the rows of one case, NaN where one of them is; all cases of a kind alike."""
    by = rows.groupby(columns.keys, sort=False, observed=True)["value"]
    sizes = by.size()
    per_case = [name for name in (columns.dataset, columns.group, columns.case) if name]
    spread = sizes.groupby(level=per_case).nunique() if per_case else pd.Series([sizes.nunique()])
    if (spread > 1).any():
        raise TableError(
            f"averaging over {', '.join(average_over)}: not all runs have the same number of rows "
            f"for {' '.join(map(str, np.atleast_1d(spread.index[spread > 1][0])))}"
        )
    return by.mean().where(by.count() == sizes).reset_index()


def _numbers(column: pd.Series) -> pd.Series[float]:
    try:
        numbers = pd.to_numeric(column).astype("float64")
    except (ValueError, TypeError) as error:
        bad = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        raise TableError(
            f"column {column.name} holds {str(bad.iloc[0])!r}, which is not a number"
        ) from error
    return numbers.where(np.isfinite(numbers))


def _refuse_separate(
    table: pd.DataFrame, score: str, columns: Columns, average_over: Sequence[str]
) -> None:
    for name in SEPARATE:
        if name not in table.columns or name in (score, *columns.keys, *average_over):
            continue
        values = as_text(table[name]).drop_duplicates().tolist()
        if len(values) > 1:
            raise TableError(
                f"the table has several values of {name} ({_some(values)}): choose one first, "
                f"such as --where {name}={values[0]} (in Python where={{{name!r}: {values[0]!r}}})"
                f"{_OR.get(name, '')}"
            )


def _refuse_doubled(table: pd.DataFrame, columns: Columns, keys: list[str]) -> None:
    doubled = table.duplicated(keys, keep=False)
    if not doubled.any():
        return
    first = table.loc[doubled, keys].iloc[0]
    alike = table[(table[keys] == first).all(axis=1)]
    varying = [
        f"{name} ({_some(as_text(alike[name]).drop_duplicates().tolist())})"
        for name in table.columns
        if name not in keys
        and not pd.api.types.is_float_dtype(table[name].dtype)
        and alike[name].nunique(dropna=False) > 1
    ]
    seeds = table.loc[doubled, columns.seed].drop_duplicates().sort_values()
    which = ", ".join(f"{name} {first[name]}" for name in keys)
    cause = (
        f"they differ in {', '.join(varying)}; choose one value of it first"
        if varying
        else "nothing tells them apart; name the column of the cases, or leave one row out"
    )
    raise TableError(
        f"{len(alike)} rows for {which} (doubled in seeds {_some(seeds.tolist())}): {cause}"
    )


def _some(values: Sequence[object], most: int = 8) -> str:
    shown = ", ".join("empty" if value == "" else str(value) for value in values[:most])
    return shown + (", …" if len(values) > most else "")
