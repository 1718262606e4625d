"""Stopping of a study with declared looks, and its effect on an estimate: simulated.

Differences are normal with a known effect, in units of their standard deviation. A block of m new
seeds enters by its mean and its sum of squares alone, so that a study costs two draws per look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.randomness import address
from llm4seg_probe.statistics.boundaries import NullPath
from llm4seg_probe.statistics.kinds import KINDS, Distances, Kind
from llm4seg_probe.statistics.looks import Design, levels
from llm4seg_probe.statistics.verdicts import Verdict

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

STUDIES = 40_000
OUTCOMES: tuple[Verdict, ...] = ("supported", "contradicted", "equivalent")
LEAST_POWER = 0.1


@dataclass(frozen=True)
class Paths:
    """Mean and standard deviation of M studies' differences at K looks. n: (K,); others (M, K)."""

    n: Vector
    mean: Matrix
    sd: Matrix


class Start(NamedTuple):
    """Where studies go on from: seeds so far, their mean difference and standard deviation."""

    n: int
    mean: float
    sd: float


FROM_NOTHING = Start(0, 0.0, 0.0)


class Crossed(NamedTuple):
    """First boundary of each study: index of its look (K for none), and of its outcome (3)."""

    look: NDArray[np.int64]
    outcome: NDArray[np.int64]


@dataclass(frozen=True)
class Expected:
    """When a study of this effect will end. Effects are in the unit of the SD that was assumed.

    supported, contradicted, equivalent: (K,), chance to end so at each look. undecided: chance to
    reach the last look without a decision. mean_seeds counts those as the last look's. error: the
    largest standard error of the chances, mean_seeds_error: that of the mean.
    """

    effect: float
    looks: tuple[int, ...]
    supported: Vector
    contradicted: Vector
    equivalent: Vector
    undecided: float
    mean_seeds: float
    mean_seeds_error: float
    error: float

    @property
    def ends(self) -> Vector:
        """Chance to end at each look with a decision, (K,)."""
        return self.supported + self.contradicted + self.equivalent


@dataclass(frozen=True)
class Outlook:
    """What a study that goes on can still become.

    chances: by assumed effect, in words, the chance of each verdict by the last look. best: the
    largest of them all, and ``hopeless`` where that is below :data:`LEAST_POWER`. Boundaries take
    no account of it: a study may go on all the same, and keeps its error rate.
    """

    chances: dict[str, dict[Verdict, float]]

    @property
    def best(self) -> float:
        """Largest chance of a decision under any of the effects."""
        return max(max(each.values()) for each in self.chances.values())

    @property
    def hopeless(self) -> bool:
        """Whether no verdict is likely enough to go on for."""
        return self.best < LEAST_POWER


def paths_of(differences: Matrix, looks: Sequence[int]) -> Paths:
    """Paths of studies whose every difference is given. differences: (M, n), n the last look."""
    n = np.array(looks)
    # From the first seed on: a study far from zero keeps its digits in the sum of squares.
    start = differences[:, :1]
    moved = differences - start
    sums = np.cumsum(moved, axis=1)[:, n - 1]
    squares = np.cumsum(moved**2, axis=1)[:, n - 1]
    mean = sums / n
    variance = np.maximum(squares - n * mean**2, 0.0) / (n - 1)
    return Paths(n.astype(np.float64), start + mean, np.sqrt(variance))


def drawn(
    looks: Sequence[int],
    studies: int,
    seed: int,
    *,
    effect: float = 0.0,
    sd: float = 1.0,
    start: Start = FROM_NOTHING,
) -> Paths:
    """Paths of normal studies at looks, all of which lie after their common start."""
    generator = np.random.default_rng(seed)
    n = start.n
    mean = np.full(studies, float(start.mean))
    squares = np.full(studies, float(max(n - 1, 0)) * start.sd**2)
    means, sds = np.empty((studies, len(looks))), np.empty((studies, len(looks)))
    for k, after in enumerate(looks):
        added = after - n
        block = effect + sd / np.sqrt(added) * generator.standard_normal(studies)
        if added > 1:
            squares += sd**2 * generator.chisquare(added - 1, studies)
        apart = block - mean
        squares += apart**2 * (n * added / after)
        mean += apart * (added / after)
        n = after
        means[:, k], sds[:, k] = mean, np.sqrt(squares / (n - 1))
    return Paths(np.array(looks, dtype=np.float64), means, sds)


