"""Rows of comparison.csv where looks were declared: each comparison judged at the look that counts.

The numbers of the effect (means, SDs, ``difference``, ``ci_low``, ``ci_high``) are of the seeds of
that look, ``look_seeds``; the tests and intervals of a fixed sample (``t``, ``p_t``, ``p_exact``,
``ci_fixed_*``, ``boot_*``, ``case_*``, what is planned) are of all ``n_seeds``, as without looks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.assessment import Assessment
from llm4seg_probe.statistics.kinds import KINDS, Evidence, Kind
from llm4seg_probe.statistics.looks import Design
from llm4seg_probe.statistics.pairs import Paired
from llm4seg_probe.statistics.robust import with_robust
from llm4seg_probe.statistics.sequential import (
    Decision,
    Look,
    decide,
    repeated,
    replay,
    threshold,
    thresholds,
)
from llm4seg_probe.statistics.stopping import median_unbiased, stagewise_p
from llm4seg_probe.statistics.verdict_sentences import (
    below_first,
    later_sentence,
    path_sentence,
    sentence,
)
from llm4seg_probe.statistics.verdicts import Verdict
from llm4seg_probe.tables import COMPARISON, conform

COLUMNS = (
    "look", "look_seeds", "p_threshold", "ci_fixed_low", "ci_fixed_high", "p_stagewise",
    "median_unbiased",
)  # fmt: skip
"""Columns that a comparison with looks has beside those without; so has claims.csv."""


Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Replayed:
    """A comparison of all seeds, and the same at each look that they reach.

    a, b: (n,), scores by seed, in the order in which seeds count.
    """

    assessment: Assessment
    a: Vector
    b: Vector
    looks: tuple[Look, ...]

    @property
    def n_seeds(self) -> int:
        """Number of all seeds."""
        return self.assessment.estimate.n


def replayed(
    assessments: Sequence[Assessment], design: Design, appearance: Sequence[object] = ()
) -> list[Replayed]:
    """Judge each comparison at the looks it reaches.

    appearance: seeds in the order of their first appearance, by which those count that are no
    numbers. Raises ConfigError for comparisons that are not of paired seeds.
    """
    return [_replayed(each, design, appearance) for each in assessments]


def comparison_at_looks(
    assessments: Sequence[Assessment], design: Design, appearance: Sequence[object] = ()
) -> pd.DataFrame:
    """The table of one family of comparisons judged at declared looks.

    Raises TableError where none of them has the seeds of the first look.
    """
    most = max((each.estimate.n for each in assessments), default=0)
    if design.reached(most) == 0:
        raise TableError(
            f"{below_first(design, most)}: run more seeds, or declare an earlier first look"
        )
    return rows_at_looks(assessments, design, appearance)


def rows_at_looks(
    assessments: Sequence[Assessment], design: Design, appearance: Sequence[object] = ()
) -> pd.DataFrame:
    """The same where comparisons below the first look are said to be so, all of them too."""
    members = replayed(assessments, design, appearance)
    decisions = decide([repeated(member.looks) for member in members], design.alpha)
    rows = [row_at_look(*both, design) for both in zip(members, decisions, strict=True)]
    return conform(pd.DataFrame(rows), COMPARISON)


def row_at_look(member: Replayed, decision: Decision, design: Design) -> dict[str, Any]:
    """One row of comparison.csv, with :data:`COLUMNS`."""
    row = {
        **numbers_at_look(member, decision, design),
        **_after_stopping(member, decision, design),
        "p_adjusted": decision.p_adjusted,
        "p_equivalence_adjusted": decision.p_equivalence,
        "verdict": decision.verdict,
        "lower_is_better": member.assessment.rules.lower_is_better,
    }
    path = told_path(member, decision, design) + _told_crossing(member, decision, design)
    kind = member.assessment.rules.kind
    bounds = (
        thresholds(design, kind, decision.look, decision.level, decision.level_equivalence)
        if decision.look
        else (0.0, 0.0, 0.0)
    )

    def rejudged(n_seeds: int, found: Evidence) -> Verdict:
        if n_seeds < 2:
            return "not run"
        if found.supports < bounds[0]:
            return "supported"
        if found.opposes < bounds[1]:
            return "contradicted"
        return "equivalent" if found.within_margin < bounds[2] else "inconclusive"

    row["sentence"] = told(member, decision, row, path)
    return with_robust(row, member.assessment, rejudged, sequential=True)


def told(member: Replayed, decision: Decision, row: Mapping[str, Any], path: str) -> str:
    """The sentence of a row: verdict and numbers at the look that counts, and the looks' path."""
    seen = {**row, "n_seeds": row["look_seeds"] or row["n_seeds"]}
    return sentence(
        replace(member.assessment, row=seen), decision.verdict, decision.p_adjusted,
        decision.p_equivalence, path,
    )  # fmt: skip


