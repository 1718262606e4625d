"""Claims as an analysis file writes them, and what the tables say about each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Self

import pandas as pd
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from llm4seg_probe import tables
from llm4seg_probe.config import Section
from llm4seg_probe.errors import ConfigError, UserError
from llm4seg_probe.statistics import association
from llm4seg_probe.statistics.assessing import assess
from llm4seg_probe.statistics.association import Association
from llm4seg_probe.statistics.conditions import parse
from llm4seg_probe.statistics.judged import JudgedComparisons
from llm4seg_probe.statistics.multiplicity import holm_at
from llm4seg_probe.statistics.overfitting import at_checkpoints
from llm4seg_probe.statistics.resolving import NotThere, resolve, with_runs
from llm4seg_probe.statistics.rules import Rules
from llm4seg_probe.statistics.scales import is_lower_better
from llm4seg_probe.statistics.stated import (
    SCHEMAS,
    Adjust,
    Filters,
    Judged,
    Stated,
    TableName,
    measured_in_words,
    refuse_unknown_score,
)
from llm4seg_probe.statistics.verdicts import Kind


class ClaimedPair(Section):
    """Two conditions of which the claim says that the first is better (or as good)."""

    a: str = Field(description="the condition that the claim speaks for, such as llm@after")
    b: str = Field(description="what it is compared with, such as llm@before")

    @field_validator("a", "b")
    @classmethod
    def _is_a_condition(cls, text: str) -> str:
        try:
            return parse(text).text
        except ConfigError as error:
            raise ValueError(str(error)) from error


class Claim(Stated):
    """A statement, the measurement that tests it, and the margin that counts."""

    table: TableName = "scores"
    score: str = Field("iou", description="value column of the table")
    where: Filters = Field(
        default_factory=dict,
        description="column filters such as split: test; a condition's own come first",
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
    def measure(self) -> str:
        """What is measured, in words: score, table and filters."""
        return measured_in_words(self.table, self.score, self.where)

    @property
    def comparison(self) -> str:
        """The comparisons in one line: > for a higher score, < for a lower."""
        better = "<" if is_lower_better(self.score, self.lower_is_better) else ">"
        sign = {
            "superiority": better,
            "non-inferiority": f"not worse ({better}) than",
            "equivalence": "≈",
        }[self.kind]
        return " and ".join(f"{pair.a} {sign} {pair.b}" for pair in self.comparisons)


def _sort(value: Any) -> str:
    """Which of the two a claim is: one of comparisons unless it says that it is none."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return "association" if kind == "association" else "comparisons"


AnyClaim = Annotated[
    Annotated[Claim, Tag("comparisons")] | Annotated[Association, Tag("association")],
    Discriminator(_sort),
]
"""A claim of differences between conditions, or of an association within arms."""


def judge(
    claims: Sequence[Claim | Association],
    found: Mapping[str, pd.DataFrame],
    *,
    alpha: float = 0.05,
    bootstrap: int = 10_000,
    bootstrap_seed: int = 0,
    drop_unpaired: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare what each claim names and give verdicts: comparison.csv and claims.csv.

    found: tables by name (``scores``, ``rank``, ``maps``, ``curves``; ``runs``, if conditions
    select by its columns). Per-seed values are means over the images of a run. A claim of several
    comparisons is as good as its weakest (:mod:`judged`); one of an association has no row in
    comparison.csv (:mod:`association`). Holm within a family; claims that could not be run still
    count in its size. A claim is ``not run``, with a ``reason``, where an arm or a table is missing
    or has fewer than two seeds.

    Raises ConfigError that names the claim for a column or value that does not exist, and
    TableError for missing partners (``drop_unpaired`` leaves them out and notes it).
    """
    _refuse_doubled(claims)
    joined = ready(found)
    each: list[Judged] = []
    for claim in claims:
        try:
            if isinstance(claim, Association):
                each.append(association.judged(claim, joined, alpha))
                continue
            rules = Rules(
                claim.margin, alpha, claim.kind,
                is_lower_better(claim.score, claim.lower_is_better), bootstrap, bootstrap_seed,
            )  # fmt: skip
            each.append(_assessed(claim, joined.get(claim.table), rules, drop_unpaired))
        except UserError as error:
            raise type(error)(f"claim '{claim.id}': {error}") from error
    adjusts = [_within_family(one, each) for one in each]
    rows = [one.comparison_rows(adjust) for one, adjust in zip(each, adjusts, strict=True)]
    verdicts = [one.claim_row(adjust) for one, adjust in zip(each, adjusts, strict=True)]
    return (
        _frame([row for some in rows for row in some], tables.COMPARISON),
        _frame(verdicts, tables.CLAIMS),
    )


def ready(found: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables that claims are about, with what runs.csv says of each run.

    Of the curves, the rows of the checkpoints are left.
    """
    measured = {str(name): found[name] for name in SCHEMAS if name in found}
    if "curves" in measured:
        measured["curves"] = at_checkpoints(measured["curves"])
    return {name: with_runs(table, found.get("runs")) for name, table in measured.items()}


def _within_family(one: Judged, all_of_them: Sequence[Judged]) -> Adjust:
    """Holm's adjustment in the family of one claim."""
    family = [
        other for other in all_of_them if other is one or one.claim.shares_family_with(other.claim)
    ]
    place = next(index for index, other in enumerate(family) if other is one)
    return partial(holm_at, [other.p for other in family], place)


def _assessed(
    claim: Claim, table: pd.DataFrame | None, rules: Rules, drop_unpaired: bool
) -> JudgedComparisons:
    """Each comparison of a claim by itself; those that cannot be made leave their reason."""
    if table is None or table.empty:
        return JudgedComparisons(claim, (), f"there is no {claim.table}.csv")
    pairs, reasons = [], []
    for both in claim.comparisons:
        try:
            pair = resolve(
                table, claim.score, (parse(both.a), parse(both.b)),
                filters=claim.where, average_over=claim.average_over, drop_unpaired=drop_unpaired,
            )  # fmt: skip
        except NotThere as reason:
            reasons.append(str(reason))
            continue
        pairs.append(pair)
        if len(pair.values_a) < 2:
            reasons.append(f"one seed of {both.a} and {both.b} cannot show this")
    return JudgedComparisons(claim, tuple(assess(pairs, rules)), "; ".join(dict.fromkeys(reasons)))


def _refuse_doubled(claims: Iterable[Claim | Association]) -> None:
    ids: set[str] = set()
    owner: dict[tuple[str, str, str], str] = {}
    for claim in claims:
        if claim.id in ids:
            raise ConfigError(f"two claims have the id '{claim.id}'")
        ids.add(claim.id)
        if isinstance(claim, Association):
            continue
        for both in claim.comparisons:
            key = (claim.score, both.a, both.b)
            if key in owner:
                raise ConfigError(
                    f"claims '{owner[key]}' and '{claim.id}' both compare {claim.score} of "
                    f"{both.a} and {both.b}: write what differs into the conditions, such as "
                    f"{both.a}[part=foreground]"
                )
            owner[key] = claim.id


def _frame(rows: list[dict[str, Any]], schema: tables.Schema) -> pd.DataFrame:
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(schema.columns))
    return tables.conform(frame, schema)
