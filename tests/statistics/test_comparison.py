"""compare: the numbers of the row, the rules for odd tables, and every promised message."""

import numpy as np
import pandas as pd
import pytest
import studies
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.bootstrap import interval, resample, totals
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.tables import COMPARISON

A = [0.640, 0.652, 0.633, 0.661, 0.649]
B = [0.631, 0.640, 0.637, 0.642, 0.640]
SAME = pd.testing.assert_frame_equal


def row(table, **options):
    found = compare(table, **options)
    assert len(found) == 1
    return found.iloc[0]


def test_a_row_holds_what_scipy_and_statsmodels_compute(per_seed):
    found = row(studies.per_seed(cnn=B, llm=A), margin=0.01)
    a, b = np.array(A), np.array(B)
    t = stats.ttest_rel(a, b)
    low, high = t.confidence_interval(0.95)
    expected = {
        "n_seeds": 5, "mean_a": a.mean(), "mean_b": b.mean(), "sd_a": a.std(ddof=1),
        "sd_b": b.std(ddof=1), "difference": (a - b).mean(), "sd_difference": (a - b).std(ddof=1),
        "ci_low": low, "ci_high": high, "t": t.statistic, "df": 4, "p_t": t.pvalue,
        "p_adjusted": t.pvalue, "p_exact": 0.125, "p_exact_floor": 0.0625, "margin": 0.01,
        "p_equivalence": ttost_paired(a, b, -0.01, 0.01)[0],
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-10), name
    assert (found["a"], found["b"], found["score"]) == ("llm", "cnn", "iou")
    assert found["verdict"] == "inconclusive"
    assert pd.isna(found["n_cases"])


def test_per_seed_values_are_means_over_images(study):
    table = study()
    means = table.groupby(["arm", "seed"])["iou"].mean()
    expected = stats.ttest_rel(means["llm"], means["cnn"])
    found = row(table)
    assert found["t"] == pytest.approx(expected.statistic, rel=1e-10)
    assert (found["n_cases"], found["n_groups"]) == (24, 12)


def test_intervals_over_seeds_and_patients_are_those_of_the_bootstrap(study):
    table = study()
    found = row(table, bootstrap=500, bootstrap_seed=4)
    wide = table.pivot(index="seed", columns=["arm", "group", "image"], values="iou")
    cases = wide["llm"].columns
    data = totals(
        (wide["llm"] - wide["cnn"][cases]).to_numpy(), pd.factorize(cases.get_level_values(0))[0]
    )
    both, groups = resample([data], 500, 4)[0]
    # Groups are numbered in sorted order inside compare; here in order of appearance.
    assert data.sums.shape == (5, 12)
    assert found["boot_high"] - found["boot_low"] == pytest.approx(
        np.subtract(*interval(both, data.df)[::-1]), rel=0.3
    )
    assert found["case_high"] - found["case_low"] == pytest.approx(
        np.subtract(*interval(groups, 11)[::-1]), rel=0.3
    )
    assert found["boot_low"] < found["difference"] < found["boot_high"]


def test_the_result_conforms_and_every_arm_meets_the_baseline(study):
    found = compare(study({"cnn": 0, "adapters": 0.0, "llm": 0.02}))
    assert list(found.columns[: len(COMPARISON.columns)]) == list(COMPARISON.columns)
    assert list(zip(found["a"], found["b"], strict=True)) == [("adapters", "cnn"), ("llm", "cnn")]
    p = multipletests(found["p_t"], method="holm")[1]
    np.testing.assert_allclose(found["p_adjusted"], p, rtol=1e-12)


def test_named_pairs_replace_the_baseline(study):
    table = study({"cnn": 0, "adapters": 0.0, "llm": 0.02})
    found = compare(table, pairs=[("llm", "adapters")])
    assert list(zip(found["a"], found["b"], strict=True)) == [("llm", "adapters")]


def test_data_sets_are_compared_one_by_one_in_one_family(study):
    other = study(seed=1).assign(dataset="phantoms")
    found = compare(pd.concat([study(), other]))
    assert list(found["dataset"]) == ["phantoms", "spine"]
    p = multipletests(found["p_t"], method="holm")[1]
    np.testing.assert_allclose(found["p_adjusted"], p, rtol=1e-12)
    alone = compare(other).iloc[0]
    assert alone["p_t"] == found["p_t"][0]
    assert alone["boot_low"] == found["boot_low"][0]


