"""Claims as an analysis file states them: differences of conditions, associations within arms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from llm4seg_probe import tables
from llm4seg_probe.arms import Term, parse_condition
from llm4seg_probe.config import Section
from llm4seg_probe.errors import ConfigError, TableError, UserError, unknown
from llm4seg_probe.probes import registry
from llm4seg_probe.scores import claimed_lower
from llm4seg_probe.statistics.conditions import NotThere, resolve
from llm4seg_probe.statistics.kinds import KINDS, Kind
from llm4seg_probe.statistics.pairs import Paired


def _known_table(name: str) -> str:
    """Raise ValueError, for pydantic, for a table on which nothing can be claimed."""
    try:
        registry.claimable(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return name


TableName = Annotated[str, AfterValidator(_known_table)]
"""``scores``, ``curves``, or a probe."""
Filters = dict[str, str | int | float]


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


def refuse_unknown_score(table: str, score: str) -> None:
    """Raise ValueError, for pydantic, where a table has no such column of numbers."""
    scores = registry.claimable(table)
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


FROM_COMPARISON = (
    "n_seeds",
    "n_cases",
    "n_groups",
    "difference",
    "ci_low",
    "ci_high",
    "boot_low",
    "boot_high",
    "boot_coverage",
    "case_low",
    "case_high",
    "p_exact",
    "p_exact_floor",
    "p_equivalence",
    "smallest_detectable",
    "seeds_needed",
    "lower_is_better",
    "note",
)
"""Columns of claims.csv that a comparison has too; empty where a claim has no such number."""


class ClaimedPair(Section):
    """Two conditions of which the claim says that the first is better (or as good)."""

    a: str = Field(description="the condition that the claim speaks for, such as llm@after")
    b: str = Field(description="what it is compared with, such as llm@before")

    @field_validator("a", "b")
    @classmethod
    def _is_a_condition(cls, text: str) -> str:
        try:
            return parse_condition(text).text
        except ConfigError as error:
            raise ValueError(str(error)) from error


class Claim(Stated):
    """A statement, the measurement that tests it, and the margin that counts."""

    table: TableName = "scores"
    score: str = Field("iou", description="value column of the table")
    where: Filters = Field(
        default_factory=dict,
        description="column filters such as split: test; a condition's own come first, and the "
        "table's usual ones last",
    )
    average_over: tuple[str, ...] = Field(
        ("class",), description="columns averaged over within an image, if the table has them"
    )
    kind: Kind = "superiority"
    comparisons: tuple[ClaimedPair, ...] = Field(description="joined by and: the largest p decides")
    margin: float = Field(gt=0, description="smallest difference that matters, in the score's unit")
    lower_is_better: bool | None = Field(None, description="null: by the score's name")

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        refuse_unknown_score(self.table, self.score)
        if not self.comparisons:
            raise ValueError("comparisons: name at least one, such as {a: llm, b: cnn}")
        return self

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it is stated on."""
        return (self.table,)

    @property
    def terms(self) -> list[Term]:
        """Every arm that its conditions name, with the columns that select its rows."""
        texts = [text for pair in self.comparisons for text in (pair.a, pair.b)]
        return [term for text in texts for _, term in parse_condition(text).terms]

    @property
    def measure(self) -> str:
        """What is measured, in words: score, table and filters."""
        return measured_in_words(self.table, self.score, self.where)

    @property
    def comparison(self) -> str:
        """The comparisons in one line: > for a higher score, < for a lower."""
        better = "<" if claimed_lower(self.score, self.lower_is_better) else ">"
        sign = KINDS[self.kind].sign.format(better=better)
        return " and ".join(f"{pair.a} {sign} {pair.b}" for pair in self.comparisons)


class Measurement(Section):
    """A number of each run: the mean of one column over the run's images."""

    table: TableName
    score: str = Field(description="value column of the table")
    where: Filters = Field(default_factory=dict, description="column filters, such as split: test")
    average_over: tuple[str, ...] = Field(
        ("class",), description="columns averaged over within an image, if the table has them"
    )

    @model_validator(mode="after")
    def _is_measured(self) -> Self:
        refuse_unknown_score(self.table, self.score)
        return self

    def __str__(self) -> str:
        return measured_in_words(self.table, self.score, self.where)


