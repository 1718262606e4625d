"""A claim with its comparisons assessed: which one decides, and the rows of the two tables.

A claim whose comparisons are joined by *and* is as good as its weakest: the comparison with the
largest p in the claimed direction gives the claim's numbers and its verdict. Where that one
points the other way, its p is multiplied by the number of comparisons: each of them had a chance
to contradict the claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

from llm4seg_probe.statistics.assessing import Assessment
from llm4seg_probe.statistics.compare import row_of
from llm4seg_probe.statistics.sentences import sentence
from llm4seg_probe.statistics.stated import Adjust
from llm4seg_probe.statistics.verdicts import verdict

if TYPE_CHECKING:
    from llm4seg_probe.statistics.claims import Claim


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
        found = self.decisive.evidence
        points_away = self.claim.kind == "superiority" and found.opposes < found.supports
        return self.opposes if points_away else found.p

    def comparison_rows(self, adjust: Adjust) -> list[dict[str, Any]]:
        """Rows of comparison.csv: each comparison as if it alone were the claim in the family."""
        rows = []
        for each in self.assessments:
            found = each.evidence
            row = row_of(each, adjust(found.p), adjust(found.supports), adjust(found.opposes))
            rows.append({**row, "claim": self.claim.id, "table": self.claim.table})
        return rows

    def claim_row(self, adjust: Adjust) -> dict[str, Any]:
        """Row of claims.csv."""
        claim = self.claim
        return {
            "claim": claim.id,
            "statement": claim.statement,
            "measure": claim.measure,
            "comparison": claim.comparison,
            **(self._not_run() if self.reason else self._decided(adjust)),
            "margin": claim.margin,
            "kind": claim.kind,
            "family": claim.family or claim.id,
            "in_advance": claim.in_advance,
            "reason": self.reason,
        }

    def _decided(self, adjust: Adjust) -> dict[str, Any]:
        decisive = self.decisive
        found = decisive.evidence
        adjusted = adjust(self.p)
        decided = verdict(
            decisive.estimate.n,
            adjust(found.supports),
            adjust(self.opposes),
            found.within_margin,
            decisive.rules.alpha,
        )
        told = sentence(decisive, decided, adjusted)
        count = len(self.assessments)
        weakest = f" The weakest of {count} comparisons decides." if count > 1 else ""
        row = {**decisive.row, "lower_is_better": decisive.rules.lower_is_better}
        return {
            **{name: row[name] for name in FROM_COMPARISON},
            "decided_by": f"{decisive.pair.a} against {decisive.pair.b}",
            "p_adjusted": adjusted,
            "verdict": decided,
            "sentence": told + weakest,
        }

    def _not_run(self) -> dict[str, Any]:
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
            "sentence": f"Not run: {self.reason}.",
        }