def test_other_column_names(study):
    table = study().rename(columns={"arm": "model", "seed": "try", "image": "slice", "iou": "f1"})
    found = row(table, score="f1", arm="model", seed="try", case="slice")
    assert found["difference"] == row(study())["difference"]


# -- what does not matter --------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_row_order_and_run_names_do_not_matter(seed):
    table = studies.per_case({"llm": 0.01, "cnn": 0.0, "adapters": 0.0}, cases=6, per_group=1)
    random = np.random.default_rng(seed)
    other = table.iloc[random.permutation(len(table))].assign(
        run=[f"run{n}" for n in random.permutation(len(table))]
    )
    SAME(compare(table, bootstrap=200), compare(other, bootstrap=200))


def test_swapping_the_arms_flips_the_sign_and_the_verdict(study):
    table = study({"cnn": 0.0, "llm": 0.03})
    one, other = row(table), row(table, baseline="llm")
    for name in ("difference", "t", "ci", "boot", "case"):
        if name in ("difference", "t"):
            assert other[name] == pytest.approx(-one[name], rel=1e-12)
        else:
            assert other[f"{name}_low"] == pytest.approx(-one[f"{name}_high"], rel=1e-9)
    for name in ("p_t", "p_exact", "p_equivalence", "smallest_detectable", "seeds_needed"):
        assert other[name] == pytest.approx(one[name], rel=1e-12)
    assert (one["verdict"], other["verdict"]) == ("supported", "contradicted")


def test_percent_and_fractions_give_the_same_answer(study):
    table = study()
    percent = table.assign(iou=table["iou"] * 100)
    one, other = row(table), row(percent, margin=0.5)
    for name in ("p_t", "p_exact", "p_equivalence", "seeds_needed"):
        assert other[name] == pytest.approx(one[name], rel=1e-9)
    assert other["boot_low"] == pytest.approx(100 * one["boot_low"], rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.1, 0.9), min_size=10, max_size=10))
def test_five_seeds_never_have_an_exact_p_under_a_sixteenth(values):
    found = row(studies.per_seed(cnn=values[:5], llm=values[5:]), bootstrap=0)
    assert found["p_exact"] >= found["p_exact_floor"] == 0.0625


def test_equal_seeds_equal_tables_and_the_global_generator_is_untouched(study):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    SAME(compare(study(), bootstrap=300), compare(study(), bootstrap=300))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_the_table_is_left_as_it_was(study):
    table = study()
    copy = table.copy()
    compare(table, bootstrap=0)
    SAME(table, copy)


# -- stated rules ----------------------------------------------------------------------------


def test_without_bootstrap_the_intervals_are_empty(study):
    found = row(study(), bootstrap=0)
    assert found[["boot_low", "boot_high", "case_low", "case_high"]].isna().all()
    assert found["ci_low"] < found["ci_high"]


def test_fewer_than_ten_groups_have_no_interval_over_patients(study):
    nine, ten = study(cases=9, per_group=1), study(cases=10, per_group=1)
    assert pd.isna(row(nine)["case_low"])
    assert "9 groups are too few for an interval over patients (at least 10)" in row(nine)["note"]
    assert row(ten)["case_low"] < row(ten)["case_high"]
    assert pd.isna(row(nine)["boot_coverage"])
    assert row(ten)["boot_coverage"] == 0.95
    assert pd.isna(row(ten, alpha=0.1)["boot_coverage"])


def test_without_cases_the_bootstrap_says_that_it_resamples_seeds_alone(per_seed):
    found = row(studies.per_seed(cnn=B, llm=A))
    assert found["note"] == "no cases in the table: boot_* resamples seeds alone"
    differences = np.subtract(A, B)
    assert differences.min() - 1e-12 <= found["boot_low"] < found["boot_high"]


def test_one_seed_is_not_run_and_says_what_it_can_over_cases(study):
    found = row(study(seeds=1))
    assert found["verdict"] == "not run"
    assert found["case_low"] < found["difference"] < found["case_high"]
    assert "one seed cannot show this" in found["note"]
    assert found["sentence"] == (
        "Not run: one seed cannot show a difference between llm and cnn "
        f"(it is {found['difference']:+.3g} there)."
    )
    empty = ["ci_low", "t", "df", "p_t", "p_exact", "p_exact_floor", "boot_low", "p_equivalence"]
    assert found[empty].isna().all()


