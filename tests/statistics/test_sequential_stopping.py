"""When studies stop: simulated paths against single draws, closed forms, and what was planned."""

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit
from scipy.stats import nct, norm

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.looks import Design, levels
from llm4seg_probe.statistics.power import t_power
from llm4seg_probe.statistics.stopping import (
    Start,
    drawn,
    expected,
    first_crossed,
    median_unbiased,
    outlook,
    paths_of,
    stagewise_p,
)

DESIGN = Design((5, 10, 20, 40))


def single_draws(effect, studies, n, seed=1):
    return np.random.default_rng(seed).normal(effect, 1.0, (studies, n))


def test_paths_are_the_means_and_deviations_of_their_seeds():
    values = single_draws(1e6, 20, 40)
    paths = paths_of(values, DESIGN.looks)
    for k, n in enumerate(DESIGN.looks):
        assert paths.mean[:, k] == pytest.approx(values[:, :n].mean(axis=1), rel=1e-12)
        assert paths.sd[:, k] == pytest.approx(values[:, :n].std(axis=1, ddof=1), rel=1e-6)


def test_blocks_are_distributed_as_their_seeds():
    blocks = drawn((5, 6, 20), 40_000, 0, effect=0.3, sd=2.0)
    seeds = paths_of(0.3 + 2.0 * single_draws(0.0, 40_000, 20), (5, 6, 20))
    for ours, theirs in ((blocks.mean, seeds.mean), (blocks.sd, seeds.sd)):
        assert np.quantile(ours, [0.1, 0.5, 0.9], axis=0) == pytest.approx(
            np.quantile(theirs, [0.1, 0.5, 0.9], axis=0), abs=0.05
        )
        assert np.corrcoef(ours, rowvar=False) == pytest.approx(
            np.corrcoef(theirs, rowvar=False), abs=0.02
        )


@pytest.mark.parametrize(("effect", "margin"), [(1.0, np.nan), (0.4, np.nan), (0.0, 0.6)])
def test_what_is_expected_is_what_single_draws_give(effect, margin):
    planned = expected(DESIGN, effect, margin=margin)
    found = first_crossed(
        paths_of(single_draws(effect, 20_000, 40), DESIGN.looks), DESIGN, margin=margin
    )
    seeds = np.array([5, 10, 20, 40, 40])[found.look]
    assert seeds.mean() == pytest.approx(planned.mean_seeds, rel=0.03)
    for outcome, chance in enumerate((planned.supported, planned.contradicted, planned.equivalent)):
        measured = np.bincount(found.look[found.outcome == outcome], minlength=4) / 20_000
        assert measured == pytest.approx(chance, abs=0.015)
    assert planned.ends.sum() + planned.undecided == pytest.approx(1.0)
    assert 0 < planned.error < 0.005
    assert 0 < planned.mean_seeds_error < 0.1


def test_one_look_is_the_power_of_the_t_test():
    planned = expected(Design((8,)), 1.0)
    assert planned.ends.sum() == pytest.approx(t_power(np.sqrt(8), 7), abs=0.01)
    assert planned.mean_seeds == 8


def test_the_unit_of_effect_margin_and_spread_does_not_matter():
    one, hundred = expected(DESIGN, 0.5, margin=0.8), expected(DESIGN, 50, sd=100, margin=80)
    assert one.mean_seeds == pytest.approx(hundred.mean_seeds, rel=1e-3)


def test_equal_seeds_give_equal_numbers():
    assert expected(DESIGN, 0.5).mean_seeds == expected(DESIGN, 0.5).mean_seeds
    assert expected(DESIGN, 0.5, seed=1).mean_seeds != expected(DESIGN, 0.5).mean_seeds