def first_crossed(
    paths: Paths,
    design: Design,
    *,
    kind: Kind = "superiority",
    margin: float = nan,
    level: float | None = None,
    level_equivalence: float | None = None,
) -> Crossed:
    """First boundary that each study crosses, by the rules of :mod:`verdicts`.

    paths: at the last looks of the design, all of them or fewer. level, level_equivalence: of the
    claim, where its family leaves it less than the design's alpha.
    """
    own = design.alpha if level is None else level
    skipped = len(design.looks) - len(paths.n)
    error = paths.sd / np.sqrt(paths.n)

    def critical(sides: int, at: float) -> Vector:
        nominal = levels(design, sides).thresholds(at)[skipped:]
        return _critical(nominal, sides, paths.n - 1)

    with np.errstate(divide="ignore", invalid="ignore"):
        null, low, high = ((paths.mean - bound) / error for bound in (0.0, -margin, margin))
    equivalent = np.minimum(low, -high) > critical(1, level_equivalence or design.alpha)
    supported, contradicted = KINDS[kind].crossed(
        Distances(null, low, high), lambda sides: critical(sides, own)
    )
    crossed = np.stack([supported, contradicted, equivalent], axis=-1)
    some = np.any(crossed, axis=-1)
    look = np.where(np.any(some, axis=1), some.argmax(axis=1), len(paths.n))
    at = np.minimum(look, len(paths.n) - 1)
    outcome = crossed[np.arange(len(at)), at].argmax(axis=-1)
    return Crossed(look, np.where(look < len(paths.n), outcome, len(OUTCOMES)))


def expected(
    design: Design,
    effect: float,
    *,
    sd: float = 1.0,
    margin: float = nan,
    kind: Kind = "superiority",
    level: float | None = None,
    studies: int = STUDIES,
    seed: int = 0,
) -> Expected:
    """Mean seeds and chances of a study whose differences have this mean and SD.

    Examples
    --------
    >>> found = expected(Design((5, 10, 20, 40)), 1.0)
    >>> round(found.mean_seeds), round(float(found.supported.sum()), 2)
    (14, 1.0)
    """
    paths = drawn(design.looks, studies, address(seed, "expected"), effect=effect, sd=sd)
    found = first_crossed(paths, design, kind=kind, margin=margin, level=level)
    count = len(design.looks)
    supported, contradicted, equivalent = (
        np.bincount(found.look[found.outcome == index], minlength=count)[:count] / studies
        for index in range(len(OUTCOMES))
    )
    seeds = np.array([*design.looks, design.looks[-1]])[found.look]
    undecided = float((found.look == count).mean())
    each = np.concatenate([supported, contradicted, equivalent, [undecided]])
    return Expected(
        effect=effect,
        looks=design.looks,
        supported=supported,
        contradicted=contradicted,
        equivalent=equivalent,
        undecided=undecided,
        mean_seeds=float(seeds.mean()),
        mean_seeds_error=float(seeds.std() / np.sqrt(studies)),
        error=float(np.sqrt(each * (1 - each) / studies).max()),
    )


