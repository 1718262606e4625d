"""The crossed bootstrap against a loop over the same resamples, and its properties."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.statistics import bootstrap
from llm4seg_probe.statistics.bootstrap import draws, interval, resample, totals


def looped(differences, groups, count, seed):
    """Naive: take the drawn runs and every case of the drawn groups, then average."""
    both, alone = [], []
    members = [np.flatnonzero(groups == g) for g in range(groups.max() + 1)]
    for seeds, chosen in draws(count, len(differences), len(members), seed):
        for row in range(len(seeds)):
            cases = np.concatenate([members[g] for g in chosen[row]])
            both.append(differences[np.ix_(seeds[row], cases)].mean())
            alone.append(differences[:, cases].mean())
    return np.array(both), np.array(alone)


@pytest.fixture
def crossed_study():
    random = np.random.default_rng(7)
    groups = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4])
    return random.normal(0.01, 0.02, (5, len(groups))), groups


def test_it_is_the_loop_over_the_same_draws(crossed_study, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK", 35)  # several blocks, the last one shorter
    differences, groups = crossed_study
    both, alone = resample([totals(differences, groups)], 50, seed=3)[0]
    expected_both, expected_alone = looped(differences, groups, 50, seed=3)
    np.testing.assert_allclose(both, expected_both, rtol=1e-12)
    np.testing.assert_allclose(alone, expected_alone, rtol=1e-12)


def test_pairs_that_share_draws_get_what_each_gets_alone(crossed_study):
    differences, groups = crossed_study
    one, other = totals(differences, groups), totals(2 - differences, groups)
    together = resample([one, other], 60, seed=5)
    np.testing.assert_array_equal(together[0], resample([one], 60, seed=5)[0])
    np.testing.assert_array_equal(together[1], resample([other], 60, seed=5)[0])
    assert resample([], 60, seed=5) == []


def test_the_order_of_cases_does_not_matter(crossed_study):
    differences, groups = crossed_study
    order = np.random.default_rng(0).permutation(len(groups))
    one = resample([totals(differences, groups)], 100, seed=1)[0]
    other = resample([totals(differences[:, order], groups[order])], 100, seed=1)[0]
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_equal_seeds_equal_numbers_and_the_global_generator_is_untouched(crossed_study):
    data = totals(*crossed_study)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (the global one is what is looked at)
    one, again, other = (resample([data], 100, seed)[0][0] for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_one_draw_of_seeds_for_all_groups_spreads_as_the_seeds_do():
    # Only the seeds differ: a bootstrap that drew groups within each seed would be no worse here,
    # but one that drew seeds within each group would average the spread away.
    seeds = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    data = totals(np.repeat(seeds[:, None], 50, axis=1), np.arange(50))
    both, alone = resample([data], 4000, seed=0)[0]
    assert both.std() == pytest.approx(seeds.std() / np.sqrt(5), rel=0.05)
    assert np.allclose(alone, 0.0)


def test_one_draw_of_groups_for_all_seeds_spreads_as_the_groups_do():
    groups = np.linspace(-0.1, 0.1, 20)
    data = totals(np.repeat(groups[None], 5, axis=0), np.arange(20))
    both, alone = resample([data], 4000, seed=0)[0]
    assert both.std() == pytest.approx(groups.std() / np.sqrt(20), rel=0.05)
    np.testing.assert_allclose(both, alone, atol=1e-12)


def test_degrees_of_freedom_follow_what_makes_the_spread():
    seeds = totals(np.repeat(np.arange(5.0)[:, None], 50, axis=1), np.arange(50))
    groups = totals(np.repeat(np.arange(50.0)[None], 5, axis=0), np.arange(50))
    assert seeds.df == pytest.approx(4)
    assert groups.df == pytest.approx(49)
    assert totals(np.ones((5, 50)), np.arange(50)).df == 49


def test_the_interval_takes_expanded_percentiles():
    resampled = np.linspace(0, 1, 100_001)
    # n = 5: t = 2.7764, sqrt(5/4) t = 3.1042, and pnorm(-3.1042) = 0.000954 (R)
    assert interval(resampled, 4) == pytest.approx((0.000954, 1 - 0.000954), abs=2e-6)
    low, high = interval(resampled, 1e9)
    assert (low, high) == pytest.approx((0.025, 0.975), abs=1e-6)


@pytest.mark.parametrize("has_cases", [True, False])
def test_the_coverage_told_is_the_lowest_that_was_measured(has_cases):
    path = Path(__file__).parents[2] / "reports" / "statistics" / "calibration.csv"
    measured = pd.read_csv(path).query("quantity == 'coverage of boot_*'")
    chosen = measured[(measured["scenario"] != "seeds alone, no cases") == has_cases]
    lowest = chosen.groupby("n_seeds")["measured"].min()
    assert len(lowest) == 7
    for n, value in lowest.items():
        assert bootstrap.coverage(n, has_cases) == pytest.approx(value, abs=0.0006)
    assert bootstrap.coverage(7, has_cases) == bootstrap.coverage(6, has_cases)
    assert bootstrap.coverage(50, has_cases) == bootstrap.coverage(10, has_cases)


def test_intervals_of_five_seeds_hold_the_truth_as_often_as_told():
    # A small repetition of analyses/benchmarks/calibration.py, with fixed draws.
    random = np.random.default_rng(11)
    studies, seeds, groups = 1000, 5, 20
    values = random.normal(size=(studies, seeds, 1)) + 2 * random.normal(size=(studies, 1, groups))
    values += random.normal(size=(studies, seeds, groups))
    data = [totals(study, np.arange(groups)) for study in values]
    found = [
        interval(both, each.df)
        for (both, _), each in zip(resample(data, 1000, seed=0), data, strict=True)
    ]
    covered = np.mean([low <= 0 <= high for low, high in found])
    assert 0.92 < covered < 0.98
