"""Where the spread of a paired difference comes from: the seeds, or the cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm4seg_probe.statistics.bootstrap import totals
from llm4seg_probe.statistics.pairing import Paired

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


def components(pair: Paired) -> Components:
    """Variance components by the method of moments, for seeds crossed with groups.

    The differences of a seed are averaged within each group first, so that slices of one patient
    count once. A case without group is its own; a table without cases has one unit, and all
    spread is the seeds'. A negative component counts as none.
    Searle, Casella & McCulloch, Variance Components, 1992, ch. 4.
    """
    differences = pair.values_a - pair.values_b
    if pair.groups is None or pair.n_groups == 1:
        return Components(float(differences.mean(axis=1).var(ddof=1)), 0.0, 1)
    data = totals(differences, pair.groups)
    means = data.sums / data.sizes
    n_seeds, units = means.shape
    residual = means - means.mean(axis=1, keepdims=True) - means.mean(axis=0) + means.mean()
    cells = float((residual**2).sum() / ((n_seeds - 1) * (units - 1)))
    between = float(means.mean(axis=1).var(ddof=1))
    return Components(max(0.0, between - cells / units), min(cells, between * units), units)
