"""Mean differences of two arms: paired t, Welch, corrected resampled t, and TOST on each of them.

Three designs give an estimate of a − b: paired seeds, unpaired seeds (Welch), and folds that share
training data (the corrected resampled t-test). Superiority, non-inferiority and equivalence are
then the same arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import gammaln, ndtr, stdtr, stdtrit

Vector = NDArray[np.float64]

ROUNDING = 1e-12
"""Spread below this share of the values' size is rounding, and counts as none."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference a − b, its standard error and degrees of freedom.

    ``error`` is 0 where the differences have no spread; t and everything derived from it are
    NaN then, because there is no scale to measure the difference on. ``sd`` is the standard
    deviation of the paired differences, NaN where nothing is paired. ``least_p`` is what the exact
    test of the design gives, one-sided, to runs without any spread; NaN where there is none.
    """

    n: int
    difference: float
    sd: float
    error: float
    df: float
    least_p: float = np.nan

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
    """Estimate a mean difference a − b from pairs (the paired t-test).

    Parameters
    ----------
    a, b : array of shape (n,)
        Scores of two arms; the k-th of each comes from the same seed.

    Returns
    -------
    Estimate
        With n − 1 degrees of freedom: ``t``, ``p`` (two-sided) and ``interval()`` follow from it.

    Examples
    --------
    Five seeds of two arms:

    >>> import numpy as np
    >>> llm = np.array([0.640, 0.652, 0.633, 0.661, 0.649])
    >>> cnn = np.array([0.631, 0.640, 0.637, 0.642, 0.640])
    >>> found = paired(llm, cnn)
    >>> round(found.difference, 4), round(float(found.t), 3), round(found.p, 4)
    (0.009, 2.414, 0.0732)
    >>> [round(float(bound), 4) for bound in found.interval()]
    [-0.0014, 0.0194]
    """
    difference = a - b
    sd = _spread(difference, a, b)
    n = len(difference)
    return Estimate(n, float(difference.mean()), sd, sd / np.sqrt(n), n - 1, 0.5**n)


def welch(a: Vector, b: Vector) -> Estimate:
    """Estimate a mean difference a − b from runs that share nothing (Welch's t-test).

    Parameters
    ----------
    a : array of shape (n,)
    b : array of shape (m,)
        Scores of independent runs.

    Returns
    -------
    Estimate
        With Satterthwaite's degrees of freedom; ``n`` is the smaller of the two counts.

    References
    ----------
    Welch, Biometrika 34, 1947.

    Examples
    --------
    >>> import numpy as np
    >>> found = welch(np.array([0.64, 0.65, 0.63]), np.array([0.60, 0.62, 0.61, 0.59]))
    >>> round(found.difference, 4), round(found.df, 2), round(found.p, 4)
    (0.035, 4.96, 0.0101)
    """
    n = min(len(a), len(b))
    difference = float(a.mean() - b.mean())
    if n < 2:
        return Estimate(n, difference, np.nan, np.nan, np.nan)
    shares = np.array([_spread(a, a, b) ** 2 / len(a), _spread(b, a, b) ** 2 / len(b)])
    error = float(np.sqrt(shares.sum()))
    if error == 0:
        exact = 1 / comb(len(a) + len(b), len(a))
        return Estimate(n, difference, np.nan, 0.0, len(a) + len(b) - 2, exact)
    df = shares.sum() ** 2 / (shares**2 / np.array([len(a) - 1, len(b) - 1])).sum()
    return Estimate(n, difference, np.nan, error, float(df))


def resampled(a: Vector, b: Vector, test_share: float) -> Estimate:
    """Estimate a mean difference a − b over folds (the corrected resampled t-test).

    The training sets of folds overlap, so their scores are not independent: the variance 1/n of
    the mean is raised to 1/n + n_test/n_train.

    Parameters
    ----------
    a, b : array of shape (n,)
        One value per fold, or per repetition and fold.
    test_share : float
        Part of the data in a test fold, between 0 and 1; 1/k in k-fold cross-validation.

    Returns
    -------
    Estimate
        With n − 1 degrees of freedom.

    References
    ----------
    Nadeau & Bengio, Machine Learning 52, 2003, eq. 9; for repeated cross-validation Bouckaert &
    Frank, PAKDD 2004.

    Examples
    --------
    Five folds; the plain paired t-test would say p = 0.009:

    >>> import numpy as np
    >>> a = np.array([0.82, 0.80, 0.84, 0.81, 0.83])
    >>> b = np.array([0.80, 0.79, 0.82, 0.80, 0.80])
    >>> round(resampled(a, b, test_share=0.2).p, 4), round(paired(a, b).p, 4)
    (0.0327, 0.0086)
    """
    plain = paired(a, b)
    factor = 1 / plain.n + test_share / (1 - test_share)
    # Folds are not exchangeable with their mirror images: without spread there is no exact test.
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


def tost(estimate: Estimate, margin: float) -> float:
    """Test equivalence: a small p says that the true difference lies within ± margin (TOST).

    Without spread between runs the exact test of the design stands in for t: n paired differences
    that agree and lie within the margin have p = 1/2^n.

    Parameters
    ----------
    estimate : Estimate
        From :func:`paired`, :func:`welch` or :func:`resampled`.
    margin : float
        Smallest difference that matters, in the score's unit.

    Returns
    -------
    float
        The larger p of the two one-sided tests.

    References
    ----------
    Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([0.640, 0.652, 0.633, 0.661]), np.array([0.641, 0.650, 0.636, 0.659])
    >>> round(tost(paired(a, b), margin=0.01), 4)
    0.0019
    """
    return max(above(estimate, -margin), below(estimate, margin))


def above(estimate: Estimate, bound: float) -> float:
    """One-sided p; small says that the true difference is larger than ``bound``."""
    if estimate.error == 0:
        return estimate.least_p if estimate.difference > bound else 1.0
    return estimate.p_above(bound)


def below(estimate: Estimate, bound: float) -> float:
    """One-sided p; small says that the true difference is smaller than ``bound``."""
    if estimate.error == 0:
        return estimate.least_p if estimate.difference < bound else 1.0
    return estimate.p_below(bound)


def tost_power(
    error: float, df: float, margin: float, effect: float = 0.0, alpha: float = 0.05
) -> float:
    """Probability that TOST finds equivalence when the true difference is ``effect``.

    Given the observed standard error s·u, the estimate must fall within ± (margin − t s u); that
    probability is integrated over the chi distribution of u (Owen's Q). NaN without a spread.
    """
    if not error > 0:
        return np.nan
    critical = float(stdtrit(df, 1 - alpha))
    log_constant = np.log(2) + df / 2 * np.log(df / 2) - float(gammaln(df / 2))

    def density_inside(u: float) -> float:
        reach = margin / error - critical * u
        inside = ndtr(reach - effect / error) - ndtr(-reach - effect / error)
        log_density = log_constant + (df - 1) * np.log(u) - df * u**2 / 2
        return float(np.exp(log_density) * inside)

    # Outside these bounds the density of u holds less than 1e-15, or nothing falls inside.
    low, high = max(0.0, 1 - 8 / np.sqrt(df)), 1 + 8 / np.sqrt(df)
    high = min(high, margin / (critical * error))
    if high <= low:
        return 0.0
    return float(quad(density_inside, low, high, epsabs=1e-12, limit=200)[0])


def last_digit(values: Vector, most: int = 6) -> float:
    """A unit of the last digit that values have been rounded to; 0 where they have not been.

    >>> last_digit(np.array([0.02, 0.021])), last_digit(np.array([1 / 3, 0.5]))
    (0.001, 0.0)
    """
    for digits in range(most + 1):
        if np.allclose(values, np.round(values, digits), rtol=0, atol=1e-9):
            return float(10.0**-digits)
    return 0.0
