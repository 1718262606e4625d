"""One case for each rule of the verdicts, for each kind of claim and both directions."""

from dataclasses import replace

import numpy as np
import pytest

from llm4seg_probe.statistics.paired_tests import Estimate, paired, tost
from llm4seg_probe.statistics.verdicts import evidence, verdict


def judged(kind, difference, error, margin=0.01, n=5, lower_is_better=False):
    found = evidence(
        kind, Estimate(n, difference, error * np.sqrt(n), error, n - 1), margin, lower_is_better
    )
    return verdict(n, found.supports, found.opposes, found.within_margin)


@pytest.mark.parametrize(
    ("kind", "difference", "error", "expected"),
    [
        ("superiority", 0.03, 0.005, "supported"),
        ("superiority", 0.003, 0.0005, "supported"),  # below the margin all the same
        ("superiority", -0.03, 0.005, "contradicted"),
        ("superiority", 0.001, 0.002, "equivalent"),
        ("superiority", 0.01, 0.02, "inconclusive"),
        ("non-inferiority", 0.0, 0.002, "supported"),
        ("non-inferiority", 0.05, 0.01, "supported"),
        ("non-inferiority", -0.03, 0.002, "contradicted"),
        ("non-inferiority", -0.005, 0.01, "inconclusive"),
        ("equivalence", 0.0, 0.002, "supported"),
        ("equivalence", 0.03, 0.002, "contradicted"),
        ("equivalence", -0.03, 0.002, "contradicted"),
        ("equivalence", 0.0, 0.02, "inconclusive"),
    ],
)
def test_each_rule(kind, difference, error, expected):
    assert judged(kind, difference, error) == expected
    # The same the other way round, for a score of which less is better.
    assert judged(kind, -difference, error, lower_is_better=True) == expected


@pytest.mark.parametrize("kind", ["superiority", "non-inferiority", "equivalence"])
@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_seeds_were_not_run(kind, n):
    found = evidence(kind, Estimate(n, 0.1, np.nan, np.nan, n - 1), 0.01)
    assert np.isnan(found.p)
    assert verdict(n, found.supports, found.opposes, found.within_margin) == "not run"


def test_non_inferiority_is_the_90_percent_interval_above_minus_the_margin():
    a, b = np.random.default_rng(2).normal(0.6, 0.01, (2, 5))
    estimate = paired(a, b)
    for margin in np.linspace(0.0005, 0.03, 40):
        supported = evidence("non-inferiority", estimate, margin).supports < 0.05
        assert supported == (estimate.interval(0.9)[0] > -margin)


def test_an_equivalence_is_contradicted_by_a_95_percent_interval_beyond_the_margin():
    estimate = paired(*np.random.default_rng(7).normal([[0.62], [0.6]], 0.01, (2, 5)))
    low, _ = estimate.interval(0.95)
    assert low > 0  # so that margins on both sides of the interval's end are tried
    for margin in [*np.linspace(0.05, 0.99, 20) * low, *np.linspace(1.01, 3, 20) * low]:
        for found in (estimate, replace(estimate, difference=-estimate.difference)):
            opposed = evidence("equivalence", found, margin).opposes < 0.05
            assert opposed == (margin < low)


def test_evidence_for_superiority_is_two_sided_and_on_one_side():
    estimate = Estimate(5, 0.01, 0.01, 0.005, 4)
    found = evidence("superiority", estimate, 0.005)
    assert found.p == found.supports == pytest.approx(estimate.p)
    assert found.opposes == 1.0
    assert found.one_sided == pytest.approx(estimate.p / 2)
    assert found.within_margin == tost(estimate, 0.005)


def test_arms_that_agree_in_every_seed_are_equivalent_and_constant_gains_need_six_seeds():
    b = np.array([0.61, 0.62, 0.63, 0.64, 0.65, 0.66])
    for shift, n, expected in (
        (0, 5, "equivalent"),
        (0.1, 5, "inconclusive"),
        (0.1, 6, "supported"),
    ):
        found = evidence("superiority", paired(b[:n] + shift, b[:n]), 0.01)
        assert verdict(n, found.supports, found.opposes, found.within_margin) == expected
