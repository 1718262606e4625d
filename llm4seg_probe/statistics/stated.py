"""What every claim of an analysis file states, whatever kind of measurement tests it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from pydantic import Field

from llm4seg_probe import tables
from llm4seg_probe.config import Section
from llm4seg_probe.errors import unknown

TableName = Literal["scores", "rank", "maps", "curves"]
Filters = dict[str, str | int | float]
Adjust = Callable[[float], float]
"""The adjusted p that a claim would have in its family if its own p were the one given."""

SCHEMAS: dict[TableName, tables.Schema] = {
    "scores": tables.SCORES,
    "rank": tables.RANK,
    "maps": tables.MAPS,
    "curves": tables.CURVES,
}


class Stated(Section):
    """A statement, whether it was made before the data, and what it is adjusted with."""

    id: str = Field(min_length=1, description="short name, the key of claims.csv")
    statement: str = Field(description="the claim in words")
    family: str | None = Field(
        None, description="claims with the same family share Holm's adjustment; null: its own"
    )
    in_advance: bool = Field(True, description="whether this was decided before looking")

    def shares_family_with(self, other: Stated) -> bool:
        """Whether the two are adjusted together; a claim without a family is its own."""
        return self.family is not None and self.family == other.family


def refuse_unknown_score(table: TableName, score: str) -> None:
    """Raise ValueError, for pydantic, where a table has no such column of numbers."""
    scores = [name for name, kind in SCHEMAS[table].values.items() if kind != "text"]
    if score not in scores:
        raise ValueError(f"score: {unknown('score', score, scores)}")


def measured_in_words(table: str, score: str, filters: Filters) -> str:
    """What is measured: score, table and filters.

    >>> measured_in_words("rank", "lsvr", {"null": ""})
    'lsvr of rank.csv where null=empty'
    """
    chosen = ", ".join(
        f"{name}={'empty' if value == '' else value}" for name, value in filters.items()
    )
    return f"{score} of {table}.csv" + (f" where {chosen}" if chosen else "")


class Judged(Protocol):
    """A claim with what the tables say about it, before its family is known."""

    @property
    def claim(self) -> Stated:
        """The claim."""

    @property
    def p(self) -> float:
        """Its p before adjustment, NaN where it was not run."""

    def comparison_rows(self, adjust: Adjust) -> list[dict[str, Any]]:
        """Rows of comparison.csv."""

    def claim_row(self, adjust: Adjust) -> dict[str, Any]:
        """Row of claims.csv."""
