"""Equivalence and non-inferiority against a margin: one-sided tests on one estimate."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad
from scipy.special import gammaln, ndtr, stdtrit

from llm4seg_probe.statistics.estimates import Estimate


def tost(estimate: Estimate, margin: float) -> float:
    """p of the two one-sided tests: small says that the true difference lies within ± margin.

    Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987. Without spread
    between the seeds the exact test stands in for t: n differences that agree and lie within
    the margin have p = 1/2^n.
    """
    return max(above(estimate, -margin), below(estimate, margin))


def above(estimate: Estimate, bound: float) -> float:
    """One-sided p; small says that the true difference is larger than ``bound``."""
    if estimate.error == 0:
        return 0.5**estimate.n if estimate.difference > bound else 1.0
    return estimate.p_above(bound)


def below(estimate: Estimate, bound: float) -> float:
    """One-sided p; small says that the true difference is smaller than ``bound``."""
    if estimate.error == 0:
        return 0.5**estimate.n if estimate.difference < bound else 1.0
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
