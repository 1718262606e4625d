"""Judge claims from their comparisons: comparison.csv and claims.csv.

A claim whose comparisons are joined by *and* is as good as its weakest: the comparison with the
largest p in the claimed direction gives the claim's numbers and its verdict. Where that one
points the other way, its p is multiplied by the number of comparisons: each of them had a chance
to contradict the claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Any, Protocol

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.arms import parse_condition
from llm4seg_probe.errors import ConfigError, UserError
from llm4seg_probe.probes import registry
from llm4seg_probe.scores import claimed_lower
from llm4seg_probe.statistics.assessment import Assessment, assess
from llm4seg_probe.statistics.association import judged
from llm4seg_probe.statistics.claims import (
    FROM_COMPARISON,
    Association,
    Claim,
    Stated,
)
from llm4seg_probe.statistics.compare import row_of
from llm4seg_probe.statistics.conditions import NotThere, resolve, with_runs
from llm4seg_probe.statistics.epoch_choice import at_checkpoints
from llm4seg_probe.statistics.kinds import KINDS, Evidence
from llm4seg_probe.statistics.multiplicity import Adjust, holm_at
from llm4seg_probe.statistics.robust import with_robust
from llm4seg_probe.statistics.verdict_sentences import sentence
from llm4seg_probe.statistics.verdicts import Rules, Verdict, verdict


class Judged(Protocol):
    """A claim with what the tables say about it, before its family is known."""

    @property
    def claim(self) -> Stated:
        """The claim."""

    @property
    def p(self) -> float:
        """Its p before adjustment, NaN where it was not run."""

    @property
    def within(self) -> float:
        """Its p of equivalence before adjustment, NaN where it was not run."""

    def comparison_rows(self, adjust: Adjust) -> list[dict[str, Any]]:
        """Rows of comparison.csv."""

    def claim_row(self, adjust: Adjust) -> dict[str, Any]:
        """Row of claims.csv."""


@dataclass(frozen=True)
class JudgedComparisons:
    """A claim, the assessments of its comparisons, and why it could not be run, if so."""

    claim: Claim
    assessments: tuple[Assessment, ...]
    reason: str = ""

    @property
    def decisive(self) -> Assessment:
        """The comparison that decides: the largest p in the claimed direction."""
        return max(self.assessments, key=lambda each: each.evidence.one_sided)

    @property
    def opposes(self) -> float:
        """p of the claim's opposite, over all comparisons."""
        return min(1.0, len(self.assessments) * self.decisive.evidence.opposes)

    @property
    def p(self) -> float:
        """The claim's p before adjustment, two-sided for superiority; NaN where it was not run."""
        if self.reason:
            return nan
        return self.opposes if self._points_away else self.decisive.evidence.p

    @property
    def _points_away(self) -> bool:
        """Whether the decisive difference lies against the claim."""
        found = self.decisive.evidence
        return KINDS[self.claim.kind].two_sided and found.opposes < found.supports

    @property
    def within(self) -> float:
        """p of equivalence within the margin before adjustment; NaN where it was not run."""
        return nan if self.reason else self.decisive.evidence.within_margin

    def comparison_rows(self, adjust: Adjust) -> list[dict[str, Any]]:
        """Rows of comparison.csv: each comparison as if it alone were the claim in the family."""
        named = {"claim": self.claim.id, "table": self.claim.table}
        return [{**row_of(each, adjust), **named} for each in self.assessments]

    def claim_row(self, adjust: Adjust) -> dict[str, Any]:
        """Row of claims.csv."""
        return self.row(self.not_run(self.reason) if self.reason else self._decided(adjust))

    def row(self, numbers: Mapping[str, Any]) -> dict[str, Any]:
        """Row of claims.csv from what was found."""
        claim = self.claim
        return {
            "claim": claim.id,
            "statement": claim.statement,
            "measure": claim.measure,
            "comparison": claim.comparison,
            **numbers,
            "margin": claim.margin,
            "kind": claim.kind,
            "family": claim.family or claim.id,
            "in_advance": claim.in_advance,
            "reason": self.reason,
        }

    def _decided(self, adjust: Adjust) -> dict[str, Any]:
        decisive = self.decisive
        found = decisive.evidence
        adjusted, within = adjust.p(self.p), adjust.within(found.within_margin)
        decided = verdict(
            decisive.estimate.n,
            adjust.p(found.supports),
            adjust.p(self.opposes),
            within,
            decisive.rules.alpha,
        )
        count = len(self.assessments)

        def rejudged(n_seeds: int, seen: Evidence) -> Verdict:
            supports, opposes = adjust.p(seen.supports), adjust.p(min(1.0, count * seen.opposes))
            again = adjust.within(seen.within_margin)
            return verdict(n_seeds, supports, opposes, again, decisive.rules.alpha)

        said = {"sentence": sentence(decisive, decided, adjusted, within)}
        told = with_robust(said, decisive, rejudged)["sentence"]
        weakest = f" The weakest of {count} comparisons decides" if count > 1 else ""
        if weakest and self._points_away:
            weakest += f"; it points the other way, as any may: its p is multiplied by {count}"
        weakest += "." if weakest else ""
        row = {**decisive.row, "lower_is_better": decisive.rules.lower_is_better}
        return {
            **{name: row[name] for name in FROM_COMPARISON},
            "decided_by": f"{decisive.pair.a} against {decisive.pair.b}",
            "p_adjusted": adjusted,
            "verdict": decided,
            "sentence": told + weakest,
        }

    def not_run(self, reason: str) -> dict[str, Any]:
        """What can be said without a test: numbers of seeds and, for one seed, the difference."""
        values: dict[str, Any] = dict.fromkeys(FROM_COMPARISON)
        if self.assessments:
            weakest = min(self.assessments, key=lambda each: each.estimate.n)
            kept = ("n_seeds", "n_cases", "n_groups", "difference", "case_low", "case_high", "note")
            values |= {name: weakest.row[name] for name in kept}
        return {
            **values,
            "decided_by": "",
            "p_adjusted": nan,
            "verdict": "not run",
            "sentence": f"Not run: {reason}.",
        }


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
    comparisons is as good as its weakest (see the module); one of an association has no row in
    comparison.csv (:mod:`association`). Holm within a family; claims that could not be run still
    count in its size. A claim is ``not run``, with a ``reason``, where an arm or a table is missing
    or has fewer than two seeds.

    Raises ConfigError that names the claim for a column or value that does not exist, and
    TableError for missing partners (``drop_unpaired`` leaves them out and notes it).
    """
    refuse_doubled(claims)
    joined = ready(found)
    each: list[Judged] = []
    for claim in claims:
        try:
            if isinstance(claim, Association):
                each.append(judged(claim, joined, alpha))
                continue
            rules = Rules(
                claim.margin, alpha, claim.kind,
                claimed_lower(claim.score, claim.lower_is_better), bootstrap, bootstrap_seed,
            )  # fmt: skip
            each.append(assessed(claim, joined.get(claim.table), rules, drop_unpaired))
        except UserError as error:
            raise type(error)(f"claim '{claim.id}': {error}") from error
    adjusts = [within_family(one, each) for one in each]
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
    measured = {str(name): found[name] for name in registry.measured_tables() if name in found}
    if "curves" in measured:
        measured["curves"] = at_checkpoints(measured["curves"])
    return {name: with_runs(table, found.get("runs")) for name, table in measured.items()}


def within_family(one: Judged, all_of_them: Sequence[Judged]) -> Adjust:
    """Holm's adjustment in the family of one claim."""
    family = [
        other for other in all_of_them if other is one or one.claim.shares_family_with(other.claim)
    ]
    place = next(index for index, other in enumerate(family) if other is one)
    return Adjust(
        partial(holm_at, [other.p for other in family], place),
        partial(holm_at, [other.within for other in family], place),
    )


def assessed(
    claim: Claim, table: pd.DataFrame | None, rules: Rules, drop_unpaired: bool
) -> JudgedComparisons:
    """Each comparison of a claim by itself; those that cannot be made leave their reason."""
    if table is None or table.empty:
        return JudgedComparisons(claim, (), f"there is no {claim.table}.csv")
    pairs, reasons = [], []
    for both in claim.comparisons:
        try:
            pair = resolve(
                table, claim.score, (parse_condition(both.a), parse_condition(both.b)),
                filters=claim.where, average_over=claim.average_over, drop_unpaired=drop_unpaired,
                usual=registry.usual(claim.table),
            )  # fmt: skip
        except NotThere as reason:
            reasons.append(str(reason))
            continue
        pairs.append(pair)
        if len(pair.values_a) < 2:
            reasons.append(f"one seed of {both.a} and {both.b} cannot show this")
    return JudgedComparisons(claim, tuple(assess(pairs, rules)), "; ".join(dict.fromkeys(reasons)))


def refuse_doubled(claims: Iterable[Claim | Association]) -> None:
    """Raise ConfigError for two claims of one id, or of the same comparison."""
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
