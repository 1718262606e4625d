"""The number of runs behind each printed mean: as given, or as a column of the table says."""

from __future__ import annotations

import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.cells import is_empty, printed
from llm4seg_probe.statistics.findings import Finding

_MANY = 30
"""More runs are rather patients."""


def doubts_of_runs(table: pd.DataFrame, column: str, n: int | None) -> list[Finding]:
    """Doubts about a column of numbers of runs.

    It may say another number than ``n``, which was given; it may count folds, or patients.
    """
    told = []
    written = {str(cell) for cell in table[column] if not is_empty(str(cell))} - {str(n)}
    if n is not None and written:
        told.append(f"n = {n}, as given; column {column} says {', '.join(sorted(written)[:4])}")
    if "splits" in words(column):
        told.append(
            f"{column} counts folds, which share training data: p is too small where folds are few"
        )
    counts = pd.to_numeric(table[column], errors="coerce")
    if n is None and words(column) in ("n", "runs") and (counts > _MANY).any():
        told.append(
            f"{column} goes up to {counts.max():g}, and is taken for the number of runs behind "
            "each mean: if these are patients or images, give the number of runs (--n)"
        )
    return [Finding("doubt", one) for one in told]


def runs_behind(row: pd.Series, column: str | None, n: int | None, at: str) -> int:
    """The number of runs behind the mean of one row; ``at`` names the row.

    Raises TableError where nothing says it, or what says it is no whole number.
    """
    if n is not None:
        return n
    if column is None:
        raise TableError("how many runs are behind each mean? The table does not say: give n (--n)")
    if is_empty(str(row[column])):
        raise TableError(
            f"{at}, column {column} is empty: how many runs are behind the mean? Fill it, or give "
            "n for all (--n)"
        )
    try:
        value = printed(row[column]).value
    except TableError:
        value = 0.5
    if value != int(value):
        raise TableError(f"{at}: column {column} holds {row[column]!r}, which is no number of runs")
    return int(value)
