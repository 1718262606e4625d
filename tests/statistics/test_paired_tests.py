"""Paired, Welch and corrected estimates against scipy and against formulas written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm4seg_probe.statistics.paired_tests import paired, resampled, welch

A = np.array([0.612, 0.633, 0.601, 0.655, 0.640])
B = np.array([0.605, 0.621, 0.607, 0.630, 0.628])


def test_paired_is_scipys_paired_t_test():
    theirs = stats.ttest_rel(A, B)
    ours = paired(A, B)
    assert ours.t == pytest.approx(theirs.statistic, rel=1e-10)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert ours.df == theirs.df
    interval = theirs.confidence_interval(0.95)
    assert ours.interval() == pytest.approx((interval.low, interval.high), rel=1e-10)


@pytest.mark.parametrize("bound", [-0.01, 0.0, 0.004])
def test_one_sided_tests_are_scipys(bound):
    ours = paired(A, B)
    above = stats.ttest_1samp(A - B, bound, alternative="greater").pvalue
    below = stats.ttest_1samp(A - B, bound, alternative="less").pvalue
    assert ours.p_above(bound) == pytest.approx(above, rel=1e-10)
    assert ours.p_below(bound) == pytest.approx(below, rel=1e-10)


def test_welch_is_scipys_with_unequal_numbers_of_runs():
    theirs = stats.ttest_ind(A, B[:3], equal_var=False)
    ours = welch(A, B[:3])
    interval = theirs.confidence_interval(0.9)
    assert ours.n == 3
    assert ours.t == pytest.approx(theirs.statistic, rel=1e-10)
    assert ours.df == pytest.approx(theirs.df, rel=1e-10)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert ours.interval(0.9) == pytest.approx((interval.low, interval.high), rel=1e-10)
    assert np.isnan(ours.sd)


def test_corrected_resampled_t_is_the_published_formula():
    difference = A - B
    k, ratio = 5, 0.2 / 0.8
    t = difference.mean() / np.sqrt((1 / k + ratio) * difference.var(ddof=1))
    ours = resampled(A, B, test_share=0.2)
    assert ours.t == pytest.approx(t, rel=1e-12)
    assert ours.p == pytest.approx(2 * stats.t.sf(abs(t), k - 1), rel=1e-10)
    assert ours.error > paired(A, B).error


@pytest.mark.parametrize("estimate", [paired, welch])
def test_one_seed_gives_a_difference_and_nothing_else(estimate):
    ours = estimate(A[:1], B[:1])
    assert ours.n == 1
    assert ours.difference == pytest.approx(0.007)
    assert not ours.has_spread
    assert all(np.isnan(x) for x in (ours.t, ours.p, *ours.interval(), ours.p_above(0)))


@pytest.mark.parametrize("b", [B + 0.1, B])
def test_rounding_is_no_spread(b):
    ours = paired(b, B)
    assert ours.error == 0
    assert np.isnan(ours.t)
    assert np.isnan(ours.p)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.floats(0.1, 100), st.floats(-5, 5))
def test_units_and_offsets_change_no_p(values, scale, offset):
    values = np.array(values)
    random = np.random.default_rng(0)
    a, b = values + random.normal(0, 0.1, len(values)), values
    ours, other = paired(a, b), paired(offset + scale * a, offset + scale * b)
    assert other.p == pytest.approx(ours.p, rel=1e-6)
    assert other.difference == pytest.approx(scale * ours.difference, rel=1e-6, abs=1e-9)


@given(st.integers(0, 1000))
def test_swapping_flips_the_sign_and_keeps_p(seed):
    a, b = np.random.default_rng(seed).random((2, 5))
    one, other = paired(a, b), paired(b, a)
    assert one.difference == -other.difference
    assert one.t == -other.t
    assert one.p == other.p
    assert one.interval() == tuple(-x for x in reversed(other.interval()))
