"""What the difference would be on other runs and other patients: resampled intervals by pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from llm4seg_probe.statistics import bootstrap
from llm4seg_probe.statistics.bootstrap import FEWEST_GROUPS, Totals
from llm4seg_probe.statistics.pairing import Paired
from llm4seg_probe.statistics.rules import Rules

EMPTY = (nan, nan)


@dataclass(frozen=True)
class Intervals:
    """boot: over seeds and groups. case: over groups, the runs as they are. note: what is not.

    boot_coverage: how often such an interval held the truth in simulation; NaN where that was not
    measured (other levels than 95 %, fewer than ten groups).
    """

    boot: tuple[float, float] = EMPTY
    boot_coverage: float = nan
    case: tuple[float, float] = EMPTY
    note: str = ""


def intervals(pairs: Sequence[Paired], rules: Rules) -> list[Intervals]:
    """The intervals of each pair; pairs on the same seeds and cases share their resamples.

    Empty without resamples, for seeds that are not paired, and for folds, which are no sample.
    """
    if rules.bootstrap == 0 or rules.test_share is not None:
        return [Intervals()] * len(pairs)
    data = {index: _totals(pair) for index, pair in enumerate(pairs) if pair.paired}
    alike: dict[tuple[int, bytes], list[int]] = {}
    for index, each in data.items():
        alike.setdefault((len(each.sums), each.sizes.tobytes()), []).append(index)
    found = [Intervals()] * len(pairs)
    for members in alike.values():
        resampled = bootstrap.resample(
            [data[index] for index in members], rules.bootstrap, rules.bootstrap_seed
        )
        for index, means in zip(members, resampled, strict=True):
            found[index] = _of(pairs[index], data[index], *means, 1 - rules.alpha)
    return found


def _totals(pair: Paired) -> Totals:
    groups = pair.groups if pair.groups is not None else np.zeros(1, np.int64)
    return bootstrap.totals(pair.values_a - pair.values_b, groups)


def _of(
    pair: Paired, data: Totals, both: bootstrap.Matrix, groups: bootstrap.Matrix, level: float
) -> Intervals:
    n_seeds, n_groups = data.sums.shape
    has_cases = pair.groups is not None
    boot, covered = EMPTY, nan
    if n_seeds >= 2 and (n_groups >= 2 or not has_cases):
        boot = bootstrap.interval(both, data.df, level)
        if level == 0.95 and (n_groups >= FEWEST_GROUPS or not has_cases):
            covered = bootstrap.coverage(n_seeds, has_cases)
    if not has_cases:
        note = "no cases in the table: boot_* resamples seeds alone"
        return Intervals(boot, covered, note=note)
    if n_groups < FEWEST_GROUPS:
        few = f"{n_groups} groups are too few for an interval over patients"
        return Intervals(boot, covered, note=f"{few} (at least {FEWEST_GROUPS})")
    return Intervals(boot, covered, bootstrap.interval(groups, n_groups - 1, level))
