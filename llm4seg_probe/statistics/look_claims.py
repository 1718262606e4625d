"""Judge claims at declared looks: comparison.csv, claims.csv, and looks.csv, the path to them.

Claims are judged by the same boundaries however many seeds there are of each: those that were
decided keep their look, those whose arms were not run on stay where they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.errors import ConfigError, UserError
from llm4seg_probe.scores import claimed_lower
from llm4seg_probe.statistics.association import judged
from llm4seg_probe.statistics.claims import FROM_COMPARISON, Association, Claim
from llm4seg_probe.statistics.judgement import (
    Judged,
    JudgedComparisons,
    assessed,
    ready,
    refuse_doubled,
    within_family,
)
from llm4seg_probe.statistics.kinds import Evidence
from llm4seg_probe.statistics.look_rows import (
    COLUMNS,
    Replayed,
    numbers_at_look,
    replayed,
    row_at_look,
    told,
    told_path,
)
from llm4seg_probe.statistics.looks import Design
from llm4seg_probe.statistics.sequential import (
    Decision,
    conjunction,
    decide,
    repeated,
    threshold,
)
from llm4seg_probe.statistics.verdict_sentences import below_first
from llm4seg_probe.statistics.verdicts import Rules


@dataclass(frozen=True)
class ClaimPath:
    """A claim's comparisons at their looks, and what its family's looks gave.

    by_look: the claim's repeated p-values. decision: now. earlier: decisions as they stood after
    each look, so far as any claim of the family has reached.
    """

    judged: JudgedComparisons
    members: tuple[Replayed, ...]
    by_look: tuple[Evidence, ...]
    decision: Decision
    earlier: tuple[Decision, ...]
    alone: tuple[Decision, ...]
    """Of each comparison as if it alone were the claim in the family."""

    @property
    def claim(self) -> Claim:
        """The claim."""
        return self.judged.claim

    def decisive(self, look: int, verdict: str) -> Replayed:
        """The comparison that decides at a look (from 1): the weakest, or the one that opposes."""
        at = [repeated(member.looks)[look - 1] for member in self.members]
        if verdict == "contradicted":
            return self.members[min(range(len(at)), key=lambda k: at[k].opposes)]
        if verdict == "equivalent":
            return self.members[max(range(len(at)), key=lambda k: at[k].within_margin)]
        return self.members[max(range(len(at)), key=lambda k: at[k].one_sided)]


@dataclass(frozen=True)
class Judgement:
    """Tables of claims judged at looks, and the claims' paths by id."""

    comparison: pd.DataFrame
    claims: pd.DataFrame
    looks: pd.DataFrame
    paths: Mapping[str, ClaimPath]


def judge_at_looks(
    claims: Sequence[Claim | Association],
    found: Mapping[str, pd.DataFrame],
    design: Design,
    *,
    bootstrap: int = 10_000,
    bootstrap_seed: int = 0,
) -> Judgement:
    """Judge claims of seeds at the looks that their comparisons reach; see :func:`judge`.

    Seeds that only one side has are left out and noted: arms may have been dropped. Associations
    are of runs, not of seeds, and judged as without looks. Raises ConfigError for one that shares
    its family with a claim of seeds, and as :func:`judge`.
    """
    refuse_doubled(claims)
    refuse_mixed_families(claims)
    joined = ready(found)
    of_runs: list[Judged] = []
    of_seeds: list[tuple[JudgedComparisons, tuple[Replayed, ...]]] = []
    for claim in claims:
        try:
            if isinstance(claim, Association):
                of_runs.append(judged(claim, joined, design.alpha))
                continue
            lower = claimed_lower(claim.score, claim.lower_is_better)
            rules = Rules(claim.margin, design.alpha, claim.kind, lower, bootstrap, bootstrap_seed)
            one = assessed(claim, joined.get(claim.table), rules, True)
            members = () if one.reason else tuple(replayed(one.assessments, design))
            of_seeds.append((one, members))
        except UserError as error:
            raise type(error)(f"claim '{claim.id}': {error}") from error
    paths = {path.claim.id: path for path in _paths(of_seeds, design)}
    others = {one.claim.id: one.claim_row(within_family(one, of_runs)) for one in of_runs}
    rows = [
        others[claim.id] if claim.id in others else _claim_row(paths[claim.id], design)
        for claim in claims
    ]
    compared = [row for path in paths.values() for row in _comparison_rows(path, design)]
    looks = [row for path in paths.values() for row in _look_rows(path, design)]
    return Judgement(
        _frame(compared, tables.COMPARISON), _frame(rows, tables.CLAIMS),
        _frame(looks, tables.LOOKS), paths,
    )  # fmt: skip


