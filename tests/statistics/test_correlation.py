"""Repeated-measures correlation against statsmodels, closed forms and published numbers."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm4seg_probe.statistics.correlation import Correlation, fitted, repeated_measures


def drawn(seed, sizes=(5, 5, 4, 1), slope=0.4):
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    x = random.normal(0, 1, len(group)) + 3.0 * group
    y = slope * x - 2.0 * group + random.normal(0, 1, len(group))
    return x, y, group


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_analysis_of_covariance_with_one_slope(seed):
    x, y, group = drawn(seed)
    dummies = (group[:, None] == np.arange(group.max() + 1)).astype(float)
    model = sm.OLS(y, np.column_stack([dummies, x])).fit()
    found = repeated_measures(x, y, group)
    assert found.df == model.df_resid == 15 - 4 - 1
    assert found.t == pytest.approx(model.tvalues[-1], rel=1e-10)
    assert found.p == pytest.approx(model.pvalues[-1], rel=1e-10)
    assert found.slope == pytest.approx(model.params[-1], rel=1e-10)
    explained = sm.OLS(y, dummies).fit().ssr - model.ssr
    assert found.r**2 == pytest.approx(explained / (explained + model.ssr), rel=1e-10)
    np.testing.assert_allclose(fitted(x, y, group, found.slope), model.fittedvalues, rtol=1e-10)


def test_one_group_is_pearson():
    x, y, _ = drawn(7, sizes=(12,))
    found = repeated_measures(x, y, np.zeros(12, np.int64))
    theirs = stats.pearsonr(x, y)
    assert (found.r, found.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-10)
    assert found.interval() == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-10)


def test_interval_and_p_of_the_authors_own_example():
    # rmcorr's stored output for Bland and Altman's pH and PaCO2: 8 subjects, 47 points.
    found = Correlation(n=47, groups=8, r=-0.5067697, slope=0.0, across=np.nan)
    assert found.df == 38
    assert found.p == pytest.approx(0.0008471081, rel=1e-5)
    assert found.interval() == pytest.approx((-0.7067146, -0.2318631), abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(-50, 50), st.floats(0.1, 10))
def test_what_makes_one_group_better_than_another_plays_no_part(seed, shift, scale):
    x, y, group = drawn(seed)
    found = repeated_measures(x, y, group)
    other = repeated_measures(scale * x + shift * group, y - shift * group**2, group)
    assert other.r == pytest.approx(found.r, rel=1e-6)
    assert repeated_measures(y, x, group).r == pytest.approx(found.r, rel=1e-9)
    assert repeated_measures(-x, y, group).r == pytest.approx(-found.r, rel=1e-9)


def test_across_groups_the_sign_may_be_another():
    x, y, group = drawn(1, sizes=(8, 8, 8, 8), slope=0.8)
    found = repeated_measures(x, y, group)
    assert found.r > 0.3
    assert found.across == pytest.approx(
        np.corrcoef([x[group == g].mean() for g in range(4)],
                    [y[group == g].mean() for g in range(4)])[0, 1]
    )  # fmt: skip
    assert np.isnan(repeated_measures(x[:16], y[:16], group[:16]).across)


def test_values_that_do_not_vary_within_a_group_have_no_correlation():
    group = np.repeat([0, 1], 3)
    flat = np.repeat([0.1, 0.3], 3)
    varied = np.arange(6.0)
    assert np.isnan(repeated_measures(flat, varied, group).r)
    assert np.isnan(repeated_measures(varied, flat, group).r)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_correlation_is_certain(sign):
    found = Correlation(n=12, groups=3, r=float(sign), slope=1.0, across=np.nan)
    assert found.p == 0
    assert found.interval() == (sign, sign)
    assert found.within(0.5) == 1


def test_two_one_sided_tests_in_closed_form():
    found = Correlation(n=40, groups=8, r=0.1, slope=1.0, across=np.nan)
    error = 1 / np.sqrt(40 - 8 - 2)
    by_hand = max(
        stats.norm.cdf((np.arctanh(0.1) - np.arctanh(0.3)) / error),
        stats.norm.cdf((-np.arctanh(0.1) - np.arctanh(0.3)) / error),
    )
    assert found.within(0.3) == pytest.approx(by_hand, rel=1e-12)
    mirrored = Correlation(n=40, groups=8, r=-0.1, slope=1.0, across=np.nan)
    assert mirrored.within(0.3) == pytest.approx(found.within(0.3), rel=1e-12)


def test_points_needed_are_the_fewest_that_can_show_the_margin():
    found = Correlation(n=40, groups=8, r=0.1, slope=1.0, across=np.nan)
    needed = found.per_group_needed(0.3)
    enough = Correlation(8 * needed, 8, 0.1, 1.0, np.nan)
    fewer = Correlation(8 * (needed - 1), 8, 0.1, 1.0, np.nan)
    assert enough.smallest_detectable() <= 0.3 < fewer.smallest_detectable()
    assert found.per_group_needed(0.999) == 2


def test_power_coverage_and_error_rate_are_as_promised():
    random = np.random.default_rng(3)
    groups, seeds, studies = 8, 5, 3000
    group = np.repeat(np.arange(groups), seeds)
    rho = Correlation(40, 8, 0.0, 0.0, np.nan).smallest_detectable()

    def simulated(true):
        x = random.normal(size=(studies, 40))
        y = true * x + np.sqrt(1 - true**2) * random.normal(size=(studies, 40))
        return [repeated_measures(a, b + group, group) for a, b in zip(x, y, strict=True)]

    effect, none = simulated(rho), simulated(0.0)
    assert np.mean([each.p < 0.05 for each in effect]) == pytest.approx(0.8, abs=0.025)
    assert np.mean([each.p < 0.05 for each in none]) == pytest.approx(0.05, abs=0.015)
    covered = [low < rho < high for low, high in (each.interval() for each in effect)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
