"""A comparison replayed at its declared looks, and the decisions of a family of them.

A verdict remembers its looks: the first boundary crossed decides and stands, and seeds after it
are overrun. Each test of a claim (:mod:`verdicts`) has a path of p-values, and at each look the
smallest level whose boundary its p crosses; the smallest of these so far is the repeated p, which
Holm adjusts like any other p (Maurer & Bretz, Statistics in Biopharmaceutical Research 5, 2013;
Liu & Anderson, JASA 103, 2008). Repeated intervals (Jennison & Turnbull, JRSS B 51, 1989) hold at
all looks together, for one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import inf, isnan, nan

import numpy as np
from numpy.typing import NDArray

from llm4seg_probe.statistics import paired_tests
from llm4seg_probe.statistics.kinds import KINDS, Evidence, Kind
from llm4seg_probe.statistics.looks import Design, Levels, levels
from llm4seg_probe.statistics.multiplicity import holm, holm_at
from llm4seg_probe.statistics.paired_tests import Estimate
from llm4seg_probe.statistics.verdicts import Verdict, evidence, verdict

Vector = NDArray[np.float64]

UNKNOWN = Evidence(nan, nan, nan, nan, nan)


@dataclass(frozen=True)
class Look:
    """One comparison at one look. ``number`` counts from 1.

    nominal: p-values as if this were the only look. attained: smallest levels whose boundaries
    they cross. interval: the repeated one; infinite where the look cannot stop, NaN without spread.
    """

    number: int
    estimate: Estimate
    nominal: Evidence
    attained: Evidence
    interval: tuple[float, float]

    @property
    def n(self) -> int:
        """Number of seeds."""
        return self.estimate.n


@dataclass(frozen=True)
class Decision:
    """What a claim's looks gave.

    look: from 1, the one that decided, else the last one reached; 0 for none. level: the level
    at which Holm tests the claim, the decisions on the others of its family being what they are.
    p_equivalence, level_equivalence: the same for equivalence within the margin.
    """

    look: int
    verdict: Verdict
    p_adjusted: float
    level: float
    p_equivalence: float = nan
    level_equivalence: float = nan

    @property
    def decided(self) -> bool:
        """Whether a boundary was crossed."""
        return self.verdict not in ("inconclusive", "not run")


def replay(
    a: Vector,
    b: Vector,
    design: Design,
    *,
    kind: Kind = "superiority",
    margin: float = nan,
    lower_is_better: bool = False,
) -> tuple[Look, ...]:
    """Judge paired scores at every declared look that they reach.

    Parameters
    ----------
    a, b : (n,)
        Scores by seed, in the order in which seeds count; the k-th of each from the same seed.
    margin : float
        Smallest difference that matters; NaN for none, and nothing about equivalence.

    Examples
    --------
    >>> a = np.array([0.62, 0.63, 0.61, 0.64, 0.63])
    >>> b = np.array([0.61, 0.60, 0.59, 0.62, 0.61])
    >>> [(look.n, round(look.attained.p, 3)) for look in replay(a, b, Design((3, 5, 10)))]
    [(3, 0.171), (5, 0.009)]
    """
    constants = levels(design).thresholds(design.alpha)
    found = []
    for index, n in enumerate(design.looks[: design.reached(len(a))]):
        estimate = paired_tests.paired(a[:n], b[:n])
        nominal = evidence(kind, estimate, margin, lower_is_better)
        low, high = estimate.interval(1 - constants[index]) if constants[index] else (-inf, inf)
        attained = _attained(design, kind, index, nominal)
        found.append(Look(index + 1, estimate, nominal, attained, (low, high)))
    return tuple(found)


def repeated(looks: Sequence[Look]) -> tuple[Evidence, ...]:
    """Repeated p-values by look: the smallest level attained at this look or an earlier one."""
    if not looks:
        return ()
    table = np.array([astuple(look.attained) for look in looks])
    return tuple(Evidence(*map(float, row)) for row in np.fmin.accumulate(table))


def conjunction(
    members: Sequence[Sequence[Evidence]], kind: Kind = "superiority"
) -> tuple[Evidence, ...]:
    """Repeated p-values of a claim that needs all of these comparisons, as far as all reach.

    Each comparison keeps what it showed at its own look. The claim's opposite is shown by any of
    them, so its p is multiplied by their number.
    """
    count = len(members)
    found = []
    for together in zip(*members, strict=False):
        supports = max(each.supports for each in together)
        opposes = min(1.0, count * min(each.opposes for each in together))
        p = min(supports, opposes) if KINDS[kind].two_sided else supports
        one_sided = max(each.one_sided for each in together)
        within = max(each.within_margin for each in together)
        found.append(Evidence(p, supports, opposes, one_sided, within))
    return tuple(found)


def decide(members: Sequence[Sequence[Evidence]], alpha: float = 0.05) -> list[Decision]:
    """Decide the claims of one family, look by look, with Holm's adjustment.

    members: repeated p-values by look (:func:`repeated`, :func:`conjunction`); a claim that is
    tested once has one entry, one that could not be tested has none and stays in the family's
    size. What was decided keeps its look and its p; the others go on.

    Equivalences are a second family of the same claims, with Holm's adjustment of its own. Without
    it 20 arms at the margin give a false "equivalent" in 36 % of studies, with it in 4 %. One
    family of both would cost every claim of a difference power, and protects little more: no
    comparison can have both errors, since an effect is not zero and as large as the margin at
    once. A family of ten without an effect and ten at the margin errs in either way in at most
    10 % of studies, measured 8 % (``reports/statistics/sequential.md``).
    """
    count = len(members)
    now, look = [UNKNOWN] * count, [0] * count
    verdicts: list[Verdict] = ["inconclusive" if each else "not run" for each in members]
    open_ = {index for index, each in enumerate(members) if each}
    for step in range(max((len(each) for each in members), default=0)):
        for index in open_:
            if step < len(members[index]):
                now[index], look[index] = members[index][step], step + 1
        for index in sorted(open_):
            verdicts[index] = _verdict(now, index, alpha)
        open_ = {index for index in open_ if verdicts[index] == "inconclusive"}
    p, within = [each.p for each in now], [each.within_margin for each in now]
    adjusted, adjusted_within = holm(p), holm(within)
    return [
        Decision(
            look[index], verdicts[index], adjusted[index], holm_level(p, index, alpha),
            nan if isnan(adjusted_within[index]) else adjusted_within[index],
            holm_level(within, index, alpha),
        )
        for index in range(count)
    ]  # fmt: skip


def holm_level(p: Sequence[float], index: int, alpha: float) -> float:
    """Level at which Holm tests one member of a family, given the p-values of the others.

    Examples
    --------
    >>> holm_level([0.01, 0.03], 0, 0.05), holm_level([0.01, 0.03], 1, 0.05)
    (0.025, 0.05)
    """
    without = list(p)
    without[index] = 1.0
    rejected = sum(each < alpha for each in holm(without))
    return alpha / (len(without) - rejected)


def thresholds(
    design: Design, kind: Kind, look: int, level: float, level_equivalence: float = nan
) -> tuple[float, float, float]:
    """Nominal p that decide for a claim, against it, and on equivalence, at a look (from 1).

    level, level_equivalence: what their families leave them; NaN for all of the design's alpha.
    0 where the look cannot stop.
    """
    _, supports, opposes, _, within = KINDS[kind].sides
    of_equivalence = design.alpha if isnan(level_equivalence) else level_equivalence
    return (
        levels(design, supports).thresholds(level)[look - 1],
        levels(design, opposes).thresholds(level)[look - 1],
        levels(design, within).thresholds(of_equivalence)[look - 1],
    )


def threshold(design: Design, kind: Kind, decision: Decision) -> float:
    """Nominal p that decides at a decision's look: of equivalence where that was found.

    0 for a look that cannot stop, NaN before the first.
    """
    if decision.look == 0:
        return nan
    found = thresholds(design, kind, decision.look, decision.level, decision.level_equivalence)
    return found[{"contradicted": 1, "equivalent": 2}.get(decision.verdict, 0)]


def _attained(design: Design, kind: Kind, index: int, nominal: Evidence) -> Evidence:
    tables: dict[int, Levels] = {sides: levels(design, sides) for sides in (1, 2)}
    values = [
        float(tables[sides].attained(index, p))
        for sides, p in zip(KINDS[kind].sides, astuple(nominal), strict=True)
    ]
    return Evidence(*values)


def _verdict(family: Sequence[Evidence], index: int, alpha: float) -> Verdict:
    found = family[index]
    if isnan(found.p):
        return "inconclusive"
    p = [each.p for each in family]
    supports = holm_at(p, index, found.supports)
    opposes = holm_at(p, index, found.opposes)
    within = holm_at([each.within_margin for each in family], index, found.within_margin)
    return verdict(2, supports, opposes, within, alpha)