def refuse_mixed_families(claims: Sequence[Claim | Association]) -> None:
    """Raise ConfigError where looks would judge a claim that is not of seeds."""
    of_seeds = [claim for claim in claims if isinstance(claim, Claim)]
    for one in claims:
        for other in of_seeds:
            if isinstance(one, Association) and one.shares_family_with(other):
                raise ConfigError(
                    f"claim '{one.id}' is of an association of runs, which has no looks, and "
                    f"shares the family '{one.family}' with '{other.id}', which has: give it a "
                    "family of its own"
                )


def _paths(
    each: Sequence[tuple[JudgedComparisons, tuple[Replayed, ...]]], design: Design
) -> list[ClaimPath]:
    found = []
    by_look = [_by_look(one.claim, members) for one, members in each]
    for place, (one, members) in enumerate(each):
        family = [
            k
            for k, (other, _) in enumerate(each)
            if k == place or one.claim.shares_family_with(other.claim)
        ]
        own = family.index(place)
        entries = [by_look[k] for k in family]
        most = max(map(len, entries))
        earlier = [
            decide([entry[:step] for entry in entries], design.alpha)[own]
            for step in range(1, most + 1)
        ]
        alone = []
        for member in members:
            entries[own] = repeated(member.looks)
            alone.append(decide(entries, design.alpha)[own])
        entries[own] = by_look[place]
        now = decide(entries, design.alpha)[own]
        found.append(ClaimPath(one, members, by_look[place], now, tuple(earlier), tuple(alone)))
    return found


def _by_look(claim: Claim, members: Sequence[Replayed]) -> tuple[Evidence, ...]:
    if len(members) == 1:
        return repeated(members[0].looks)
    return conjunction([repeated(member.looks) for member in members], claim.kind)


def _claim_row(path: ClaimPath, design: Design) -> dict[str, Any]:
    one, decision = path.judged, path.decision
    empty = dict.fromkeys(COLUMNS, nan) | {"look": decision.look, "look_seeds": 0}
    if decision.look == 0:
        fewest = min((member.n_seeds for member in path.members), default=0)
        reason = one.reason or below_first(design, fewest)
        return one.row({**one.not_run(reason), **empty, "reason": reason})
    decisive = path.decisive(decision.look, decision.verdict)
    numbers = numbers_at_look(decisive, decision, design)
    if len(path.members) == 1:
        numbers = row_at_look(decisive, decision, design)
        sentence = numbers["sentence"]
    else:
        sentence = told(decisive, decision, numbers, told_path(decisive, decision, design))
        which = "first to oppose" if decision.verdict == "contradicted" else "weakest"
        sentence += f" The {which} of {len(path.members)} comparisons decides."
    lower = decisive.assessment.rules.lower_is_better
    numbers = {**numbers, "lower_is_better": lower}
    return one.row(
        {
            **{name: numbers[name] for name in (*FROM_COMPARISON, *COLUMNS)},
            "decided_by": f"{decisive.assessment.pair.a} against {decisive.assessment.pair.b}",
            "p_adjusted": decision.p_adjusted,
            "p_equivalence_adjusted": decision.p_equivalence,
            "verdict": decision.verdict,
            "sentence": sentence,
        }
    )


def _comparison_rows(path: ClaimPath, design: Design) -> list[dict[str, Any]]:
    named = {"claim": path.claim.id, "table": path.claim.table}
    if path.judged.reason:
        return []
    return [
        {**row_at_look(member, decision, design), **named}
        for member, decision in zip(path.members, path.alone, strict=True)
    ]


def _look_rows(path: ClaimPath, design: Design) -> list[dict[str, Any]]:
    """The claim at each look it reached; what was decided stands at the looks after it."""
    rows = []
    for number, decision in enumerate(path.earlier[: len(path.by_look)], start=1):
        decisive = path.decisive(number, decision.verdict if decision.look == number else "")
        look = decisive.looks[number - 1]
        of_equivalence = decision.verdict == "equivalent"
        at = Decision(
            number, decision.verdict, decision.p_adjusted, decision.level,
            decision.p_equivalence, decision.level_equivalence,
        )  # fmt: skip
        rows.append(
            {
                "claim": path.claim.id, "look": number, "seeds": look.n,
                "difference": look.estimate.difference,
                "ci_low": look.interval[0], "ci_high": look.interval[1],
                "p": look.nominal.within_margin if of_equivalence else look.nominal.p,
                "threshold": threshold(design, path.claim.kind, at),
                "verdict": decision.verdict,
                "decided_by": f"{decisive.assessment.pair.a} against {decisive.assessment.pair.b}",
            }
        )  # fmt: skip
    return rows


def _frame(rows: list[dict[str, Any]], schema: tables.Schema) -> pd.DataFrame:
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(schema.columns))
    return tables.conform(frame, schema)
