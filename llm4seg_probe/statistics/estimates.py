"""A mean difference with its standard error, and what a t distribution says about it.

Three designs give such an estimate: paired seeds, unpaired seeds (Welch), and folds that share
training data (the corrected resampled t-test). Everything after that is the same arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Vector = NDArray[np.float64]

ROUNDING = 1e-12
"""Spread below this share of the values' size is rounding, and counts as none."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference a − b, its standard error and degrees of freedom.

    ``error`` is 0 where the differences have no spread; t and everything derived from it are
    NaN then, because there is no scale to measure the difference on. ``sd`` is the standard
    deviation of the paired differences, NaN where nothing is paired.
    """

    n: int
    difference: float
    sd: float
    error: float
    df: float

    @property
    def has_spread(self) -> bool:
        """Whether a t statistic exists: at least two seeds that do not all agree."""
        return self.n >= 2 and self.error > 0

    @property
    def t(self) -> float:
        """Difference over its standard error."""
        return self.difference / self.error if self.has_spread else np.nan

    @property
    def p(self) -> float:
        """Two-sided p of no difference."""
        return float(2 * stdtr(self.df, -abs(self.t))) if self.has_spread else np.nan

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided confidence interval of the difference."""
        if not self.has_spread:
            return np.nan, np.nan
        reach = float(stdtrit(self.df, (1 + level) / 2)) * self.error
        return self.difference - reach, self.difference + reach

    def p_above(self, bound: float) -> float:
        """One-sided p of "the true difference is at most ``bound``"; small speaks for above."""
        return (
            float(stdtr(self.df, (bound - self.difference) / self.error))
            if self.has_spread
            else np.nan
        )

    def p_below(self, bound: float) -> float:
        """One-sided p of "the true difference is at least ``bound``"; small speaks for below."""
        return (
            float(stdtr(self.df, (self.difference - bound) / self.error))
            if self.has_spread
            else np.nan
        )


def paired(a: Vector, b: Vector) -> Estimate:
    """Estimate of the paired t-test. a, b: (n,), the k-th of each from the same seed."""
    difference = a - b
    sd = _spread(difference, a, b)
    n = len(difference)
    return Estimate(n, float(difference.mean()), sd, sd / np.sqrt(n), n - 1)


def welch(a: Vector, b: Vector) -> Estimate:
    """Estimate of Welch's unequal-variances t-test. a: (n,), b: (m,), independent runs.

    The degrees of freedom are Satterthwaite's. ``n`` is the smaller of the two counts.
    """
    n = min(len(a), len(b))
    difference = float(a.mean() - b.mean())
    if n < 2:
        return Estimate(n, difference, np.nan, np.nan, np.nan)
    shares = np.array([_spread(a, a, b) ** 2 / len(a), _spread(b, a, b) ** 2 / len(b)])
    error = float(np.sqrt(shares.sum()))
    if error == 0:
        return Estimate(n, difference, np.nan, 0.0, len(a) + len(b) - 2)
    df = shares.sum() ** 2 / (shares**2 / np.array([len(a) - 1, len(b) - 1])).sum()
    return Estimate(n, difference, np.nan, error, float(df))


def resampled(a: Vector, b: Vector, test_share: float) -> Estimate:
    """Estimate of the corrected resampled t-test, for folds whose training sets overlap.

    a, b: (n,), one value per fold, or per repetition and fold. test_share: part of the data in
    a test fold, between 0 and 1; 1/k in k-fold cross-validation. The variance 1/n of the mean is
    raised to 1/n + n_test/n_train. Nadeau & Bengio, Machine Learning 52, 2003, eq. 9; for
    repeated cross-validation Bouckaert & Frank, PAKDD 2004.
    """
    plain = paired(a, b)
    factor = 1 / plain.n + test_share / (1 - test_share)
    return Estimate(
        plain.n, plain.difference, plain.sd, plain.sd * float(np.sqrt(factor)), plain.df
    )


def _spread(values: Vector, a: Vector, b: Vector) -> float:
    """Standard deviation (n − 1), 0 where it is no more than rounding of the scores."""
    if len(values) < 2:
        return np.nan
    sd = float(values.std(ddof=1))
    size = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return 0.0 if sd <= ROUNDING * size else sd
