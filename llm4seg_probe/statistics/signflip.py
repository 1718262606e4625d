"""The exact sign-flip test: without an effect, each seed's difference could as well be negative."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

MOST_SEEDS = 40
"""Beyond this the 2^n sign patterns are not counted, and the t-test needs no second opinion."""


def floor(n: int) -> float:
    """Smallest two-sided p that n pairs can give, 2/2^n; 0.0625 for five.

    >>> floor(5)
    0.0625
    """
    return 2.0 ** (1 - n)


def sign_flip(differences: Vector) -> float:
    """Exact two-sided p of the mean difference under all 2^n sign patterns.

    differences: (n,). The share of patterns whose sum is at least as far from zero as the
    observed one; sums equal up to rounding count as equal. NaN for no differences or more
    than 40. Fisher, The Design of Experiments, 1935, §21.

    >>> sign_flip(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    0.0625
    """
    n = len(differences)
    if not 0 < n <= MOST_SEEDS:
        return np.nan
    size = np.abs(differences)
    observed = abs(differences.sum()) - 1e-12 * size.sum()
    if observed <= 0:
        return 1.0
    # Every sum is one of the first half's plus one of the second half's: 2^(n/2) sorted values
    # and as many searches count all 2^n.
    first, second = _sums(size[: n // 2]), np.sort(_sums(size[n // 2 :]))
    above = len(second) - np.searchsorted(second, observed - first, side="left")
    return float(2 * above.sum(dtype=np.float64) / 2.0**n)


def _sums(sizes: Vector) -> Vector:
    """All sums of ± each size: (k,) -> (2^k,)."""
    total = np.zeros(1)
    for size in sizes:
        total = np.concatenate([total - size, total + size])
    return total
