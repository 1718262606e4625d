"""The exact test against the enumeration of all sign patterns."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm4seg_probe.statistics.exact_tests import floor, sign_flip


def enumerated(differences):
    """Naive: every pattern of signs, one after the other."""
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    observed = abs(sum(differences))
    return sum(s >= observed - 1e-12 * sum(map(abs, differences)) for s in sums) / len(sums)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11])
def test_it_is_the_enumeration(n):
    for seed in range(20):
        differences = np.random.default_rng(seed).normal(0.5, 1, n)
        assert sign_flip(differences) == enumerated(differences)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_ties_and_zeros_count_as_in_the_enumeration(values):
    differences = np.array(values, dtype=float) / 10
    assert sign_flip(differences) == enumerated(list(differences))


def test_it_is_scipys_exact_permutation_test():
    differences = np.random.default_rng(3).normal(0.3, 1, 9)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(differences) == pytest.approx(theirs.pvalue, rel=1e-10)


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=5))
def test_five_seeds_never_go_under_a_sixteenth(values):
    assert sign_flip(np.array(values)) >= floor(5) == 0.0625


def test_many_seeds_are_counted_exactly():
    assert sign_flip(np.ones(40)) == floor(40) == 2.0**-39


@pytest.mark.parametrize("n", [0, 41])
def test_no_seeds_and_too_many_have_no_p(n):
    assert np.isnan(sign_flip(np.ones(n)))


def test_no_difference_at_all_is_no_evidence():
    assert sign_flip(np.zeros(5)) == 1.0
