"""What a number of seeds can show: power of the t-test, smallest effect, seeds that it takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, nctdtr, stdtrit

Spread = Callable[[int], tuple[float, float]]
"""Standard error and degrees of freedom that n seeds would give."""

MOST_SEEDS = 1_000_000


def t_power(shift: float, df: float, alpha: float = 0.05) -> float:
    """Power of the two-sided t-test. shift: true difference over its standard error.

    The noncentral t distribution with both tails, as statsmodels' ``TTestPower``.
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
    """Smallest true difference that would have been found with this power, in the score's unit.

    NaN without a spread to measure it on.
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
    """Fewest seeds (of each arm) that find a true difference with this power; at least 2.

    Infinite for no effect, or more than a million seeds; NaN for an unknown spread.
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
