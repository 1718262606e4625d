"""Power of the t-test: smallest effect, seeds that an effect takes, components of the spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtri, nctdtr, stdtrit

from llm4seg_probe.statistics.bootstrap import totals

Spread = Callable[[int], tuple[float, float]]
"""Standard error and degrees of freedom that n seeds would give."""

MOST_SEEDS = 1_000_000


def t_power(shift: float, df: float, alpha: float = 0.05) -> float:
    """Return the power of the two-sided t-test (the noncentral t distribution, both tails).

    Parameters
    ----------
    shift : float
        True difference over its standard error.
    df : float
        Degrees of freedom.
    alpha : float
        Error rate of the test.

    Returns
    -------
    float
        Probability that p falls below alpha.

    Examples
    --------
    Five pairs whose differences have a spread of 0.01, a true difference of 0.015:

    >>> round(t_power(0.015 / (0.01 / 5**0.5), df=4), 3)
    0.711
    """
    shift = abs(shift)
    critical = float(stdtrit(df, 1 - alpha / 2))
    upper = 1 - float(nctdtr(df, shift, critical))
    # Far from zero the lower tail underflows to NaN in the library; it is nothing there.
    lower = float(nctdtr(df, shift, -critical)) if shift < 8 else 0.0
    return upper + lower


def detectable_shift(df: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """True difference, in standard errors, that the t-test finds with this power."""
    high = float(stdtrit(df, 1 - alpha / 2)) + 2.0
    while t_power(high, df, alpha) < power:
        high *= 2
    return float(brentq(lambda shift: t_power(shift, df, alpha) - power, 0.0, high, xtol=1e-12))


def smallest_detectable(error: float, df: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true difference that would have been found with this power.

    Parameters
    ----------
    error, df : float
        Standard error and degrees of freedom of the estimate.
    alpha, power : float
        Error rate of the two-sided t-test, and the wanted probability of finding the difference.

    Returns
    -------
    float
        In the score's unit; NaN without a spread to measure it on.

    Examples
    --------
    >>> round(smallest_detectable(0.01 / 5**0.5, df=4), 4)
    0.0168
    """
    return detectable_shift(df, alpha, power) * error if error > 0 else np.nan


def paired_spread(sd: float) -> Spread:
    """Standard error and degrees of freedom by number of pairs whose differences have this SD."""
    return lambda n: (sd / np.sqrt(n), n - 1)


def welch_spread(sd_a: float, sd_b: float) -> Spread:
    """The same for n unpaired seeds in each arm."""
    a, b = sd_a**2, sd_b**2
    return lambda n: (np.sqrt((a + b) / n), (a + b) ** 2 * (n - 1) / (a**2 + b**2))


def seeds_needed(effect: float, spread: Spread, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the fewest seeds (of each arm) that find a true difference with this power.

    Parameters
    ----------
    effect : float
        True difference, in the score's unit.
    spread : callable
        Standard error and degrees of freedom by number of seeds: :func:`paired_spread` or
        :func:`welch_spread`.
    alpha, power : float
        Error rate of the two-sided t-test, and the wanted probability of finding the difference.

    Returns
    -------
    float
        At least 2; infinite for no effect, or more than a million seeds; NaN for an unknown
        spread.

    Examples
    --------
    >>> seeds_needed(0.005, paired_spread(0.01))
    34.0
    """
    if np.isnan(effect) or np.isnan(spread(2)[0]):
        return np.nan

    def enough(n: int) -> bool:
        error, df = spread(n)
        return error == 0 or t_power(effect / error, df, alpha) >= power

    if effect == 0 or not enough(MOST_SEEDS):
        return np.inf
    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return float(high)


def sd_interval(sd: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a standard deviation known from n values, for normal data.

    Three values know it only to a factor of 0.5 to 6.

    >>> low, high = sd_interval(1.0, 3)
    >>> round(low, 2), round(high, 2)
    (0.52, 6.28)
    """
    if n < 2:
        return np.nan, np.nan
    tail = (1 - level) / 2
    scale = sd * np.sqrt(n - 1)
    return (
        float(scale / np.sqrt(chdtri(n - 1, tail))),
        float(scale / np.sqrt(chdtri(n - 1, 1 - tail))),
    )


Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Components:
    """Variance of the per-seed mean difference, taken apart.

    seeds: what remains with any number of cases. cells: of one unit (group or case) in one seed;
    a seed's mean over G units carries cells / G. units: G in the pilot.
    """

    seeds: float
    cells: float
    units: int

    def sd(self, units: int) -> float:
        """Standard deviation of per-seed differences if there were this many units."""
        return float(np.sqrt(self.seeds + self.cells / units))


def components(differences: Matrix, groups: NDArray[np.int64] | None) -> Components:
    """Variance components by the method of moments, for seeds crossed with groups.

    differences: (S, C), one row per seed; groups: (C,), numbered from 0, None without cases. The
    differences of a seed are averaged within each group first, so that slices of one patient
    count once. A case without group is its own; a table without cases has one unit, and all
    spread is the seeds'. A negative component counts as none.
    Searle, Casella & McCulloch, Variance Components, 1992, ch. 4.
    """
    if groups is None or int(groups.max()) == 0:
        return Components(float(differences.mean(axis=1).var(ddof=1)), 0.0, 1)
    data = totals(differences, groups)
    means = data.sums / data.sizes
    n_seeds, units = means.shape
    residual = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    cells = float((residual**2).sum() / ((n_seeds - 1) * (units - 1)))
    between = float(means.mean(axis=1).var(ddof=1))
    return Components(max(0.0, between - cells / units), min(cells, between * units), units)
