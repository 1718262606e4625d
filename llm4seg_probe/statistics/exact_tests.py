"""Exact tests of a mean difference: sign flips of pairs, permutations of two groups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from math import comb

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

MOST_SEEDS = 40
"""Beyond this the 2^n sign patterns are not counted, and the t-test needs no second opinion."""

MOST_DIVISIONS = 1_000_000
"""Divisions of two groups that are counted, a second's work: up to 11 runs against 11."""


def floor(n: int) -> float:
    """Return the smallest two-sided p that n pairs can give, 2/2^n; 0.0625 for five.

    >>> floor(5)
    0.0625
    """
    return 2.0 ** (1 - n)


def sign_flip(differences: Vector) -> float:
    """Test a mean of paired differences under all 2^n sign patterns, exactly.

    Without an effect, each seed's difference could as well have the other sign.

    Parameters
    ----------
    differences : array of shape (n,)
        a − b of each seed.

    Returns
    -------
    float
        Two-sided p: the share of patterns whose sum is at least as far from zero as the observed
        one; sums equal up to rounding count as equal. NaN for no differences or more than 40.

    References
    ----------
    Fisher, The Design of Experiments, 1935, §21.

    Examples
    --------
    Five differences of one sign have the smallest p that five seeds can give:

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


def permutation_floor(n: int, m: int) -> float:
    """Return the smallest two-sided p that two groups of n and m runs can give.

    >>> permutation_floor(5, 5)
    0.007936507936507936
    """
    # The mirror image of a division exists only where both groups have the same size.
    return (2 if n == m else 1) / comb(n + m, n)


def permutation(a: Vector, b: Vector) -> float:
    """Test a difference in means of two unpaired groups under all divisions of the runs, exactly.

    Without an effect, any n of the n + m runs could have been the first group.

    Parameters
    ----------
    a : array of shape (n,)
    b : array of shape (m,)
        Scores of independent runs.

    Returns
    -------
    float
        Two-sided p: the share of divisions whose means are at least as far apart as the observed
        ones; equal up to rounding counts as equal. NaN for an empty group or more than
        ``MOST_DIVISIONS``.

    References
    ----------
    Pitman, Supplement to the Journal of the Royal Statistical Society 4, 1937.

    Examples
    --------
    Two groups of five that do not overlap:

    >>> permutation(np.array([0.9, 0.9, 0.9, 0.9, 0.9]), np.array([0.8, 0.8, 0.8, 0.8, 0.8]))
    0.007936507936507936
    """
    n, m = len(a), len(b)
    if not n or not m or comb(n + m, n) > MOST_DIVISIONS:
        return np.nan
    runs = np.concatenate([a, b])
    # Centred, so that rounding is measured against the spread and not against a common offset.
    runs = runs - runs.mean()
    observed = abs(runs[:n].mean() - runs[n:].mean()) - 1e-12 * float(np.abs(runs).max())
    if observed <= 0:
        return 1.0
    far = 0
    for chosen in _blocks(n + m, n):
        first = runs[chosen].sum(axis=1)
        # The runs add up to zero, so that the other group's sum is minus the first's.
        far += int((np.abs(first / n + first / m) >= observed).sum())
    return far / comb(n + m, n)


def _blocks(total: int, size: int) -> Iterator[NDArray[np.int64]]:
    """All choices of ``size`` among ``total``, some thousands at a time: (rows, size)."""
    choices = combinations(range(total), size)
    while block := list(islice(choices, 20_000)):
        yield np.array(block, dtype=np.int64)


def _sums(sizes: Vector) -> Vector:
    """All sums of ± each size: (k,) -> (2^k,)."""
    total = np.zeros(1)
    for size in sizes:
        total = np.concatenate([total - size, total + size])
    return total
