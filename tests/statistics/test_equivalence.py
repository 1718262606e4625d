"""TOST against statsmodels, and its power against simulation."""

import numpy as np
import pytest
from scipy.special import stdtrit
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from llm4seg_probe.statistics.paired_tests import above, below, paired, tost, tost_power, welch

A, B = np.random.default_rng(0).normal(0.6, 0.01, (2, 6))


@pytest.mark.parametrize("margin", [0.001, 0.005, 0.02])
def test_paired_tost_is_statsmodels(margin):
    assert tost(paired(A, B), margin) == pytest.approx(
        ttost_paired(A, B, -margin, margin)[0], rel=1e-10
    )


@pytest.mark.parametrize("margin", [0.001, 0.005, 0.02])
def test_unpaired_tost_is_statsmodels(margin):
    assert tost(welch(A, B[:4]), margin) == pytest.approx(
        ttost_ind(A, B[:4], -margin, margin, usevar="unequal")[0], rel=1e-10
    )


def test_tost_is_the_90_percent_interval_within_the_margin():
    estimate = paired(A, B)
    low, high = estimate.interval(0.90)
    for margin in np.linspace(0.001, 0.03, 30):
        assert (tost(estimate, margin) < 0.05) == (-margin < low and high < margin)


def test_without_spread_the_exact_test_stands_in():
    same = paired(B, B)
    assert tost(same, 0.005) == 0.5**6
    assert above(paired(B + 0.1, B), 0.05) == 0.5**6
    assert above(paired(B + 0.1, B), 0.2) == 1.0
    assert below(paired(B - 0.1, B), 0.0) == 0.5**6
    assert below(same, 0.0) == 1.0


@pytest.mark.parametrize(
    ("df", "margin", "effect"),
    [(1, 0.05, 0.0), (4, 0.01, 0.0), (4, 0.01, 0.005), (30, 0.01, 0.002)],
)
def test_power_of_tost_is_what_simulation_finds(df, margin, effect):
    random = np.random.default_rng(1)
    error, count = 0.004, 200_000
    estimates = random.normal(effect, error, count)
    reach = stdtrit(df, 0.95) * error * np.sqrt(random.chisquare(df, count) / df)
    found = ((estimates - reach > -margin) & (estimates + reach < margin)).mean()
    assert tost_power(error, df, margin, effect) == pytest.approx(found, abs=0.005)


def test_power_of_tost_at_the_margin_is_at_most_alpha():
    assert tost_power(0.001, 4, 0.01, effect=0.01) == pytest.approx(0.05, abs=1e-6)
    assert tost_power(0.02, 4, 0.01, effect=0.01) < 0.05


def test_power_of_tost_without_a_spread_is_unknown_and_with_a_hopeless_one_none():
    assert np.isnan(tost_power(0.0, 4, 0.01))
    assert tost_power(10.0, 100, 0.01) == 0.0
