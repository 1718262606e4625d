"""Several comparisons in one family: Holm's adjustment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; the family-wise error rate is kept.

    A comparison that could not be made (NaN) stays in the family's size, as one that failed: the
    family was fixed before the data. Its own adjusted p is NaN.
    Holm, Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    missing = np.isnan(values)
    order = np.argsort(np.where(missing, 1.0, values), kind="stable")
    # statsmodels' multipletests gives the same, and collects garbage at every call.
    steps = np.where(missing, 1.0, values)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in np.where(missing, np.nan, adjusted)]


def holm_at(p: Sequence[float], index: int, value: float) -> float:
    """Adjusted p that one member of a family would have if its own p were ``value``."""
    family = list(p)
    family[index] = value
    return holm(family)[index]