def numbers_at_look(member: Replayed, decision: Decision, design: Design) -> dict[str, Any]:
    """A comparison's numbers, those of the effect at a decision's look, and :data:`COLUMNS`.

    Before the first look all are of all seeds, without an interval.
    """
    row, rules = member.assessment.row, member.assessment.rules
    found: dict[str, Any] = {
        **row, "ci_low": nan, "ci_high": nan, "look": decision.look, "look_seeds": 0,
        "p_threshold": threshold(design, rules.kind, decision),
        "ci_fixed_low": row["ci_low"], "ci_fixed_high": row["ci_high"],
        "p_stagewise": nan, "median_unbiased": nan,
    }  # fmt: skip
    if decision.look == 0:
        return found
    look = member.looks[decision.look - 1]
    a, b = member.a[: look.n], member.b[: look.n]
    low, high = look.interval if isfinite(look.interval[0]) else (nan, nan)
    return {
        **found,
        "mean_a": a.mean(), "mean_b": b.mean(), "sd_a": a.std(ddof=1), "sd_b": b.std(ddof=1),
        "difference": look.estimate.difference, "sd_difference": look.estimate.sd,
        "ci_low": low, "ci_high": high, "look_seeds": look.n,
    }  # fmt: skip


def told_path(member: Replayed, decision: Decision, design: Design) -> str:
    """The sentence on a comparison's looks, with what came after its decision."""
    boundary = threshold(design, member.assessment.rules.kind, decision)
    n, later = member.n_seeds, ""
    if decision.decided and n > design.looks[decision.look - 1]:
        index = {"contradicted": "opposes", "equivalent": "within_margin"}
        name = index.get(decision.verdict, "supports")
        p = float(getattr(member.assessment.evidence, name))
        later = later_sentence(member.assessment.estimate.difference, p, boundary, n)
    return path_sentence(design, decision, boundary, n, later)


def _told_crossing(member: Replayed, decision: Decision, design: Design) -> str:
    crossed = crossed_at(member.looks, decision, design, member.assessment.rules.kind)
    if not 0 < crossed < decision.look:
        return ""
    return (
        f"; p had crossed it at look {crossed}, where the others of the family left it a smaller "
        "share of the error rate"
    )


def crossed_at(looks: Sequence[Look], decision: Decision, design: Design, kind: Kind) -> int:
    """Look (from 1) at which the decisive p first crossed the boundary of its final level.

    Earlier than the look that decided, where the family left it less at that time. 0 for none.
    """
    if not decision.decided:
        return 0
    place = {"contradicted": 1, "equivalent": 2}.get(decision.verdict, 0)
    for look in looks[: decision.look]:
        found = (look.nominal.supports, look.nominal.opposes, look.nominal.within_margin)[place]
        levels = (decision.level, decision.level_equivalence)
        if found < thresholds(design, kind, look.number, *levels)[place]:
            return look.number
    return 0


def _after_stopping(member: Replayed, decision: Decision, design: Design) -> dict[str, float]:
    """p in stage-wise order and median-unbiased estimate of a study that stopped for a difference.

    Both are approximate: see :mod:`stopping`.
    """
    rules = member.assessment.rules
    of_a_difference = decision.verdict in ("supported", "contradicted")
    number = crossed_at(member.looks, decision, design, rules.kind)
    if not KINDS[rules.kind].two_sided or not of_a_difference or number == 0:
        return {"p_stagewise": nan, "median_unbiased": nan}
    look = member.looks[number - 1]
    estimate = look.estimate
    if not estimate.has_spread:
        return {"p_stagewise": nan, "median_unbiased": nan}
    middle = median_unbiased(
        design, number, estimate.difference / estimate.sd, level=decision.level
    )
    return {
        "p_stagewise": stagewise_p(design, number, look.nominal.p, level=decision.level),
        "median_unbiased": middle * estimate.sd,
    }


def _replayed(assessment: Assessment, design: Design, appearance: Sequence[object]) -> Replayed:
    pair, rules = assessment.pair, assessment.rules
    _refuse_other_designs(pair, rules.test_share)
    order = counting_order(pair.seeds, appearance)
    a, b = (values.mean(axis=1)[order] for values in (pair.values_a, pair.values_b))
    margin = nan if rules.margin is None else rules.margin
    looks = replay(
        a, b, design, kind=rules.kind, margin=margin, lower_is_better=rules.lower_is_better
    )
    return Replayed(assessment, a, b, looks)


def _refuse_other_designs(pair: Paired, test_share: float | None) -> None:
    if test_share is not None:
        raise ConfigError(
            "looks are of paired seeds, and folds share training data, of which there can be no "
            "more: compare them without --looks"
        )
    if not pair.paired:
        raise ConfigError(
            f"looks are of paired seeds, and {pair.a} and {pair.b} share none: compare them "
            "without --looks, or leave out --unpaired"
        )


def counting_order(seeds: Sequence[object], appearance: Sequence[object]) -> NDArray[np.int64]:
    """Places of seeds in the order in which they count: by number, text by first appearance.

    Examples
    --------
    >>> counting_order(["10", "9"], ["10", "9"]).tolist(), counting_order("ba", "ba").tolist()
    ([1, 0], [0, 1])
    """
    try:
        ranks = [float(str(seed)) for seed in seeds]
    except ValueError:
        first = {str(seed): place for place, seed in reversed(list(enumerate(appearance)))}
        ranks = [float(first.get(str(seed), len(first))) for seed in seeds]
    return np.argsort(ranks, kind="stable")