class Association(Stated):
    """The statement that runs with a higher x have a higher y, within each arm."""

    kind: Literal["association"] = "association"
    x: Measurement
    y: Measurement
    arms: tuple[str, ...] = Field(
        min_length=1, description="conditions whose runs are correlated, each around its own mean"
    )
    margin: float = Field(gt=0, lt=1, description="smallest correlation that matters")

    @model_validator(mode="after")
    def _names_arms(self) -> Self:
        for arm in self.arms:
            try:
                terms = parse_condition(arm).terms
            except ConfigError as error:
                raise ValueError(str(error)) from error
            if len(terms) > 1:
                raise ValueError(f"arms: '{arm}' is a contrast: name single conditions")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("arms: one of them is named twice")
        return self

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that it is stated on."""
        return (self.x.table, self.y.table)

    @property
    def terms(self) -> list[Term]:
        """Every arm that it names, with the columns that select its rows."""
        return [term for arm in self.arms for _, term in parse_condition(arm).terms]

    @property
    def measure(self) -> str:
        """What is measured, in words."""
        return f"{self.x} and {self.y}"

    @property
    def comparison(self) -> str:
        """What is claimed, in one line."""
        return f"{self.y.score} rises with {self.x.score} within {', '.join(self.arms)}"


def _sort(value: Any) -> str:
    """Which of the two a claim is: one of comparisons unless it says that it is none."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return "association" if kind == "association" else "comparisons"


AnyClaim = Annotated[
    Annotated[Claim, Tag("comparisons")] | Annotated[Association, Tag("association")],
    Discriminator(_sort),
]
"""A claim of differences between conditions, or of an association within arms."""


def pairs_table(
    claims: Iterable[Claim | Association],
    measured: Mapping[str, pd.DataFrame],
    drop_unpaired: bool = False,
) -> pd.DataFrame:
    """Write out ``pairs.csv``: which scores of a and b each comparison of each claim is made of.

    Parameters
    ----------
    claims
        As the analysis states them. An association compares nothing and has no rows.
    measured
        Tables as :func:`judgement.ready` gives them.
    drop_unpaired
        Leave out seeds that one side does not have, as where arms were dropped.

    Returns
    -------
    pandas.DataFrame
        One row per claim, comparison (numbered from 0, as the claim lists them), seed and case;
        ``value_a`` and ``value_b`` are the two scores. Group and image are empty where the two
        conditions share no cases and the means of runs are compared. Comparisons that were not
        run have no rows.

    Raises
    ------
    TableError
        Where a table does not hold what the claim names any more.
    """
    parts = [pd.DataFrame(columns=list(tables.PAIRS.columns))]
    for claim in claims:
        table = None if isinstance(claim, Association) else measured.get(claim.table)
        if table is None or isinstance(claim, Association):
            continue
        for number, both in enumerate(claim.comparisons):
            try:
                pair = resolve(
                    table, claim.score, (parse_condition(both.a), parse_condition(both.b)),
                    filters=claim.where, average_over=claim.average_over,
                    drop_unpaired=drop_unpaired,
                    usual=registry.usual(claim.table),
                )  # fmt: skip
            except NotThere:
                continue
            except UserError as error:
                raise TableError(f"{claim.table}.csv: claim '{claim.id}': {error}") from error
            parts.append(_rows(pair).assign(claim=claim.id, comparison=number))
    return tables.conform(pd.concat(parts, ignore_index=True), tables.PAIRS)


def _rows(pair: Paired) -> pd.DataFrame:
    """One row per seed and case of a pair."""
    seeds, count = len(pair.seeds), len(pair.cases)
    return pd.DataFrame(
        {
            "seed": np.repeat(np.array(pair.seeds, object), count),
            "group": [group for group, _ in pair.cases] * seeds,
            "image": [image for _, image in pair.cases] * seeds,
            "dataset": pair.dataset,
            "score": pair.score,
            "a": pair.a,
            "b": pair.b,
            "value_a": pair.values_a.ravel(),
            "value_b": pair.values_b.ravel(),
        }
    )
