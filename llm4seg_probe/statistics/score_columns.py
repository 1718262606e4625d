"""Columns that are named like a score, and are neither its spread nor a setting of the run."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from llm4seg_probe.column_words import is_setting, words
from llm4seg_probe.scores import ScoreName, parse_score

SPREAD = frozenset(
    (
        "sd", "std", "stdev", "stddev", "se", "sem", "stderr", "var", "variance", "ci", "low",
        "high", "lower", "upper", "min", "max", "count",
    )
)  # fmt: skip
"""Words that make a score's name that of its spread."""
_RESOURCES = ("latency", "throughput", "regret", "distance")


def score_columns(table: pd.DataFrame, columns: Iterable[str]) -> dict[str, ScoreName]:
    """Columns that are named like a score, with their names taken apart; spreads left out."""
    found = {}
    for column in columns:
        name = parse_score(column)
        spread = set(words(column).split("_")) & SPREAD
        if (
            name.score is None
            or spread
            or is_setting(column)
            or (name.score.name in _RESOURCES and not _alone(name, column))
        ):
            continue
        if not pd.api.types.is_datetime64_any_dtype(table[column].dtype):
            found[column] = name
    return found


def _alone(name: ScoreName, column: str) -> bool:
    """Whether the name is the score's own, and not that of some time or distance beside it."""
    return name.score is not None and words(column) == name.score.name