def test_arms_that_tie_in_every_seed_are_equivalent(per_seed):
    found = row(studies.per_seed(cnn=B, llm=B))
    assert found[["t", "p_t", "ci_low", "smallest_detectable", "seeds_needed"]].isna().all()
    assert (found["p_exact"], found["p_adjusted"], found["p_equivalence"]) == (1.0, 1.0, 0.5**5)
    assert found["verdict"] == "equivalent"


def test_differences_without_spread_are_left_to_the_exact_test(per_seed):
    five = row(studies.per_seed(cnn=B, llm=[b + 0.1 for b in B]))
    six = row(studies.per_seed(cnn=[*B, 0.7], llm=[b + 0.1 for b in [*B, 0.7]]))
    assert (five["p_adjusted"], five["verdict"]) == (0.0625, "inconclusive")
    assert (six["p_adjusted"], six["verdict"]) == (0.03125, "supported")
    assert "the exact test decides" in five["note"]
    assert five["sentence"].endswith(
        "The differences do not vary between seeds, so what they could have shown is unknown."
    )


def test_less_is_better_where_the_score_says_so(study):
    table = study({"cnn": 5.0, "llm": 0.0}, score="hd95")
    found = row(table, score="hd95", margin=0.5)
    assert found["difference"] < 0
    assert found["verdict"] == "supported"
    assert found["sentence"].startswith("Supported: llm has a lower hd95 than cnn: ")
    assert row(table, score="hd95", margin=0.5, lower_is_better=False)["verdict"] == "contradicted"


def test_a_small_but_certain_effect_says_that_it_is_small(per_seed):
    table = per_seed(cnn=B, llm=[b + 0.002 + 1e-5 * k for k, b in enumerate(B)])
    found = row(table, margin=0.01)
    assert found["verdict"] == "supported"
    assert found["sentence"].startswith(
        "Supported, but below the margin that was said to matter: llm has a higher iou than cnn: "
        "+0.00202 over 5 seeds (95 % interval for another training run +0.002 to +0.00204), p = "
    )


def test_an_inconclusive_answer_says_what_it_would_take(per_seed):
    found = row(studies.per_seed(cnn=B, llm=A))
    assert found["sentence"].startswith(
        "Inconclusive: llm against cnn: +0.009 over 5 seeds (95 % interval"
    )
    assert found["sentence"].endswith(
        "These seeds could have shown a difference of 0.014 (80 % power); the margin of 0.005 "
        "would take 24."
    )


def test_seeds_needed_has_the_range_of_the_sd_and_a_secondary_for_the_observed_effect(per_seed):
    found = row(studies.per_seed(cnn=B, llm=[a + 0.01 for a in A]))
    assert found["seeds_needed_low"] < found["seeds_needed"] < found["seeds_needed_high"]
    assert found["seeds_observed_low"] <= found["seeds_observed"] < found["seeds_observed_high"]
    assert found["seeds_observed"] < found["seeds_needed"]
    assert np.isnan(row(studies.per_seed(cnn=B, llm=A))["seeds_observed_high"])


def test_a_case_without_a_score_anywhere_is_left_out_and_noted(study):
    table = study(cases=12, per_group=1)
    table.loc[table["image"] == "image3", "iou"] = np.nan
    found = row(table)
    assert found["n_cases"] == 11
    assert found["note"] == "1 cases without a score in any run are left out"
    assert found["sentence"].endswith(" 1 cases without a score in any run are left out.")
    SAME(
        compare(table).drop(columns=["note", "sentence"]),
        compare(table[table["image"] != "image3"]).drop(columns=["note", "sentence"]),
    )


def test_unpaired_seeds_are_dropped_on_request_and_named(study):
    table = study()
    short = table[~((table["arm"] == "llm") & (table["seed"] == 3))]
    found = row(short, drop_unpaired=True)
    assert found["n_seeds"] == 4
    assert found["note"] == "left out: seeds 3 of cnn have no partner"
    assert found["difference"] == row(table[table["seed"] != 3])["difference"]


