"""Columns of a wide table beside those of its arms: margins, and what is known of each case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.statistics.roles import NAMES, Role

_MARGINS = frozenset(
    ("all", "total", "overall", "sum", "best", "max", "min", "count", "gesamt", "summe", "totale",
     "somme", "suma", "n")
)  # fmt: skip
"""Whole names of columns that sum others up, as the margins of a pivot table."""
_FEWEST_ROWS, _FEWEST_DECIMALS = 3, 4
"""A column between two others is nearly their mean: with fewer rows or decimals that is chance."""


_ELSE = "(if it is one: --baseline, or a row for each result)"


def margins(columns: pd.DataFrame) -> dict[str, str]:
    """Columns that sum the others up, by their name or by what they hold, with what to say of each.

    columns: of numbers, one of each arm.
    """
    if columns.shape[1] < 3:
        return {}
    found = {
        str(name): f"{name} sums the arms up, by its name, and is none: left out {_ELSE}"
        for name in columns
        if words(name) in _MARGINS
    }
    mean = _mean_of_others(columns)
    if mean is not None and mean not in found:
        found[mean] = (
            f"{mean} is the mean of the other columns in every row, and no arm: left out {_ELSE}"
        )
    return found


def _mean_of_others(columns: pd.DataFrame) -> str | None:
    """The one column that is the mean of the others in each of several rows."""
    numbers = columns.apply(pd.to_numeric, errors="coerce").dropna()
    printed = columns.astype(str).apply(lambda own: own.str.partition(".")[2].str.len().max()).max()
    if len(numbers) < _FEWEST_ROWS or printed < _FEWEST_DECIMALS:
        return None
    near = 1.01 * 10.0 ** -float(min(printed, 9))  # more decimals are those of a computer
    total, count = numbers.sum(axis=1), numbers.shape[1]
    found = [
        str(name)
        for name, own in numbers.items()
        if ((total - own) / (count - 1) - own).abs().le(near).all()
    ]
    return found[0] if len(found) == 1 else None


def of_each_case(
    table: pd.DataFrame, columns: Sequence[str], given: Mapping[Role, str]
) -> dict[str, str]:
    """Columns that say the same of a case in all of its runs, where at least two others do not.

    given: columns that are known, by role. Returns what to say of each.
    """
    by_name = {words(name): str(name) for name in reversed(table.columns)}
    usual = next((by_name[name] for name in NAMES["case"] if name in by_name), None)
    case = given.get("case", usual)
    if case is None or not table.duplicated([case]).any():
        return {}
    same = [name for name in columns if (table.groupby(case)[name].nunique(dropna=False) < 2).all()]
    if len(columns) - len(same) < 2:
        return {}
    told = f"says the same of a case in all of its runs, and is taken for no arm: left out {_ELSE}"
    return {name: f"{name} {told}" for name in same}
