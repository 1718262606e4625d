"""Simulated studies: differences of seeds with known truth, in shapes that runs have.

For ``sequential_calibration.py``; the same name always gives the same draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm4seg_probe.randomness import address
from llm4seg_probe.statistics.looks import Design
from llm4seg_probe.statistics.stopping import Paths, paths_of

Matrix = NDArray[np.float64]

COLLAPSE = 20.0
"""What a collapsed run loses, in SDs of the differences: an IoU of 0.6 where they vary by 0.03."""


def _normal(generator: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    return generator.standard_normal(shape)


def _one_arm_collapses(generator: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    lost = COLLAPSE * (generator.random(shape) < 0.1)
    return generator.standard_normal(shape) - (lost - COLLAPSE * 0.1)


def _both_arms_collapse(generator: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    lost = COLLAPSE * (
        (generator.random(shape) < 0.1).astype(float) - (generator.random(shape) < 0.1)
    )
    return generator.standard_normal(shape) - lost


def _t3(generator: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    return generator.standard_t(3, shape) / np.sqrt(3)


def _lognormal(generator: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    return np.asarray(np.exp(generator.standard_normal(shape)) - np.exp(0.5))


SHAPES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Matrix]] = {
    "normal": _normal,
    "one arm collapses one run in ten": _one_arm_collapses,
    "each arm collapses one run in ten": _both_arms_collapse,
    "t with 3 degrees of freedom": _t3,
    "lognormal": _lognormal,
}
"""Differences with a mean of zero."""


@dataclass(frozen=True)
class Studies:
    """Draws of differences: M studies to the last look, always the same for the same name."""

    count: int

    def differences(self, name: str, n: int, shape: str = "normal") -> Matrix:
        """Differences without an effect, (M, n)."""
        generator = np.random.default_rng(address("sequential calibration", name, n, shape))
        return SHAPES[shape](generator, (self.count, n))

    def paths(self, name: str, design: Design, effect: float = 0.0, shape: str = "normal") -> Paths:
        """Their paths at the design's looks."""
        return paths_of(self.differences(name, design.looks[-1], shape) + effect, design.looks)
