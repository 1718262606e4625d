"""The path of t without an effect, looked at several times: how often it leaves its boundaries.

The paired t of the first n seeds is looked at after n_1 < n_2 < … seeds. Without an effect mean
and standard deviation cancel: with u = S / √Q, sum over root of the sum of squares (a function
of t alone), m more seeds give

    u' = cos φ · u + sin φ · v,    cos² φ ~ Beta(n/2, m/2),    v = the new seeds' own u,

and φ and v depend on nothing before them. The path is a Markov chain in one dimension, so its
exits are found by recursive integration (Armitage, McPherson & Rowe, JRSS A 132, 1969), exactly
also at five seeds, with no draw and no seed. Coordinate: z, the normal score of t's own
probability; each look's z is standard normal by itself.

Against finer grids a look's probability is right to 1e-4 of its value where each look adds four
seeds or more, to 2e-3 where one adds fewer (the kernel has corners then), and that of all looks
together to 2e-4; tails end at 1e-11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr, stdtrit

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

REACH = 7.0
"""End of the grid of z on either side; beyond it lie 3e-12 of each look's probability."""

STEP = 0.1
ANGLES, ANGLES_OF_CORNERS = 24, 64
FINER = {1: 16, 2: 4, 3: 4}
"""How much finer the earlier look's grid is where so few seeds are added: the density of v is
singular at its ends for one and two, and has a step there for three."""

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(4)

Choose = Callable[[int, Callable[[float], float]], float]
"""Boundary of a look (in z), from its index and the probability to leave by boundary."""


class NullPath:
    """The path of t at these looks without an effect; boundaries above only, or on two sides."""

    def __init__(self, looks: Sequence[int]) -> None:
        self.looks = tuple(looks)
        pairs = list(zip(self.looks[:-1], self.looks[1:], strict=True))
        # A step wider than half the kernel's width would miss it.
        narrow = min((np.sqrt((after - n) / after) for n, after in pairs), default=1.0)
        self._cells = 2 * int(np.ceil(REACH / min(STEP, narrow / 2)))
        self._z = np.linspace(-REACH, REACH, self._cells + 1)

    def exits(self, thresholds: Sequence[float] | Vector, sides: int) -> Vector:
        """Probability that each look is the first with p below its threshold.

        thresholds: (K,), nominal p, two-sided for two sides; 0 for a look that cannot stop.
        """
        _, above, below = self._walk(lambda k, _: boundary(thresholds[k], sides), sides)
        return above + below

    def thresholds(self, spending: Sequence[float] | Vector, sides: int) -> Vector:
        """Nominal p below which each look is the first to stop with the probability given.

        spending: (K,), 0 for a look that cannot stop.
        """
        bounds, _, _ = self._walk(lambda k, leaving: _solve(leaving, spending[k], sides), sides)
        return np.asarray(sides * ndtr(-bounds))

    def stagewise(self, thresholds: Sequence[float] | Vector, sides: int, p: float) -> float:
        """One-sided p, in stage-wise order, of a path that left above at the last look.

        The probability that it leaves above earlier, or has a higher t at the last look. p: the
        nominal one-sided p there.
        """
        last = len(self.looks) - 1
        observed = float(-ndtri(p))

        def choose(k: int, _: Callable[[float], float]) -> float:
            return observed if k == last else boundary(thresholds[k], sides)

        return float(self._walk(choose, sides)[1].sum())

    def _walk(self, choose: Choose, sides: int) -> tuple[Vector, Vector, Vector]:
        """Boundaries, and the probabilities to leave above and below them first at each look."""
        z, count = self._z, len(self.looks)
        below, above = ndtr(z), ndtr(-z)
        bounds, up, down = np.empty(count), np.zeros(count), np.zeros(count)
        for k in range(count):
            lower, upper = CubicSpline(z, below), CubicSpline(z, above)

            def parts(b: float, lower: CubicSpline = lower, upper: CubicSpline = upper) -> Vector:
                if b > REACH:
                    return np.zeros(2)
                low = lower(-b) if sides == 2 else 0.0
                return np.maximum([float(upper(b)), float(low)], 0.0)

            bounds[k] = choose(k, lambda b, parts=parts: float(parts(b).sum()))  # type: ignore[misc]
            up[k], down[k] = parts(bounds[k])
            if k < count - 1:
                floor = -bounds[k] if sides == 2 else -REACH
                added = self.looks[k + 1] - self.looks[k]
                staying = _lumped(lower, floor, bounds[k], self._sources(added))
                kernel = self._kernels[k]
                below, above = staying @ kernel, staying @ kernel[::-1, ::-1]
        return bounds, up, down

    @cached_property
    def _kernels(self) -> list[Matrix]:
        pairs = zip(self.looks[:-1], self.looks[1:], strict=True)
        return [_kernel(self._sources(after - n), self._z, n, after - n) for n, after in pairs]

    def _sources(self, added: int) -> Vector:
        return np.linspace(-REACH, REACH, self._cells * FINER.get(added, 1) + 1)


