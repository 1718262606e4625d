"""Planning from a pilot: components of variance, ranges, power curves, sentence, refusals."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.pairs import Paired
from llm4seg_probe.statistics.plan import plan, simulated_power
from llm4seg_probe.statistics.power import Components, components, sd_interval


def crossed(seed_sd, cell_sd, seeds, units, size, seed=0):
    """Differences with a seed's, a group's and a cell's share, ``size`` equal cases per group."""
    random = np.random.default_rng(seed)
    difference = (
        random.normal(0, seed_sd, (seeds, 1))
        + random.normal(0, 0.5, units)
        + random.normal(0, cell_sd, (seeds, units))
    )
    groups = np.repeat(np.arange(units), size)
    values = np.repeat(difference, size, axis=1)
    return Paired("", "iou", "llm", "cnn", values, np.zeros_like(values), groups)


def differences(pair):
    return pair.values_a - pair.values_b, pair.groups


def test_components_are_those_that_were_simulated():
    found = [components(*differences(crossed(0.03, 0.10, 6, 20, 2, seed))) for seed in range(200)]
    assert np.mean([each.cells for each in found]) == pytest.approx(0.10**2, rel=0.05)
    assert np.mean([each.seeds for each in found]) == pytest.approx(0.03**2, rel=0.15)
    assert {each.units for each in found} == {20}


def test_components_add_up_to_the_spread_of_the_seeds():
    pair = crossed(0.0, 0.10, 5, 12, 3)
    found = components(*differences(pair))
    expected = (pair.values_a - pair.values_b).mean(axis=1).std(ddof=1)
    assert found.seeds >= 0
    assert found.sd(found.units) == pytest.approx(expected, rel=1e-12)
    assert found.sd(10 * found.units) < found.sd(found.units)


def test_without_cases_all_spread_is_the_seeds():
    values = np.array([[0.1], [0.2], [0.4]])
    found = components(values, None)
    assert (found.seeds, found.cells, found.units) == (values.var(ddof=1), 0.0, 1)


def test_the_summary_is_statsmodels_with_the_range_of_the_sd(per_seed):
    table = per_seed(cnn=[0.61, 0.62, 0.63], llm=[0.62, 0.64, 0.635])
    row = plan(table, margin=0.005, simulations=0).summary.iloc[0]
    sd = np.std([0.01, 0.02, 0.005], ddof=1)
    unit = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert row["sd_difference"] == pytest.approx(sd)
    assert row["smallest_detectable"] == pytest.approx(unit * sd, rel=1e-6)
    assert row["seeds_needed"] == np.ceil(
        TTestPower().solve_power(effect_size=0.005 / sd, alpha=0.05, power=0.8)
    )
    for name, bound in zip(("low", "high"), sd_interval(sd, 3), strict=True):
        assert row[f"smallest_detectable_{name}"] == pytest.approx(unit * bound, rel=1e-6)
    assert row["seeds_needed_low"] < row["seeds_needed"] < row["seeds_needed_high"]
    assert row["sentence"] == (
        "5 seeds of llm and cnn can show a difference of 0.013 in iou at 80 % power (between "
        "0.0067 and 0.081: 3 pilot seeds know their spread no better), and the margin of 0.005 "
        "takes 21 (between 8 and 726)."
    )


def test_the_curve_grows_with_seeds_and_units_and_agrees_with_simulation(study):
    found = plan(study(seeds=4, cases=24, per_group=2), simulations=4000)
    curve = found.curve
    assert set(curve["n_units"]) == {6, 12, 24, 48}
    for _, part in curve.groupby("n_units"):
        assert part["power"].is_monotonic_increasing
    for _, part in curve.groupby("n_seeds"):
        assert part.sort_values("n_units")["power"].is_monotonic_increasing
    assert (curve["power"] - curve["power_simulated"]).abs().max() < 0.03
    assert (curve["power_low"] <= curve["power"]).all()
    assert (curve["power"] <= curve["power_high"]).all()
    assert found.summary["unit"][0] == "group"
    assert found.summary["sentence"][0].startswith("On spine, 5 seeds of llm and cnn can show")


def test_the_curve_at_the_pilot_is_that_of_its_own_spread(study):
    found = plan(study(), margin=0.01, simulations=0)
    row = found.summary.iloc[0]
    here = found.curve.query("n_seeds == 5 and n_units == 12")["power"].iloc[0]
    assert here == pytest.approx(TTestPower().power(0.01 / row["sd_difference"], 5, 0.05), abs=0.01)


def test_without_cases_the_curve_has_seeds_alone(per_seed):
    found = plan(per_seed(cnn=[0.61, 0.62, 0.63], llm=[0.62, 0.64, 0.635]), simulations=0)
    assert found.curve["n_units"].isna().all()
    assert found.curve["power_simulated"].isna().all()
    assert found.summary["unit"][0] == ""


def test_simulation_without_an_effect_rejects_as_often_as_it_may():
    assert simulated_power(Components(0.01, 0.1, 10), 10, 5, 0.0, studies=40_000) == pytest.approx(
        0.05, abs=0.004
    )


def test_equal_seeds_equal_plans(study):
    one, again = plan(study(), simulations=100), plan(study(), simulations=100)
    pd.testing.assert_frame_equal(one.curve, again.curve)


@pytest.mark.parametrize(
    ("seeds", "options", "error", "message"),
    [
        (2, {}, TableError,
         "a pilot takes at least 3 paired seeds; llm against cnn has 2"),
        (4, {"power": 1.2}, ConfigError,
         "power is 1.2: give a number between alpha and 1, such as 0.8"),
        (4, {"seeds": 1}, ConfigError, "seeds is 1: give at least 2"),
        (4, {"margin": 0}, ConfigError, "margin is 0: give a number above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_says_why(study, seeds, options, error, message):
    with pytest.raises(error) as refusal:
        plan(study(seeds=seeds), **options)
    assert str(refusal.value) == message


def test_a_pilot_without_spread_plans_nothing(per_seed):
    with pytest.raises(TableError, match="the differences do not vary between seeds, so nothing"):
        plan(per_seed(cnn=[0.5, 0.6, 0.7], llm=[0.6, 0.7, 0.8]))
