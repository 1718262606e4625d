"""Outlying and collapsed seeds, robust estimates, and what is said of them."""

from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import skewtest, t

from llm4seg_probe.statistics.robust import (
    MEASURED,
    collapse_sentence,
    collapsed,
    hodges_lehmann,
    outlying,
    robust,
    robust_sentence,
    shape_sentence,
    skewness_p,
    without,
)

A = np.array([0.68, 0.66, 0.69, 0.67, 0.67, 0.70])
B = np.array([0.66, 0.65, 0.66, 0.66, 0.12, 0.68])
CSV = Path(__file__).parents[2] / "reports" / "statistics" / "sequential.csv"


def test_one_outlying_value_is_grubbs_test():
    n = 6
    critical = t.ppf(1 - 0.01 / (2 * n), n - 2)
    bound = (n - 1) / np.sqrt(n) * np.sqrt(critical**2 / (n - 2 + critical**2))
    for far in np.linspace(1, 60, 200):
        values = np.array([0.0, 1.0, -1.0, 0.5, -0.5, far])
        g = (far - values.mean()) / values.std(ddof=1)
        assert outlying(values)[-1] == (g > bound)


def test_two_outlying_values_do_not_hide_each_other():
    values = np.append(np.random.default_rng(0).normal(size=12), [30.0, 31.0])
    assert np.flatnonzero(outlying(values)).tolist() == [12, 13]


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0, 0.0, 9.0], [0.0] * 8])
def test_too_few_or_equal_values_name_nobody(values):
    assert not outlying(np.array(values)).any()


def test_all_equal_but_one_is_named():
    assert outlying(np.array([1.0] * 9 + [1.5]))[-1]


def test_a_seed_is_rarely_named_in_a_normal_sample():
    draws = np.random.default_rng(1).standard_normal((1500, 10))
    assert np.mean([outlying(each).any() for each in draws]) < 0.03


def test_the_unit_does_not_matter():
    values = np.append(np.random.default_rng(2).normal(size=9), 12.0)
    assert (outlying(values) == outlying(-1000 * values + 3)).all()
    assert (collapsed(A) == collapsed(100 * A)).all()


def test_a_collapsed_run_is_far_below_its_arm():
    assert collapsed(B).tolist() == [False] * 4 + [True, False]
    assert not collapsed(A).any()
    assert not collapsed(np.array([0.6, 0.2, 0.5, 0.3, 0.05])).any()  # an arm that varies so
    assert collapsed(np.array([4.0, 5.0, 4.5, 40.0, 5.2]), lower_is_better=True)[3]
    assert not collapsed(np.array([4.0, 5.0, 4.5, 0.1, 5.2]), lower_is_better=True).any()
    assert not collapsed(np.array([0.6, 0.0])).any()


def test_hodges_lehmann_is_the_median_of_all_pairs():
    values = np.random.default_rng(3).normal(size=7)
    pairs = [(x + y) / 2 for x, y in combinations_with_replacement(values, 2)]
    assert hodges_lehmann(values) == pytest.approx(np.median(pairs))
    assert np.isnan(hodges_lehmann(np.array([])))


@pytest.mark.parametrize("n", [8, 9, 30, 200])
def test_skewness_is_scipys(n):
    values = np.random.default_rng(n).lognormal(size=n)
    assert skewness_p(values) == pytest.approx(skewtest(values).pvalue, rel=1e-6)
    assert skewness_p(values[:7]) == 1.0
    assert skewness_p(np.ones(n)) == 1.0


def test_shapes_are_told_apart():
    rng = np.random.default_rng(4)
    base = rng.normal(10, 0.01, 40)
    assert robust(base + rng.normal(0, 0.1, 40), base).shape == "normal"
    assert robust(base + rng.lognormal(size=40), base).shape == "skewed"
    tails = np.append(rng.normal(0, 0.1, 38), [2.0, -2.0])
    assert robust(base + tails, base).shape == "heavy tails"
    assert robust(A, B).shape == "collapse"


def test_what_is_found_without_some_seeds():
    named = robust(A, B).named
    rest, verdict = without(A, B, named, (0.05, 0.05, 0.05), margin=0.005)
    assert rest.n == 5
    assert rest.difference == pytest.approx((A - B)[~named].mean())
    assert verdict == "supported"
    assert without(A, B, named, (0.0001, 0.05, 0.05))[1] == "inconclusive"
    assert without(B, A, named, (0.05, 0.05, 0.05))[1] == "contradicted"
    assert without(A, B, named, (0.0, 0.0, 0.05), margin=0.5)[1] == "equivalent"
    assert without(A, B, np.array([True] * 5 + [False]), (0.05, 0.05, 0.05))[1] == "not run"


def test_seeds_are_named_with_what_the_others_say():
    found = robust(A, B)
    rest, verdict = without(A, B, found.named, (0.05, 0.05, 0.05))
    told = robust_sentence(found, ("llm", "cnn"), range(6), A - B, rest, verdict)
    assert told == (
        "seed 4 (+0.55, cnn collapsed) does not belong to the rest; without it supported: "
        "+0.018 over 5; of all seeds the median is +0.02, Hodges-Lehmann +0.02, exact p = 0.031"
    )
    assert robust_sentence(robust(A, A), ("a", "b"), range(6), A - A, rest, verdict) == ""


def test_collapsed_runs_are_a_result_of_each_arm():
    found = robust(A, B)
    assert collapse_sentence(("llm", "cnn"), found.collapsed_a, found.collapsed_b) == (
        "0 of 6 runs of llm collapsed and 1 of 6 runs of cnn collapsed"
    )
    assert collapse_sentence(("a", "b"), collapsed(A), collapsed(A)) == ""


def test_the_sentence_of_a_shape():
    assert shape_sentence("normal", True) == ""
    assert shape_sentence("collapse", False) == (
        "in simulated studies where one arm's run in ten collapses a 95 % interval of five seeds "
        "held the truth in 47 %"
    )
    assert shape_sentence("skewed", True).endswith(
        "82 %, and looks from five seeds on decided 24 % without an effect, not 5 %"
    )


def test_what_is_said_was_measured():
    table = pd.read_csv(CSV)
    scenarios = {
        "collapse": "one arm collapses one run in ten",
        "skewed": "lognormal",
        "heavy tails": "t with 3 degrees of freedom",
    }
    for shape, scenario in scenarios.items():
        rows = table[table["scenario"] == scenario]
        decided = rows[
            rows["quantity"].str.startswith("false decision") & (rows["spending"] == "pocock")
        ]
        single = rows[rows["quantity"].str.startswith("a single") & (rows["looks"] == "5")]
        assert decided["measured"].item() == pytest.approx(MEASURED[shape].decided, abs=0.005)
        assert single["measured"].item() == pytest.approx(MEASURED[shape].interval, abs=0.005)


def test_every_promise_of_the_calibration_is_kept():
    table = pd.read_csv(CSV)
    promised = table[table["within"].notna()]
    assert len(promised) > 60
    assert promised["within"].astype(bool).all()
    # A family of twenty arms is twenty tests each.
    families = promised["scenario"].str.contains("20 arms")
    assert (promised["studies"][~families] == 10_000).all()
    assert (promised["studies"][families] == 4_000).all()
