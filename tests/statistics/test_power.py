"""Power, smallest effect and numbers of seeds against statsmodels and R."""

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from llm4seg_probe.statistics.power import (
    detectable_shift,
    paired_spread,
    sd_interval,
    seeds_needed,
    smallest_detectable,
    t_power,
    welch_spread,
)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 200])
@pytest.mark.parametrize("effect", [0.0, 0.1, 0.5, 1.2])
def test_power_is_statsmodels(n, effect):
    theirs = TTestPower().power(effect, n, 0.05)
    assert t_power(effect * np.sqrt(n), n - 1) == pytest.approx(theirs, abs=1e-10)


@pytest.mark.parametrize("n", [3, 5, 10, 50])
def test_the_smallest_effect_is_statsmodels(n):
    theirs = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert smallest_detectable(1 / np.sqrt(n), n - 1) == pytest.approx(theirs, rel=1e-6)


def test_two_seeds_have_a_smallest_effect_too():
    assert t_power(detectable_shift(1), 1) == pytest.approx(0.8, abs=1e-9)


@pytest.mark.parametrize("shift", [0, 9, 30, 100, 1e4])
@pytest.mark.parametrize("df", [1, 4, 30])
def test_power_is_a_probability_however_large_the_effect(shift, df):
    assert 0.05 - 1e-9 <= t_power(shift, df) <= 1


def test_power_counts_both_directions_alike():
    assert t_power(-2.0, 4) == t_power(2.0, 4)


@pytest.mark.parametrize(("effect", "sd"), [(0.005, 0.01), (0.005, 0.004), (0.01, 0.03)])
def test_seeds_needed_is_the_first_number_that_is_enough(effect, sd):
    n = int(seeds_needed(effect, paired_spread(sd)))
    assert TTestPower().power(effect / sd, n, 0.05) >= 0.8
    assert TTestPower().power(effect / sd, n - 1, 0.05) < 0.8


def test_seeds_needed_unpaired_is_r_s_power_t_test():
    # R: power.t.test(delta = 1, sd = 1, power = 0.8)$n = 16.71477 in each group
    assert seeds_needed(1.0, welch_spread(1.0, 1.0)) == 17


def test_no_effect_takes_for_ever_and_no_spread_is_unknown():
    assert seeds_needed(0.0, paired_spread(0.1)) == np.inf
    assert seeds_needed(1e-9, paired_spread(1.0)) == np.inf
    assert np.isnan(seeds_needed(0.01, paired_spread(np.nan)))
    assert seeds_needed(0.01, paired_spread(0.0)) == 2
    assert np.isnan(smallest_detectable(0.0, 4))


def test_the_interval_of_an_sd_is_chi_square():
    # R: 1 * sqrt(4 / qchisq(c(.975, .025), 4)) = 0.5991 2.8736
    assert sd_interval(1.0, 5) == pytest.approx((0.59913, 2.87355), abs=1e-4)
    assert np.isnan(sd_interval(1.0, 1)).all()