def outlook(
    design: Design,
    start: Start,
    *,
    margin: float = nan,
    kind: Kind = "superiority",
    level: float | None = None,
    level_equivalence: float | None = None,
    until: int | None = None,
    studies: int = STUDIES // 2,
    seed: int = 0,
) -> Outlook:
    """Conditional power of every verdict, at the margin on either side, at the estimate, at none.

    start: what the seeds so far gave; a higher score is better. The SD is taken from them. until:
    the seeds that there will be, where they end before the last look. Raises
    ConfigError where no look is left, or the seeds have no spread to go by.
    """
    looks = [look for look in design.looks if look > start.n]
    if not looks:
        raise ConfigError(f"{start.n} seeds are the last look: nothing is left to expect")
    if not start.sd > 0:
        raise ConfigError("the differences do not vary between seeds: nothing can be expected")
    effects = {"at the estimate": start.mean}
    if margin == margin:
        effects |= {
            "at the margin": margin,
            "at the margin below": -margin,
            "without a difference": 0.0,
        }
    chances: dict[str, dict[Verdict, float]] = {}
    for name, effect in effects.items():
        paths = drawn(
            looks, studies, address(seed, "outlook"), effect=effect, sd=start.sd, start=start
        )
        found = first_crossed(
            paths, design, kind=kind, margin=margin, level=level,
            level_equivalence=level_equivalence,
        )  # fmt: skip
        in_time = found.look < sum(until is None or look <= until for look in looks)
        chances[name] = {
            verdict: float(((found.outcome == index) & in_time).mean())
            for index, verdict in enumerate(OUTCOMES)
        }
    return Outlook(chances)


def stagewise_p(
    design: Design, look: int, p: float, *, sides: int = 2, level: float | None = None
) -> float:
    """p of a study that stopped, in stage-wise order: an earlier stop counts as more extreme.

    look: from 1, at which the boundary was crossed with this nominal p. Exact for normal
    differences, if the study stops at nothing but this boundary; approximate therefore.
    """
    nominal = levels(design, sides).thresholds(design.alpha if level is None else level)
    one_sided = _path_to(design.looks[:look]).stagewise(nominal[:look], sides, p / sides)
    return min(1.0, sides * one_sided)


def median_unbiased(
    design: Design,
    look: int,
    effect: float,
    *,
    sides: int = 2,
    level: float | None = None,
    studies: int = STUDIES,
    seed: int = 0,
) -> float:
    """True effect under which half of all studies would have given more than this one did.

    "More" in stage-wise order: stopped above at an earlier look, or a larger mean at the same
    one. effect: mean over SD of the differences at ``look`` (from 1), where the study stopped; so
    is the answer. The plain mean of studies that stopped early lies too far from zero.
    Approximate: the SD is taken as known from the study. At the first look it is the mean itself.
    """
    if effect < 0:
        return -median_unbiased(
            design, look, -effect, sides=sides, level=level, studies=studies, seed=seed
        )
    if look == 1:
        return effect
    nominal = levels(design, sides).thresholds(design.alpha if level is None else level)
    paths = drawn(design.looks[:look], studies, address(seed, "median unbiased"))
    critical = _critical(nominal[: look - 1], sides, paths.n[:-1] - 1)
    error = paths.sd[:, :-1] / np.sqrt(paths.n[:-1])

    def more(true: float) -> float:
        t = (paths.mean[:, :-1] + true) / error
        above, last = t > critical, paths.mean[:, -1] + true >= effect
        left = above | (t < -critical) if sides == 2 else above
        first = left.argmax(axis=1)
        return float(np.where(left.any(axis=1), above[np.arange(studies), first], last).mean())

    step = 4 / np.sqrt(design.looks[look - 1])
    low, high = effect - step, effect + step
    while high - low > 1e-4 * step:
        middle = (low + high) / 2
        low, high = (low, middle) if more(middle) > 0.5 else (middle, high)
    return float(low + high) / 2


def _critical(nominal: Sequence[float], sides: int, df: Vector) -> Vector:
    """Critical t of nominal p by look; infinite for a look that cannot stop."""
    p = np.array(nominal)
    return np.where(p > 0, -stdtrit(df, np.where(p > 0, p, 0.5) / sides), np.inf)


@cache
def _path_to(looks: tuple[int, ...]) -> NullPath:
    return NullPath(looks)
