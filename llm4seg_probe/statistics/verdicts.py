"""Verdicts: rules written before the data, as pure functions, and the sentence that goes with each.

In this order: fewer than two seeds, ``not run``; adjusted p below alpha for the claim,
``supported``; the same for its opposite, ``contradicted``; equivalent within the margin,
``equivalent``; else ``inconclusive``.

| kind | the claim | its opposite |
| --- | --- | --- |
| superiority | a is better than b | a is worse than b |
| non-inferiority | a is not worse than b by the margin | a is worse by more than the margin |
| equivalence | a and b differ by less than the margin | they differ by more than the margin |
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import Literal

from llm4seg_probe.statistics import equivalence
from llm4seg_probe.statistics.estimates import Estimate

Kind = Literal["superiority", "non-inferiority", "equivalence"]
Verdict = Literal["supported", "contradicted", "equivalent", "inconclusive", "not run"]


@dataclass(frozen=True)
class Evidence:
    """p-values of one comparison, before any adjustment.

    p: the one reported, two-sided for superiority. supports, opposes: p of the claim and of its
    opposite; for superiority the two-sided p on the side where the difference lies, 1 on the
    other. one_sided: p of the claim alone, by which several comparisons are ranked.
    """

    p: float
    supports: float
    opposes: float
    one_sided: float
    within_margin: float


def evidence(
    kind: Kind, estimate: Estimate, margin: float, lower_is_better: bool = False
) -> Evidence:
    """What an estimate of a − b says for and against a claim of this kind.

    Without spread between the seeds the exact sign-flip test stands in for the t-test. All NaN
    for fewer than two seeds.
    """
    if estimate.n < 2:
        return Evidence(nan, nan, nan, nan, nan)
    better = _mirrored(estimate) if lower_is_better else estimate
    within = equivalence.tost(better, margin)
    if kind == "superiority":
        above, below = equivalence.above(better, 0.0), equivalence.below(better, 0.0)
        two_sided = min(1.0, 2 * min(above, below))
        supports, opposes = (two_sided, 1.0) if better.difference > 0 else (1.0, two_sided)
        return Evidence(two_sided, supports, opposes, above, within)
    if kind == "non-inferiority":
        supports = equivalence.above(better, -margin)
        opposes = equivalence.below(better, -margin)
        return Evidence(supports, supports, opposes, supports, within)
    beyond = min(equivalence.above(better, margin), equivalence.below(better, -margin))
    apart = min(1.0, 2 * beyond)  # with a narrow margin either side alone would use up alpha
    return Evidence(within, within, apart, within, within)


def verdict(
    n_seeds: int, supports: float, opposes: float, within_margin: float, alpha: float = 0.05
) -> Verdict:
    """The verdict on a claim from its adjusted p-values; see the module for the rules.

    >>> verdict(5, supports=0.01, opposes=1.0, within_margin=0.6)
    'supported'
    """
    if n_seeds < 2:
        return "not run"
    if supports < alpha:
        return "supported"
    if opposes < alpha:
        return "contradicted"
    return "equivalent" if within_margin < alpha else "inconclusive"


def _mirrored(estimate: Estimate) -> Estimate:
    return Estimate(estimate.n, -estimate.difference, estimate.sd, estimate.error, estimate.df)
