"""Decide a claim: rules written before the data, p for and against it, and one of five verdicts.

In this order: fewer than two seeds, ``not run``; adjusted p below alpha for the claim,
``supported``; the same for its opposite, ``contradicted``; equivalent within the margin,
``equivalent``; else ``inconclusive``.

What a claim of each kind tests is in :mod:`llm4seg_probe.statistics.kinds`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Literal

import numpy as np

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.kinds import KINDS, Evidence, Kind
from llm4seg_probe.statistics.paired_tests import Estimate, tost

Verdict = Literal["supported", "contradicted", "equivalent", "inconclusive", "not run"]


def evidence(
    kind: Kind, estimate: Estimate, margin: float | None, lower_is_better: bool = False
) -> Evidence:
    """What an estimate of a − b says for and against a claim of this kind.

    Without spread between the runs the exact test of the design stands in for the t-test. All NaN
    for fewer than two seeds, and for folds without spread, which have none. Only a claim of
    superiority does without a margin.
    """
    has_test = estimate.error > 0 or not isnan(estimate.least_p)
    if estimate.n < 2 or not has_test:
        return Evidence(nan, nan, nan, nan, nan)
    better = _mirrored(estimate) if lower_is_better else estimate
    within = nan if margin is None else tost(better, margin)
    if margin is None and KINDS[kind].needs_margin:
        raise ConfigError(f"a claim of {kind} needs a margin")
    return KINDS[kind].evidence(better, nan if margin is None else margin, within)


def verdict(
    n_seeds: int, supports: float, opposes: float, within_margin: float, alpha: float = 0.05
) -> Verdict:
    """The verdict on a claim from its adjusted p-values; see the module for the rules.

    >>> verdict(5, supports=0.01, opposes=1.0, within_margin=0.6)
    'supported'
    """
    if n_seeds < 2:
        return "not run"
    if supports < alpha:
        return "supported"
    if opposes < alpha:
        return "contradicted"
    return "equivalent" if within_margin < alpha else "inconclusive"


def _mirrored(estimate: Estimate) -> Estimate:
    return replace(estimate, difference=-estimate.difference)


@dataclass(frozen=True)
class Rules:
    """What was decided before the data.

    margin: smallest difference that matters, in the score's unit; None where none was named, and
    nothing is said about equivalence. bootstrap: number of resamples, 0 for none. test_share:
    part of the data in one test fold, for tables of folds.
    """

    margin: float | None = 0.005
    alpha: float = 0.05
    kind: Kind = "superiority"
    lower_is_better: bool = False
    bootstrap: int = 10_000
    bootstrap_seed: int = 0
    test_share: float | None = None

    def __post_init__(self) -> None:
        if self.margin is not None and not 0 < self.margin < np.inf:
            raise ConfigError(f"margin is {self.margin}: give a number above 0")
        if not 0 < self.alpha < 0.5:
            raise ConfigError(f"alpha is {self.alpha}: give a number between 0 and 0.5")
        if self.bootstrap < 0:
            raise ConfigError(f"bootstrap is {self.bootstrap}: give a number of resamples, or 0")
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise ConfigError(
                f"test_share is {self.test_share}: give a number between 0 and 1, such as 0.2 for "
                "five folds"
            )