def test_conditional_power_is_that_of_studies_that_went_the_same_way():
    design = Design((10, 20))
    (chances,) = outlook(design, Start(10, 0.5, 1.0)).chances.values()
    boundary = levels(design).thresholds(0.05)[1]
    seen = np.concatenate([[-1, 1] * 5]) * np.sqrt(0.9) + 0.5
    more = 0.5 + np.random.default_rng(2).standard_normal((20_000, 10))
    paths = paths_of(np.hstack([np.tile(seen, (20_000, 1)), more]), (20,))
    t = paths.mean / (paths.sd / np.sqrt(20))
    assert chances["supported"] == pytest.approx((t > -stdtrit(19, boundary / 2)).mean(), abs=0.015)


def test_an_outlook_names_the_effects_it_assumes():
    found = outlook(DESIGN, Start(20, 0.3, 1.0), margin=0.5)
    assert list(found.chances) == [
        "at the estimate",
        "at the margin",
        "at the margin below",
        "without a difference",
    ]
    assert found.chances["at the margin"]["supported"] > 0.3
    assert found.best == max(max(each.values()) for each in found.chances.values())
    assert not found.hopeless


def test_a_study_that_cannot_decide_any_more_is_hopeless():
    found = outlook(DESIGN, Start(20, 0.0, 1.0), margin=0.05)
    assert found.best < 0.1
    assert found.hopeless


def test_no_outlook_without_looks_or_spread():
    with pytest.raises(
        ConfigError, match=r"^40 seeds are the last look: nothing is left to expect$"
    ):
        outlook(DESIGN, Start(40, 0.0, 1.0))
    with pytest.raises(ConfigError, match="do not vary between seeds"):
        outlook(DESIGN, Start(20, 0.0, 0.0))


def test_the_stagewise_p_is_uniform_without_an_effect():
    design = Design((5, 10))
    paths = drawn(design.looks, 200_000, 5)
    found = first_crossed(paths, design)
    # Studies as extreme as one that stopped at the second look with p = 0.01.
    p = 2 * stdtr(9, -np.abs(paths.mean[:, 1] / (paths.sd[:, 1] / np.sqrt(10))))
    extreme = (found.look == 0) | (p < 0.01)
    assert stagewise_p(design, 2, 0.01) == pytest.approx(extreme.mean(), abs=0.002)
    assert stagewise_p(design, 1, 0.004) == pytest.approx(0.004, rel=1e-4)


def test_the_median_unbiased_estimate_lies_nearer_to_zero():
    assert median_unbiased(DESIGN, 1, 2.4) == 2.4
    later = median_unbiased(DESIGN, 3, 0.8)
    assert 0 < later < 0.8
    assert median_unbiased(DESIGN, 3, -0.8) == -later


def test_the_median_unbiased_estimate_halves_the_studies():
    design = Design((10, 20))
    effect = median_unbiased(design, 2, 0.7)
    paths = drawn(design.looks, 100_000, 9, effect=effect)
    found = first_crossed(paths, design)
    more = (found.look == 0) & (found.outcome == 0) | (found.look > 0) & (paths.mean[:, 1] > 0.7)
    assert more.mean() == pytest.approx(0.5, abs=0.01)


def test_half_of_the_estimates_are_too_large():
    design, truth = Design((20, 40, 80)), 0.3
    paths = paths_of(single_draws(truth, 300, 80), design.looks)
    found = first_crossed(paths, design)
    stopped = found.look < 3
    look = found.look[stopped]
    mean, sd = paths.mean[stopped, look], paths.sd[stopped, look]
    middle = [
        s * median_unbiased(design, int(k) + 1, m / s, studies=2000)
        for k, m, s in zip(look, mean, sd, strict=True)
    ]
    plain_above, ours_above = (mean > truth).mean(), (np.array(middle) > truth).mean()
    assert abs(ours_above - 0.5) < abs(plain_above - 0.5)
    assert np.mean(middle) < mean.mean()


def test_power_at_many_seeds_is_the_normal_one():
    planned = expected(Design((500,)), 0.1)
    z = norm.ppf(0.975)
    assert planned.ends.sum() == pytest.approx(norm.sf(z - 0.1 * np.sqrt(500)), abs=0.01)
    assert nct.sf(z, 499, 0.1 * np.sqrt(500)) == pytest.approx(float(planned.ends.sum()), abs=0.01)
