"""Holm's adjustment against statsmodels, and what an unmade comparison does to a family."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from llm4seg_probe.statistics.multiplicity import holm, holm_at


@pytest.mark.parametrize(
    "p",
    [
        [0.04],
        [0.01, 0.04, 0.03, 0.005],
        [0.02, 0.02, 0.02, 1.0, 0.0],
        list(np.random.default_rng(0).random(14) ** 3),
    ],
)
def test_it_is_statsmodels(p):
    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]), abs=1e-12)


@given(st.permutations([0.001, 0.01, 0.02, 0.04, 0.5]))
def test_the_order_of_the_family_does_not_matter(p):
    adjusted = dict(
        zip([0.001, 0.01, 0.02, 0.04, 0.5], [0.005, 0.04, 0.06, 0.08, 0.5], strict=True)
    )
    assert holm(p) == pytest.approx([adjusted[value] for value in p])


def test_a_comparison_that_was_not_made_stays_in_the_family():
    adjusted = holm([0.02, np.nan])
    assert adjusted[0] == pytest.approx(0.04)
    assert np.isnan(adjusted[1])


def test_an_empty_family_has_nothing_to_adjust():
    assert holm([]) == []


def test_holm_at_replaces_one_member():
    assert holm_at([0.01, 0.5], 1, 0.03) == pytest.approx(0.03)
    assert holm_at([0.01, 0.5], 0, 0.6) == 1.0
