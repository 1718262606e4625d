"""Only means and SDs: p as a curve over what was not printed, the correlation of the pairs.

Two arms trained on the same seeds or splits vary together. From means, SDs and n alone the
SD of the differences is sqrt(s_a² + s_b² − 2 r s_a s_b), and r is unknown: one p would be made up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.cells import Printed

CORRELATIONS = np.round(np.concatenate([np.arange(-0.95, 0.96, 0.05), [0.97, 0.98, 0.99]]), 2)
_GRID = 21


@dataclass(frozen=True)
class Reported:
    """One arm of a published table: mean ± SD over n runs."""

    arm: str
    mean: Printed
    sd: Printed
    n: int


def curve(a: Reported, b: Reported) -> pd.DataFrame:
    """p of the paired t-test by correlation: ``correlation, sd_difference, p, p_low, p_high``.

    p_low and p_high: the smallest and largest p that the rounding of all four numbers allows.
    """
    n = pairs_of(a, b)
    rows = []
    for correlation in CORRELATIONS:
        spread = float(_spread(a.sd.value, b.sd.value, correlation))
        spreads = _spread(*_box(a, b), correlation)
        near, far = _differences(a, b)
        rows.append(
            {
                "correlation": correlation,
                "sd_difference": spread,
                "p": _p(a.mean.value - b.mean.value, spread, n),
                "p_low": _p(far, float(spreads.min()), n),
                "p_high": _p(near, float(spreads.max()), n),
            }
        )
    return pd.DataFrame(rows)


def uncorrelated(a: Reported, b: Reported) -> tuple[float, float]:
    """SD of the differences, and p, if the pairs did not vary together at all."""
    spread = float(_spread(a.sd.value, b.sd.value, 0.0))
    return spread, _p(a.mean.value - b.mean.value, spread, pairs_of(a, b))


def crossing(a: Reported, b: Reported, alpha: float = 0.05) -> tuple[float, float, float]:
    """Correlation above which p falls under alpha, and its range by rounding.

    Above 1: no correlation makes it significant. Below −1: every one does.
    """
    n = pairs_of(a, b)
    near, far = _differences(a, b)
    boxes = _box(a, b)
    here = _crossing(a.mean.value - b.mean.value, _positive(a.sd), _positive(b.sd), n, alpha)
    low, high = _crossing(far, *boxes, n, alpha).min(), _crossing(near, *boxes, n, alpha).max()
    return float(here), float(low), float(high)


def _crossing(
    difference: float,
    sd_a: float | NDArray[np.float64],
    sd_b: float | NDArray[np.float64],
    n: int,
    alpha: float,
) -> NDArray[np.float64]:
    largest = abs(difference) * np.sqrt(n) / float(stdtrit(n - 1, 1 - alpha / 2))
    return np.asarray((sd_a**2 + sd_b**2 - largest**2) / (2 * sd_a * sd_b))


def _spread(
    sd_a: float | NDArray[np.float64], sd_b: float | NDArray[np.float64], correlation: float
) -> NDArray[np.float64]:
    variance = sd_a**2 + sd_b**2 - 2 * correlation * sd_a * sd_b
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _p(difference: float, spread: float, n: int) -> float:
    if spread == 0:
        return 0.0 if difference else 1.0
    return float(2 * stdtr(n - 1, -abs(difference) * np.sqrt(n) / spread))


def _differences(a: Reported, b: Reported) -> tuple[float, float]:
    """Smallest and largest size of the difference that rounding allows."""
    difference, half = abs(a.mean.value - b.mean.value), a.mean.half + b.mean.half
    return max(0.0, difference - half), difference + half


def _box(a: Reported, b: Reported) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grid over the SDs that round to the printed ones."""
    sides = [
        np.linspace(max(sd.range[0], _positive(sd) / 1000), sd.range[1], _GRID)
        for sd in (a.sd, b.sd)
    ]
    first, second = np.meshgrid(*sides)
    return first, second


def _positive(sd: Printed) -> float:
    """The printed SD; one printed as 0.00 is still above nothing."""
    return sd.value if sd.value > 0 else sd.half


def pairs_of(a: Reported, b: Reported) -> int:
    """Number of pairs that the runs of two arms could be; raises TableError where they cannot."""
    if a.n != b.n:
        raise TableError(
            f"{a.arm} has {a.n} runs and {b.arm} {b.n}: they cannot all be paired, and the curve "
            "over the correlation holds for pairs alone. Leave the arm out (--where), or, with a "
            "row for each run, compare them unpaired (--unpaired)"
        )
    if a.n < 2:
        raise TableError(f"{a.arm} against {b.arm}: one run has no SD; n is at least 2")
    return a.n
