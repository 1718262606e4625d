"""Comparisons with declared looks on anybody's table: columns, sentences, refusals."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import studies
from scipy.stats import ttest_rel

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.statistics.look_rows import counting_order
from llm4seg_probe.statistics.looks import Design, levels
from llm4seg_probe.statistics.plan import plan

LOOKS = (5, 10, 20)
CONSTANT = levels(Design(LOOKS)).thresholds(0.05)[0]


def table(arms, n=20, seed=0, names=None):
    """cnn, and arms that are better by so much; SD of the differences 0.014."""
    spread = {"case_sd": 0.0, "seed_sd": 0.03, "run_sd": 0.01, "noise_sd": 0.0}
    drawn = studies.per_case({"cnn": 0.0, **arms}, n, cases=1, seed=seed, **spread)
    named = drawn["seed"].map(dict(enumerate(names or range(n))))
    return drawn[["arm", "iou"]].assign(seed=named)


def looked(data, looks=LOOKS, **options):
    return compare(data, bootstrap=0, looks=looks, **options)


def differences(data, arm):
    wide = data.pivot(index="seed", columns="arm", values="iou")
    return (wide[arm] - wide["cnn"]).to_numpy()


def test_without_looks_no_column_and_no_number_changes():
    data = table({"llm": 0.01, "mlp": 0.0})
    plain, sequential = compare(data, bootstrap=0), looked(data)
    assert not {"look", "p_threshold", "ci_fixed_low"} & set(plain.columns)
    fixed = ["t", "df", "p_t", "p_exact", "n_seeds", "seeds_needed", "smallest_detectable"]
    pd.testing.assert_frame_equal(plain[fixed], sequential[fixed])
    for end in ("low", "high"):
        assert plain[f"ci_{end}"].tolist() == sequential[f"ci_fixed_{end}"].tolist()


def test_the_first_boundary_crossed_decides_and_later_seeds_change_nothing():
    data = table({"llm": 0.03})
    row = looked(data).iloc[0]
    first = looked(data[data["seed"] < 5]).iloc[0]
    assert (row["look"], row["look_seeds"], row["n_seeds"]) == (1, 5, 20)
    assert row["p_threshold"] == pytest.approx(CONSTANT)
    for name in ("look", "verdict", "p_adjusted", "ci_low", "ci_high", "difference"):
        assert row[name] == first[name], name
    d = differences(data, "llm")[:5]
    wanted = ttest_rel(d, 0 * d).confidence_interval(1 - CONSTANT)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(wanted)
    assert row["difference"] == pytest.approx(d.mean())
    assert row["difference"] == pytest.approx(row["mean_a"] - row["mean_b"])
    assert row["p_t"] == pytest.approx(ttest_rel(differences(data, "llm"), np.zeros(20)).pvalue)
    assert "Decided at look 1 of 3 (5 seeds), boundary p < " in row["sentence"]
    assert "15 more seeds came after it and decide nothing (overrun)" in row["sentence"]
    assert "over 5 seeds (95 % repeated interval" in row["sentence"]


def test_a_study_that_stopped_has_a_stagewise_p_and_a_median_unbiased_estimate():
    rows = looked(table({"llm": 0.012, "mlp": 0.0}, seed=4)).set_index("a")
    assert rows.loc["llm", "verdict"] == "supported"
    assert rows.loc["llm", "look"] > 1
    assert 0 < rows.loc["llm", "p_stagewise"] < 0.05
    assert 0 < rows.loc["llm", "median_unbiased"] < rows.loc["llm", "difference"]
    assert rows.loc["mlp", ["p_stagewise", "median_unbiased"]].isna().all()


def test_between_two_looks_the_last_one_counts_and_the_rest_is_named():
    data = table({"mlp": 0.0}, n=13, seed=1)
    row = looked(data).iloc[0]
    assert (row["look"], row["look_seeds"], row["verdict"]) == (2, 10, "inconclusive")
    assert row["difference"] == pytest.approx(differences(data, "mlp")[:10].mean())
    assert "3 more seeds between two looks are not counted" in row["sentence"]
    assert "the next look is at 20" in row["sentence"]


def test_more_seeds_than_the_last_look_are_named():
    row = looked(table({"mlp": 0.0}, n=23, seed=1)).iloc[0]
    assert row["look"] == 3
    assert "3 more seeds after the last look are not counted" in row["sentence"]
    assert "there is no further look" in row["sentence"]


def test_a_pair_below_the_first_look_has_one_line_and_stays_in_the_family():
    data = table({"llm": 0.03, "mlp": 0.0})
    data = data[(data["arm"] != "mlp") | (data["seed"] < 3)]
    rows = looked(data, drop_unpaired=True).set_index("a")
    assert rows.loc["mlp", ["look", "verdict"]].tolist() == [0, "not run"]
    assert np.isnan(rows.loc["mlp", "ci_low"])
    assert "3 seeds, and the first look is at 5" in rows.loc["mlp", "sentence"]
    alone = looked(data[data["arm"] != "mlp"]).iloc[0]
    assert rows.loc["llm", "p_adjusted"] == pytest.approx(2 * alone["p_adjusted"])


def test_all_pairs_below_the_first_look_are_refused():
    with pytest.raises(TableError, match="4 seeds, and the first look is at 5: run more seeds"):
        looked(table({"llm": 0.03}, n=4))


def test_holm_holds_for_the_repeated_p_of_a_family():
    data = table({"llm": 0.03, "mlp": 0.0, "adapters": 0.002}, n=5, seed=7)
    rows = looked(data).set_index("a")
    alone = {
        arm: looked(data[data["arm"].isin(["cnn", arm])]).iloc[0]["p_adjusted"]
        for arm in rows.index
    }
    ordered = sorted(alone.values())
    steps = np.minimum(np.maximum.accumulate(np.array(ordered) * [3, 2, 1]), 1)
    wanted = dict(zip(ordered, steps, strict=True))
    for arm, p in alone.items():
        assert rows.loc[arm, "p_adjusted"] == pytest.approx(wanted[p])
    assert rows.loc["llm", "verdict"] == ("supported" if wanted[alone["llm"]] < 0.05 else "")


def test_equivalences_of_a_family_are_adjusted():
    arms = {f"arm{k}": 0.0 for k in range(8)}
    data = table(arms, n=20, seed=3)
    options = {"margin": 0.011, "looks": (20,)}
    rows = looked(data, **options)
    alone = [looked(data[data["arm"].isin(["cnn", arm])], **options).iloc[0] for arm in rows["a"]]
    unadjusted = sum(each["verdict"] == "equivalent" for each in alone)
    assert 0 < (rows["verdict"] == "equivalent").sum() < unadjusted
    smallest = min(each["p_equivalence_adjusted"] for each in alone)
    assert rows["p_equivalence_adjusted"].min() == pytest.approx(8 * smallest)


def test_seeds_count_by_number_and_text_by_first_appearance():
    values = table({"llm": 0.02}, n=12, seed=5)
    as_text = values.assign(seed=values["seed"].astype(str))  # "10" before "2" in the alphabet
    names = ["zeta", "eta", *(f"n{k}" for k in range(10))]
    named = values.assign(seed=[names[k] for k in values["seed"]])
    wanted = looked(values).iloc[0]
    for other in (as_text, named, as_text.sample(frac=1, random_state=0)):
        row = looked(other).iloc[0]
        for name in ("difference", "ci_low", "p_adjusted", "look"):
            assert row[name] == pytest.approx(wanted[name]), name
    assert counting_order(["b", "a"], ["b", "a"]).tolist() == [0, 1]


def test_obrien_fleming_is_reluctant_early():
    data = table({"llm": 0.012}, seed=4)
    pocock, late = (
        looked(data, spending=spending).iloc[0] for spending in ("pocock", "obrien-fleming")
    )
    assert late["p_threshold"] != pocock["p_threshold"]
    with pytest.raises(ConfigError, match="unknown spending 'haybittle'"):
        looked(data, spending="haybittle")


@pytest.mark.parametrize("looks", [(5, 5), (10, 5), (), (1, 5), (5.5,)])
def test_looks_that_are_none_are_refused(looks):
    with pytest.raises(ConfigError, match="look"):
        looked(table({"llm": 0.0}), looks=looks)


def test_what_is_not_of_paired_seeds_is_refused():
    data = table({"llm": 0.0})
    with pytest.raises(ConfigError, match="looks are of paired seeds"):
        looked(data, unpaired=True)
    folds = data.rename(columns={"seed": "fold"})
    with pytest.raises(ConfigError, match="fold holds folds, of which there can be no more"):
        looked(folds, fold="fold", test_share=0.05)


def test_a_plan_says_when_it_would_end_and_how_long_it_takes():
    data = table({"llm": 0.01}).assign(wall_seconds=60.0)
    found = plan(data, looks=(5, 10, 20, 40), margin=0.01, simulations=0)
    rows = found.looks.set_index(["difference", "spread", "look"])
    ends = found.looks.groupby(["difference", "spread"])[
        ["supported", "contradicted", "equivalent"]
    ]
    undecided = found.looks.groupby(["difference", "spread"])["undecided"].first()
    np.testing.assert_allclose(ends.sum().sum(axis=1) + undecided, 1.0, atol=1e-12)
    means = [
        rows.loc[("the margin", spread, 1), "mean_seeds"]
        for spread in ("smallest", "as in the pilot", "largest")
    ]
    assert all(a < b for a, b in pairwise(means))
    usual = rows.loc[("the margin", "as in the pilot", 1)]
    assert usual["hours"] == pytest.approx(usual["mean_seeds"] * 120 / 3600)
    sentence = found.summary["sentence"].iloc[0]
    assert "Looked at after 5, 10, 20, 40 seeds (pocock)" in sentence
    assert f"the margin it takes {usual['mean_seeds']:.0f} seeds, {usual['hours']:.2g} hours," in (
        sentence
    )
    assert plan(data, margin=0.01, simulations=0).looks is None