def test_cases_missing_in_some_run_are_dropped_on_request_and_counted(study):
    table = study()
    holed = table.drop(index=table.index[5])
    found = row(holed, drop_unpaired=True)
    assert found["n_cases"] == 23
    assert found["note"] == "1 cases without a score in some run are left out of all"


def test_unpaired_runs_are_compared_by_welch_only_on_request(study):
    table = study()
    table.loc[table["arm"] == "llm", "seed"] += 100
    means = table.groupby(["arm", "seed"])["iou"].mean()
    theirs = stats.ttest_ind(means["llm"], means["cnn"], equal_var=False)
    found = row(table, unpaired=True)
    assert found["p_t"] == pytest.approx(theirs.pvalue, rel=1e-10)
    assert found[["boot_low", "sd_difference"]].isna().all()
    exact = stats.permutation_test(
        (means["llm"], means["cnn"]), lambda x, y, axis: x.mean(axis) - y.mean(axis),
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert found["p_exact"] == pytest.approx(exact.pvalue, rel=1e-10)
    assert found["p_exact_floor"] == pytest.approx(2 / 252)
    assert "Welch" in found["note"]
    assert found["seeds_needed"] > 2


def test_where_and_average_over_choose_what_is_compared(study):
    parts = [study(seed=n, split="test", **{"class": f"organ{n}"}) for n in (0, 1)]
    table = pd.concat([*parts, *(part.assign(split="val", iou=0.1) for part in parts)])
    found = row(table, where={"split": "test"}, average_over=["class"])
    mean = (row(parts[0])["difference"] + row(parts[1])["difference"]) / 2
    assert found["difference"] == pytest.approx(mean, rel=1e-12)
    assert row(table, where={"split": "test", "class": "organ1"})["difference"] == pytest.approx(
        row(parts[1])["difference"], rel=1e-12
    )


def test_columns_that_are_never_filled_count_as_absent(study):
    found = row(study().assign(group=np.nan, dataset=""))
    assert (found["n_groups"], found["dataset"]) == (24, "")


def test_seeds_may_be_words(study):
    table = study()
    named = table.assign(seed=table["seed"].map(lambda n: n if n < 3 else f"s{n}"))
    assert row(named)["p_t"] == row(table)["p_t"]


def test_slices_numbered_anew_in_each_patient_are_different_cases(study):
    table = study()
    table["image"] = table["image"].str.removeprefix("image").astype(int) % 2
    found = row(table)
    assert found["n_cases"] == 24
    assert found["difference"] == pytest.approx(row(study())["difference"], rel=1e-12)


# -- folds -----------------------------------------------------------------------------------


def folds(study, repetitions=1):
    table = study(seeds=repetitions, cases=20, per_group=1)
    number = table["image"].str.removeprefix("image").astype(int)
    return table.assign(fold=(number + table["seed"]) % 5)


@pytest.mark.parametrize(("repetitions", "units"), [(1, 5), (3, 15)])
def test_folds_take_the_corrected_resampled_t(study, repetitions, units):
    table = folds(study, repetitions)
    found = row(table, fold="fold", test_share=0.2)
    means = table.groupby(["arm", "seed", "fold"])["iou"].mean()
    d = (means["llm"] - means["cnn"]).to_numpy()
    t = d.mean() / np.sqrt((1 / units + 0.25) * d.var(ddof=1))
    assert found["n_seeds"] == units
    assert found["t"] == pytest.approx(t, rel=1e-10)
    assert found["p_t"] == pytest.approx(2 * stats.t.sf(abs(t), units - 1), rel=1e-10)
    assert found[["p_exact", "boot_low", "case_low", "seeds_needed"]].isna().all()
    assert "folds share training data" in found["note"]


def test_folds_without_a_seed_column(study):
    found = row(folds(study).drop(columns="seed"), fold="fold", test_share=0.2)
    assert found["t"] == pytest.approx(row(folds(study), fold="fold", test_share=0.2)["t"])


def test_a_fold_whose_cases_differ_between_arms_is_refused(study):
    table = folds(study)
    with pytest.raises(
        TableError,
        match=r"^fold 2: its 1 cases were not scored in every arm \(image2\): score them, or",
    ):
        compare(table.drop(index=2), fold="fold", test_share=0.2)


# -- refusals --------------------------------------------------------------------------------