def boundary(threshold: float, sides: int) -> float:
    """Boundary in z of a threshold in nominal p; infinite for 0."""
    return float(-ndtri(threshold / sides)) if threshold > 0 else np.inf


def _solve(leaving: Callable[[float], float], wanted: float, sides: int) -> float:
    """Boundary that is left with the probability wanted."""
    lowest = 0.0 if sides == 2 else -REACH
    if wanted <= 0 or leaving(REACH) >= wanted:
        return np.inf
    if leaving(lowest) <= wanted:
        return lowest

    def excess(b: float) -> float:
        return float(np.log(max(leaving(b), 1e-300) / wanted))

    return float(brentq(excess, lowest, REACH, xtol=1e-12))


def _lumped(below: CubicSpline, low: float, high: float, nodes: Vector) -> Vector:
    """Weights on the nodes by which a function of z is integrated over the path within bounds.

    below: probability to be below z. The function is interpolated by cubics, and each cell is
    integrated by Gauss-Legendre; a cell that a bound cuts, over the part that is left.
    """
    density = below.derivative()
    start, end = np.clip(nodes[:-1], low, high), np.clip(nodes[1:], low, high)
    at = (start + end)[:, None] / 2 + (end - start)[:, None] / 2 * _POINTS
    mass = (end - start)[:, None] / 2 * _WEIGHTS * density(at)
    count = len(nodes)
    first = np.clip(np.arange(count - 1) - 1, 0, count - 4)
    s = (at - nodes[first][:, None]) / (nodes[1] - nodes[0])
    shares = (
        -(s - 1) * (s - 2) * (s - 3) / 6,
        s * (s - 2) * (s - 3) / 2,
        -s * (s - 1) * (s - 3) / 2,
        s * (s - 1) * (s - 2) / 6,
    )
    lumps = np.zeros(count)
    for offset, share in enumerate(shares):
        lumps += np.bincount(first + offset, (mass * share).sum(axis=1), count)
    return lumps


def _kernel(earlier: Vector, later: Vector, n: int, added: int) -> Matrix:
    """Probability that z after ``added`` more seeds is below ``later``, given z after n seeds."""
    u, x = _u(earlier, n)[:, None], _u(later, n + added)[None, :]
    if added == 1:
        return _kernel_of_one(u, x, n)
    probability = np.zeros((len(earlier), len(later)))
    df = added - 1
    for angle, weight in zip(*_angles(n, added), strict=True):
        cosine = (x - np.cos(angle) * u) / (np.sin(angle) * np.sqrt(added))
        np.clip(cosine, -1.0, 1.0, out=cosine)
        with np.errstate(divide="ignore"):
            probability += weight * stdtr(df, cosine * np.sqrt(df / (1 - cosine**2)))
    return probability


def _kernel_of_one(u: Matrix, x: Matrix, n: int) -> Matrix:
    """The same for one more seed, in closed form: v is 1 or −1, u' = √(1 + u²) sin(φ + arctan u).

    φ then lies between ± π/2, and √n tan φ is t-distributed with n degrees of freedom.
    """
    radius, shift = np.sqrt(1 + u**2), np.arctan(u)
    angle = np.arcsin(np.clip(x / radius, -1.0, 1.0))

    def below(phi: Matrix) -> Matrix:
        inside = np.clip(phi, -np.pi / 2 + 1e-15, np.pi / 2 - 1e-15)
        found = stdtr(n, np.sqrt(n) * np.tan(inside))
        return np.where(phi <= -np.pi / 2, 0.0, np.where(phi >= np.pi / 2, 1.0, found))

    found = below(angle - shift) - below(-np.pi - angle - shift) + below(shift + angle - np.pi)
    return np.where(x >= radius, 1.0, np.where(x <= -radius, 0.0, found))


def _angles(n: int, added: int) -> tuple[Vector, Vector]:
    """Points and weights that integrate over φ, cos² φ ~ Beta(n/2, added/2)."""
    middle, spread = np.arctan(np.sqrt(added / n)), 1 / np.sqrt(2 * (n + added))
    # Twelve standard deviations: all but 1e-16 of the angles, at any n.
    low, high = max(0.0, middle - 12 * spread), min(np.pi / 2, middle + 12 * spread)
    points, weights = np.polynomial.legendre.leggauss(
        ANGLES_OF_CORNERS if added in FINER else ANGLES
    )
    angles = (high + low) / 2 + (high - low) / 2 * points
    log = (n - 1) * np.log(np.cos(angles)) + (added - 1) * np.log(np.sin(angles))
    density = weights * np.exp(log - log.max())
    return angles, density / density.sum()


def _u(z: Vector, n: int) -> Vector:
    """u of a path of n seeds whose t has the normal score z."""
    t = -np.sign(z) * stdtrit(n - 1, ndtr(-np.abs(z)))
    return np.asarray(np.sqrt(n) * t / np.sqrt(n - 1 + t**2))
