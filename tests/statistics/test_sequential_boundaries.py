"""The path of t under its boundaries: published tables, an independent recursion, simulation."""

import numpy as np
import pytest
from scipy.special import ndtr, stdtr
from scipy.stats import norm

from llm4seg_probe.statistics.boundaries import NullPath

MANY = 20_000
"""Seeds per look at which t is as good as normal."""

POCOCK = {2: 2.178, 3: 2.289, 4: 2.361, 5: 2.413, 6: 2.453, 7: 2.485, 8: 2.512, 9: 2.535, 10: 2.555}
POCOCK_1 = {2: 2.772, 3: 2.873, 4: 2.939, 5: 2.986}
POCOCK_10 = {2: 1.875, 3: 1.992, 4: 2.067, 5: 2.122}
OBRIEN_FLEMING = {2: 1.977, 3: 2.004, 4: 2.024, 5: 2.040, 10: 2.087}
"""Jennison & Turnbull, Group Sequential Methods, 2000, tables 2.1 and 2.3; equal steps."""


def known_variance(bounds):
    """Exits of a sum of equal normal steps, by Armitage, McPherson & Rowe's recursion.

    Independent of the package: densities of the sum itself, the trapezoidal rule on its own grid.
    """
    exits, nodes, weights = [], np.zeros(1), np.ones(1)
    for k, z in enumerate(bounds, start=1):
        reach = z * np.sqrt(k)
        beyond = norm.sf(reach - nodes) + norm.cdf(-reach - nodes)
        exits.append(float(weights @ beyond))
        inside = np.linspace(-reach, reach, 401)
        density = norm.pdf(inside[:, None] - nodes) @ weights
        step = inside[1] - inside[0]
        ends = np.where((np.arange(401) == 0) | (np.arange(401) == 400), 0.5, 1.0)
        nodes, weights = inside, density * step * ends
    return np.array(exits)


@pytest.fixture(scope="module")
def equal_steps():
    """Exits at equally spaced looks, of which only the first so many can stop."""
    path = NullPath([MANY * k for k in range(1, 11)])

    def exits(bounds):
        nominal = np.zeros(10)
        nominal[: len(bounds)] = 2 * ndtr(-np.asarray(bounds))
        return path.exits(nominal, 2)[: len(bounds)]

    return exits


@pytest.mark.parametrize(("table", "alpha"), [(POCOCK, 0.05), (POCOCK_1, 0.01), (POCOCK_10, 0.10)])
def test_pococks_constants_are_the_published_ones(equal_steps, table, alpha):
    for count, constant in table.items():
        # Three decimals of z: 0.0005 of it move the level by 0.3 % of itself at most.
        assert equal_steps([constant] * count).sum() == pytest.approx(alpha, rel=0.003)


def test_obrien_and_flemings_constants_are_the_published_ones(equal_steps):
    for count, constant in OBRIEN_FLEMING.items():
        z = constant * np.sqrt(count / np.arange(1, count + 1))
        assert equal_steps(z).sum() == pytest.approx(0.05, rel=0.003)


@pytest.mark.parametrize("bounds", [(2.4, 2.4, 2.4, 2.4, 2.4), (4.0, 3.0, 2.5, 2.2, 2.04)])
def test_many_seeds_give_the_recursion_of_known_variance(equal_steps, bounds):
    assert equal_steps(bounds) == pytest.approx(known_variance(bounds), rel=2e-3)


STUDIES = 60_000


def simulated(looks, thresholds, sides, studies=STUDIES):
    """First exits from single draws, seed by seed: nothing of the recursion is in it."""
    draws = np.random.default_rng(11).standard_normal((studies, looks[-1]))
    gone, exits = np.zeros(studies, dtype=bool), []
    for n, threshold in zip(looks, thresholds, strict=True):
        seen = draws[:, :n]
        t = seen.mean(axis=1) / (seen.std(axis=1, ddof=1) / np.sqrt(n))
        p = 2 * stdtr(n - 1, -np.abs(t)) if sides == 2 else stdtr(n - 1, -t)
        exits.append((~gone & (p < threshold)).mean())
        gone |= p < threshold
    return np.array(exits)


@pytest.mark.parametrize(
    ("looks", "thresholds", "sides"),
    [
        ((5, 10, 20, 40), (0.015,) * 4, 2),
        ((5, 10, 20, 40), (0.001, 0.01, 0.02, 0.04), 1),
        ((2, 3, 4, 6, 9), (0.02,) * 5, 2),
        ((3, 4, 7), (0.05, 0.3, 0.4), 1),
        ((8, 9, 12), (0.02, 0.0, 0.03), 2),
    ],
)
def test_few_seeds_give_what_single_draws_give(looks, thresholds, sides):
    measured = simulated(looks, thresholds, sides)
    ours = NullPath(looks).exits(thresholds, sides)
    error = np.sqrt(np.maximum(ours, 1e-6) / STUDIES)
    assert (np.abs(ours - measured) < 4 * error).all()
    assert ours[0] == pytest.approx(thresholds[0], rel=1e-5)


def test_a_finer_grid_gives_the_same(monkeypatch):
    from llm4seg_probe.statistics import boundaries

    looks, at = (5, 10, 20), (0.015,) * 3
    coarse = NullPath(looks).exits(at, 2)
    monkeypatch.setattr(boundaries, "STEP", 0.05)
    assert NullPath(looks).exits(at, 2) == pytest.approx(coarse, rel=1e-4)


@pytest.mark.parametrize("sides", [1, 2])
def test_thresholds_spend_what_they_are_given(sides):
    path = NullPath((5, 10, 20, 40))
    spending = np.array([1e-4, 0.0, 0.01, 0.03])
    found = path.thresholds(spending, sides)
    assert found[1] == 0
    assert path.exits(found, sides) == pytest.approx(spending, rel=1e-9, abs=1e-15)


def test_the_stagewise_p_of_one_look_is_its_own():
    assert NullPath((7,)).stagewise([0.01], 2, 0.003) == pytest.approx(0.003, rel=1e-5)


def test_stopping_earlier_is_more_extreme_in_stagewise_order():
    thresholds = [0.01, 0.01]
    first = NullPath((5,)).stagewise(thresholds[:1], 2, 0.004)
    second = NullPath((5, 10)).stagewise(thresholds, 2, 1e-9)
    assert first < second
    # Whatever happens at the second look: those that left above at the first come before.
    assert second == pytest.approx(0.005, rel=1e-4)
