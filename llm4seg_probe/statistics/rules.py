"""What is decided before the data: margin, error rate, kind of claim, resamples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.verdicts import Kind


@dataclass(frozen=True)
class Rules:
    """What was decided before the data.

    margin: smallest difference that matters, in the score's unit. bootstrap: number of
    resamples, 0 for none. test_share: part of the data in one test fold, for tables of folds.
    """

    margin: float = 0.005
    alpha: float = 0.05
    kind: Kind = "superiority"
    lower_is_better: bool = False
    bootstrap: int = 10_000
    bootstrap_seed: int = 0
    test_share: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.margin < np.inf:
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
