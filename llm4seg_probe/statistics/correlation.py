"""Repeated-measures correlation: do two measurements rise together within each group?

Of runs in several arms, each arm's mean is taken off both measurements, so that what makes one arm
better than another plays no part. It is the partial correlation given the group: the analysis of
covariance with one slope for all groups. Bland & Altman, BMJ 310, 1995; Bakdash & Marusich,
Frontiers in Psychology 8, 2017, with the interval of their corrigendum (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atanh, ceil, inf, nan, sqrt, tanh

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

Vector = NDArray[np.float64]

FEWEST_DF = 2
"""Fisher's interval divides by the root of df − 1."""


@dataclass(frozen=True)
class Correlation:
    """A correlation within groups, and what it says.

    n: number of points. groups: number of groups. r: NaN where a measurement does not vary within
    any group. slope: of y over x, the same in all groups. across: correlation of the groups' means,
    which says nothing about what happens within one; NaN for fewer than three.
    """

    n: int
    groups: int
    r: float
    slope: float
    across: float

    @property
    def df(self) -> int:
        """Degrees of freedom, n − groups − 1."""
        return self.n - self.groups - 1

    @property
    def z(self) -> float:
        """Fisher's z, atanh r."""
        return atanh(self.r) if abs(self.r) < 1 else inf * self.r

    @property
    def error(self) -> float:
        """Standard error of z."""
        return 1 / sqrt(self.df - 1)

    @property
    def t(self) -> float:
        """t of no correlation, with ``df`` degrees of freedom."""
        rest = 1 - self.r**2
        return self.r * sqrt(self.df / rest) if rest > 0 else inf * self.r

    @property
    def p(self) -> float:
        """Two-sided p of no correlation."""
        return float(2 * stdtr(self.df, -abs(self.t)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the correlation, through Fisher's z."""
        reach = float(ndtri((1 + level) / 2)) * self.error
        return tanh(self.z - reach), tanh(self.z + reach)

    def within(self, margin: float) -> float:
        """p of the two one-sided tests on z: small says that |r| is truly below ``margin``."""
        bound = atanh(margin)
        above = ndtr((self.z - bound) / self.error)
        below = ndtr((-self.z - bound) / self.error)
        return float(max(above, below))

    def smallest_detectable(self, alpha: float = 0.05, power: float = 0.8) -> float:
        """Smallest true correlation that these points would have shown with this power."""
        return tanh(_shift(alpha, power) * self.error)

    def per_group_needed(self, margin: float, alpha: float = 0.05, power: float = 0.8) -> int:
        """Points in each of the groups that show a true correlation of ``margin``; at least 2."""
        df = (_shift(alpha, power) / atanh(margin)) ** 2 + 1
        return max(2, ceil((df + self.groups + 1) / self.groups))


def repeated_measures(x: Vector, y: Vector, group: NDArray[np.int64]) -> Correlation:
    """Correlation of x and y within groups. x, y: (n,); group: (n,), numbered from 0 without gaps.

    A group of one point takes part in nothing but the correlation of the means.
    """
    means_x, means_y = _means(x, group), _means(y, group)
    own_x, own_y = x - means_x[group], y - means_y[group]
    variation = float(own_x @ own_x), float(own_y @ own_y)
    # What is left of values that do not vary is rounding, which may correlate.
    flat = any(
        left <= len(x) * (1e-12 * float(np.abs(values).max())) ** 2
        for left, values in zip(variation, (x, y), strict=True)
    )
    together = float(own_x @ own_y)
    r = nan if flat else float(np.clip(together / sqrt(variation[0] * variation[1]), -1, 1))
    slope = nan if flat else together / variation[0]
    return Correlation(len(x), len(means_x), r, slope, _pearson(means_x, means_y))


def fitted(x: Vector, y: Vector, group: NDArray[np.int64], slope: float) -> Vector:
    """What the lines of one slope through the groups' means give at x: (n,)."""
    return _means(y, group)[group] + slope * (x - _means(x, group)[group])


def _shift(alpha: float, power: float) -> float:
    """True effect, in standard errors, that a two-sided normal test finds with this power."""
    return float(ndtri(1 - alpha / 2) + ndtri(power))


def _means(values: Vector, group: NDArray[np.int64]) -> Vector:
    return np.bincount(group, weights=values) / np.bincount(group)


def _pearson(x: Vector, y: Vector) -> float:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return nan
    return float(np.corrcoef(x, y)[0, 1])
