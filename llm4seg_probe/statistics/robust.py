"""Seeds that do not belong to the rest: named, and what would be found without them.

They are never taken out of a verdict: a run that collapses is a result, and its arm's share of
collapsed runs is one of its own. What a t-test promises holds for normal differences; where they
look otherwise, :data:`MEASURED` says what simulated studies of that shape gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from llm4seg_probe.statistics import exact_tests, paired_tests
from llm4seg_probe.statistics.assessment import Assessment
from llm4seg_probe.statistics.kinds import Evidence, Kind
from llm4seg_probe.statistics.paired_tests import Estimate
from llm4seg_probe.statistics.verdicts import Verdict, evidence

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]
Shape = Literal["normal", "collapse", "skewed", "heavy tails"]

FEWEST_SEEDS = 5
FEWEST_FOR_SKEWNESS = 8
FALSE_ALARM = 0.01
"""Share of normal samples in which a seed is named all the same."""

COLLAPSE_SHARE, COLLAPSE_SPREADS = 0.5, 5.0


@dataclass(frozen=True)
class Robust:
    """What one comparison's seeds look like. Masks are by seed, (n,).

    outlying: in the differences. collapsed_a, collapsed_b: runs far worse than their own arm's.
    median, hodges_lehmann: of the differences. p_exact: sign flips, NaN beyond 40 seeds.
    """

    outlying: Mask
    collapsed_a: Mask
    collapsed_b: Mask
    median: float
    hodges_lehmann: float
    p_exact: float
    shape: Shape

    @property
    def named(self) -> Mask:
        """Seeds to be named: outlying, or with a collapsed run."""
        return self.outlying | self.collapsed_a | self.collapsed_b


def robust(a: Vector, b: Vector, lower_is_better: bool = False) -> Robust:
    """Look for seeds that do not belong, and estimate the difference without trusting the mean.

    a, b : (n,), paired scores by seed.
    """
    differences = a - b
    collapsed_a, collapsed_b = (collapsed(each, lower_is_better) for each in (a, b))
    out = outlying(differences)
    if (collapsed_a | collapsed_b).any():
        shape: Shape = "collapse"
    elif skewness_p(differences) < FALSE_ALARM:
        shape = "skewed"
    else:
        shape = "heavy tails" if out.any() else "normal"
    return Robust(
        out, collapsed_a, collapsed_b,
        float(np.median(differences)) if len(differences) else nan,
        hodges_lehmann(differences), exact_tests.sign_flip(differences), shape,
    )  # fmt: skip


def outlying(differences: Vector, alpha: float = FALSE_ALARM) -> Mask:
    """Values that a normal sample of this size would not hold; none below five.

    The generalised extreme studentised deviate test for up to a third of the values. Rosner,
    Technometrics 25, 1983; for one value it is Grubbs'.

    Examples
    --------
    >>> outlying(np.array([0.01, 0.012, 0.008, 0.011, -0.4])).tolist()
    [False, False, False, False, True]
    """
    n = len(differences)
    found = np.zeros(n, dtype=bool)
    if n < FEWEST_SEEDS:
        return found
    digit = paired_tests.last_digit(differences)
    left, order, last = np.ones(n, dtype=bool), [], 0
    for step in range(1, max(1, (n - 1) // 3) + 1):
        rest = differences[left]
        sd = rest.std(ddof=1)
        if sd <= paired_tests.ROUNDING * np.abs(differences).max():
            break
        apart = np.where(left, np.abs(differences - rest.mean()), -1.0)
        farthest = int(apart.argmax())
        order.append(farthest)
        left[farthest] = False
        many = n - step + 1
        t = stdtrit(many - 2, 1 - alpha / (2 * many))
        if apart[farthest] <= 2 * digit:
            continue  # what rounding alone may set apart
        if apart[farthest] / sd > (many - 1) * t / np.sqrt((many - 2 + t**2) * many):
            last = step
    found[order[:last]] = True
    return found


def collapsed(scores: Vector, lower_is_better: bool = False) -> Mask:
    """Runs that are worse than their arm's median by half of it, and by five of its spreads.

    The spread is 1.4826 times the median distance to the median, a normal sample's SD. An arm of
    which more than half has collapsed is not seen to have.

    Examples
    --------
    >>> collapsed(np.array([0.68, 0.66, 0.69, 0.12, 0.67])).tolist()
    [False, False, False, True, False]
    """
    if len(scores) < 3:
        return np.zeros(len(scores), dtype=bool)
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(np.abs(scores - middle)))
    worse = scores - middle if lower_is_better else middle - scores
    return np.asarray(worse > max(COLLAPSE_SHARE * abs(middle), COLLAPSE_SPREADS * spread))


def hodges_lehmann(differences: Vector) -> float:
    """Median of the means of all pairs, each value with itself too; NaN for none.

    Hodges & Lehmann, Annals of Mathematical Statistics 34, 1963.

    Examples
    --------
    >>> hodges_lehmann(np.array([0.0, 1.0, 8.0]))
    2.5
    """
    if len(differences) == 0:
        return nan
    first, second = np.triu_indices(len(differences))
    return float(np.median((differences[first] + differences[second]) / 2))


def skewness_p(values: Vector) -> float:
    """Two-sided p of a normal sample's skewness; 1 below eight values or without spread.

    D'Agostino, Biometrika 57, 1970.
    """
    n = len(values)
    moved = values - values.mean() if n else values
    variance = float((moved**2).mean()) if n else 0.0
    if n < FEWEST_FOR_SKEWNESS or not variance > 0:
        return 1.0
    root_b1 = float((moved**3).mean()) / variance**1.5
    y = root_b1 * np.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    b2 = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = np.sqrt(2 * (b2 - 1)) - 1
    scaled = y / np.sqrt(2 / (w2 - 1))
    return float(2 * ndtr(-abs(np.arcsinh(scaled)) / np.sqrt(np.log(w2) / 2)))


def without(
    a: Vector,
    b: Vector,
    left_out: Mask,
    thresholds: tuple[float, float, float],
    *,
    kind: Kind = "superiority",
    margin: float = nan,
    lower_is_better: bool = False,
) -> tuple[Estimate, Verdict]:
    """Estimate and verdict as they would be without some of the seeds.

    thresholds: nominal p below which the claim, its opposite and equivalence are decided.
    """
    estimate = paired_tests.paired(a[~left_out], b[~left_out])
    found = evidence(kind, estimate, margin, lower_is_better)
    if estimate.n < 2:
        return estimate, "not run"
    if found.supports < thresholds[0]:
        return estimate, "supported"
    if found.opposes < thresholds[1]:
        return estimate, "contradicted"
    return estimate, "equivalent" if found.within_margin < thresholds[2] else "inconclusive"


MOST_NAMED = 5


class Measured(NamedTuple):
    """What studies of a shape gave without an effect: ``reports/statistics/sequential.csv``.

    decided: share decided falsely over looks at 5, 10, …, 320 seeds under Pocock's constant.
    interval: share in which a single 95 % interval of five seeds held the truth.
    """

    like: str
    decided: float
    interval: float


MEASURED: dict[Shape, Measured] = {
    "collapse": Measured("one arm's run in ten collapses", 0.49, 0.47),
    "skewed": Measured("the differences are as skewed as a lognormal's", 0.24, 0.82),
    "heavy tails": Measured("the tails are those of t with 3 degrees of freedom", 0.040, 0.96),
}


def robust_sentence(
    found: Robust,
    names: tuple[str, str],
    seeds: Sequence[object],
    differences: Vector,
    rest: Estimate,
    verdict: Verdict,
) -> str:
    """Seeds that do not belong, each by name, and what the others say; empty where all belong.

    rest, verdict: without the seeds named (:func:`robust.without`).
    """
    places = np.flatnonzero(found.named)
    if len(places) == 0:
        return ""
    told = [
        f"{seeds[k]} ({differences[k]:+.3g}{_collapsed_in(found, names, int(k))})"
        for k in places[:MOST_NAMED]
    ]
    more = f" and {len(places) - MOST_NAMED} more" if len(places) > MOST_NAMED else ""
    one = len(places) == 1
    subject = f"seed {told[0]} does" if one else f"seeds {', '.join(told)}{more} do"
    exact = f", exact p = {found.p_exact:.2g}" if found.p_exact == found.p_exact else ""
    return (
        f"{subject} not belong to the rest; without {'it' if one else 'them'} {verdict}: "
        f"{rest.difference:+.3g} over {rest.n}; of all seeds the median is {found.median:+.3g}, "
        f"Hodges-Lehmann {found.hodges_lehmann:+.3g}{exact}"
    )


def collapse_sentence(names: tuple[str, str], a: Mask, b: Mask) -> str:
    """Share of collapsed runs of each arm, a result of its own; empty where none collapsed."""
    if not (a.any() or b.any()):
        return ""
    return " and ".join(
        f"{int(mask.sum())} of {len(mask)} runs of {name} collapsed"
        for name, mask in zip(names, (a, b), strict=True)
    )


def shape_sentence(shape: Shape, sequential: bool) -> str:
    """What a t-test is worth where the differences look like this; empty for normal ones."""
    if shape == "normal":
        return ""
    like, decided, interval = MEASURED[shape]
    held = f"a 95 % interval of five seeds held the truth in {100 * interval:.0f} %"
    looks = (
        f", and looks from five seeds on decided {100 * decided:.2g} % without an effect, not 5 %"
        if sequential
        else ""
    )
    return f"in simulated studies where {like} {held}{looks}"


def _collapsed_in(found: Robust, names: tuple[str, str], index: int) -> str:
    arms = [
        name
        for name, mask in zip(names, (found.collapsed_a, found.collapsed_b), strict=True)
        if mask[index]
    ]
    return f", {' and '.join(arms)} collapsed" if arms else ""


Rejudge = Callable[[int, Evidence], Verdict]
"""The verdict that fewer seeds would have, from their number and evidence, by the same rules."""

COLUMNS = ("median_difference", "hodges_lehmann", "collapsed_a", "collapsed_b", "shape")
"""Columns beside the others; empty where nothing is paired, or below five seeds."""


def with_robust(
    row: Mapping[str, Any], assessment: Assessment, rejudge: Rejudge, sequential: bool = False
) -> dict[str, Any]:
    """A row of comparison.csv with :data:`COLUMNS`, and in its sentence what they say.

    A verdict is never changed by it. Seeds are all that the comparison has.
    """
    pair, rules = assessment.pair, assessment.rules
    fixed = pair.paired and rules.test_share is None and len(pair.seeds) >= FEWEST_SEEDS
    if not fixed:
        return {**row, **dict.fromkeys(COLUMNS)}
    a, b = pair.values_a.mean(axis=1), pair.values_b.mean(axis=1)
    found = robust(a, b, rules.lower_is_better)
    columns = {
        "median_difference": found.median, "hodges_lehmann": found.hodges_lehmann,
        "collapsed_a": int(found.collapsed_a.sum()), "collapsed_b": int(found.collapsed_b.sum()),
        "shape": found.shape,
    }  # fmt: skip
    names = (pair.a, pair.b)
    told = []
    if found.named.any():
        left = ~found.named
        rest = paired_tests.paired(a[left], b[left])
        again = evidence(rules.kind, rest, rules.margin, rules.lower_is_better)
        verdict = rejudge(rest.n, again)
        told.append(robust_sentence(found, names, pair.seeds, a - b, rest, verdict))
    told.append(collapse_sentence(names, found.collapsed_a, found.collapsed_b))
    told.append(shape_sentence(found.shape, sequential))
    return {**row, **columns, "sentence": " ".join([str(row["sentence"]), *_said(told)])}


def _said(told: Sequence[str]) -> list[str]:
    return [f"{text[0].upper()}{text[1:]}." for text in told if text]
