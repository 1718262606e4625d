"""Folds are folds whatever the column is called, and sentences say so."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import corrected_t, per_case, tell


def folds(**columns):
    table = per_case(seeds=1, cases=20).drop(columns="seed")
    table["fold"] = table["case"].str[1:].astype(int) % 5
    means = table.groupby(["method", "fold"])["dice"].mean()
    return table.assign(**columns), (means["ours"] - means["unet"]).to_numpy()


LAYOUTS = {
    "fold": lambda t: t, "Fold": lambda t: t.rename(columns={"fold": "Fold"}),
    "cv fold": lambda t: t.rename(columns={"fold": "cv_fold"}),
    "under seed": lambda t: t.rename(columns={"fold": "seed"}),
    "under run": lambda t: t.rename(columns={"fold": "run"}),
    "a seed for each fold": lambda t: t.assign(seed=t["fold"] + 100),
    "one seed": lambda t: t.assign(seed=7),
    "shuffled": lambda t: t.sample(frac=1, random_state=0),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_audit_compares_folds_as_folds(tmp_path, layout):
    table, d = folds()
    told = tell(tmp_path, "audit", LAYOUTS[layout](table).to_csv(index=False), "--baseline", "unet")
    assert told.row["difference"] == pytest.approx(d.mean(), rel=1e-9)
    assert told.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)
    assert "5 folds" in told.text
    assert (
        "over 5 folds (95 % interval, corrected for shared training data," in told.row["sentence"]
    )
    assert "another training run" not in told.row["sentence"]
    for untrue in ("one run per arm", "5 seeds", "25 folds"):
        assert untrue not in told.text


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "under" not in name])
def test_compare_takes_the_fold_s_column(tmp_path, layout):
    table, d = folds()
    text = LAYOUTS[layout](table).to_csv(index=False)
    name = {"Fold": "Fold", "cv fold": "cv_fold"}.get(layout, "fold")
    told = tell(tmp_path, "compare", text, "--baseline", "unet", "--fold", name)
    assert told.code == 0, told.text
    assert told.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)
    assert "5 folds: the test share is taken to be 1/5" in told.text
    given = tell(
        tmp_path, "compare", text, "--baseline", "unet", "--fold", name, "--test-share", "0.1"
    )
    assert given.row["p_t"] == pytest.approx(corrected_t(d, 0.1), rel=1e-6)


@pytest.mark.parametrize("name", ["seed", "run", "repetition"])
@pytest.mark.parametrize("command", ["compare", "plan"])
def test_folds_under_the_name_of_seeds_are_refused_with_the_option(tmp_path, name, command):
    table, d = folds()
    text = table.rename(columns={"fold": name}).to_csv(index=False)
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.code == 2
    assert (
        f"each case is in one value of {name} only: these are folds and no seeds, --fold {name}"
        in told.text
    )
    if command == "compare":
        right = tell(tmp_path, command, text, "--baseline", "unet", "--fold", name)
        assert right.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)


def test_repeated_folds_have_a_unit_for_each_repetition(tmp_path):
    parts, d = [], []
    for seed in range(3):
        table = per_case(seed=seed, seeds=1, cases=20).drop(columns="seed")
        table["fold"] = (table["case"].str[1:].astype(int) + seed) % 5
        parts.append(table.assign(seed=seed))
        means = table.groupby(["method", "fold"])["dice"].mean()
        d += (means["ours"] - means["unet"]).tolist()
    told = tell(tmp_path, "audit", pd.concat(parts).to_csv(index=False), "--baseline", "unet")
    assert told.row["n_seeds"] == 15
    assert told.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)
    assert "15 folds" in told.text


def test_folds_on_a_common_test_set(tmp_path):
    table = per_case(seeds=5).rename(columns={"seed": "fold"})
    means = table.groupby(["method", "fold"])["dice"].mean()
    d = (means["ours"] - means["unet"]).to_numpy()
    told = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)


def test_seeds_with_crossed_cases_are_no_folds(tmp_path):
    told = tell(tmp_path, "audit", per_case().to_csv(index=False), "--baseline", "unet")
    assert "paired by seed and case" in told.text
    assert "over 5 seeds (95 % interval for another training run" in told.row["sentence"]


def test_a_plan_is_not_over_folds(tmp_path):
    table, _ = folds()
    told = tell(tmp_path, "plan", table.to_csv(index=False), "--baseline", "unet", "--fold", "fold")
    assert (told.code, "a plan is over seeds" in told.text) == (2, True)
    assert np.isfinite(per_case()["dice"]).all()


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_seeds_that_went_through_all_folds_are_the_runs(tmp_path, command):
    table = per_case(seeds=4, cases=20)
    table["fold"] = table["case"].str[1:].astype(int) % 5
    text = table.to_csv(index=False)
    means = table.groupby(["method", "seed"])["dice"].mean()
    d = (means["ours"] - means["unet"]).to_numpy()
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.row["n_seeds"] == 4
    assert told.row["p_t"] == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=1e-6)
    assert "each seed has been through all folds (fold: 0, 1, 2, 3, 4)" in told.text
    assert "to compare by fold: --fold fold" in told.text
    by_fold = tell(tmp_path, command, text, "--baseline", "unet", "--fold", "fold")
    # All seeds share one division: more of them say nothing about other data.
    assert "over 5 folds" in by_fold.row["sentence"]
    own = table.groupby(["method", "fold"])["dice"].mean()
    gaps = (own["ours"] - own["unet"]).to_numpy()
    t = gaps.mean() / np.sqrt(gaps.var(ddof=1) * (1 / 5 + 0.2 / 0.8))
    assert by_fold.row["p_t"] == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-6)


def test_a_plan_of_cross_validations_is_over_their_seeds(tmp_path):
    table = per_case(seeds=4, cases=20)
    table["fold"] = table["case"].str[1:].astype(int) % 5
    told = tell(tmp_path, "plan", table.to_csv(index=False), "--baseline", "unet")
    assert told.code == 0
    assert told.row["pilot_seeds"] == 4


def _repeated(seeds=3, **names):
    """Scores by case of a cross-validation that each seed divides anew; and its units."""
    parts, d = [], []
    for seed in range(seeds):
        table = per_case(seed=seed, seeds=1, cases=20).assign(seed=seed)
        table["fold"] = (table["case"].str[1:].astype(int) + seed) % 5
        parts.append(table)
        means = table.groupby(["method", "fold"])["dice"].mean()
        d += (means["ours"] - means["unet"]).tolist()
    return pd.concat(parts).rename(columns=names), d


@pytest.mark.parametrize("command", ["compare", "audit"])
@pytest.mark.parametrize("cases", [True, False])
def test_compare_and_audit_take_repeated_folds_alike(tmp_path, command, cases):
    table, d = _repeated(seed="repeat", fold="cv_fold")
    if not cases:
        table = table.groupby(["method", "repeat", "cv_fold"], as_index=False)["dice"].mean()
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["n_seeds"] == 15
    assert told.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)
    assert "5 folds: the test share is taken to be 1/5 (--test-share)" in told.text
    assert "each repeat is taken to divide the data anew, in folds of its own" in told.text
    as_runs = tell(
        tmp_path, command, table.to_csv(index=False), "--baseline", "unet",
        "--average-over", "cv_fold",
    )  # fmt: skip
    means = table.groupby(["method", "repeat"])["dice"].mean()
    gaps = (means["ours"] - means["unet"]).to_numpy()
    assert as_runs.row["n_seeds"] == 3
    assert as_runs.row["p_t"] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, rel=1e-6)


@pytest.mark.parametrize("command", ["compare", "audit"])
@pytest.mark.parametrize("name", ["class", "Label", "organ"])
def test_compare_and_audit_average_over_classes_alike_and_say_so(tmp_path, command, name):
    parts = [per_case(seed=n, cases=12).assign(**{name: f"c{n}"}) for n in range(2)]
    table = pd.concat(parts)
    means = table.groupby(["method", "seed"])["dice"].mean()
    gaps = (means["ours"] - means["unet"]).to_numpy()
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["difference"] == pytest.approx(gaps.mean(), rel=1e-9)
    assert told.row["p_t"] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, rel=1e-6)
    assert f"doubt: averaged over {name}: c0, c1, as nobody said otherwise" in told.text
    one = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet",
               "--where", f"{name}=c1")  # fmt: skip
    assert "averaged over" not in one.text
    asked = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet",
                 "--average-over", name)  # fmt: skip
    assert f"note: averaged over {name}: c0, c1" in asked.text


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_class_of_each_case_is_averaged_within_none(tmp_path, command):
    table = per_case()
    table["class"] = table["case"].str[1:].astype(int).map(lambda n: ("benign", "malignant")[n % 2])
    means = table.groupby(["method", "seed"])["dice"].mean()
    gaps = (means["ours"] - means["unet"]).to_numpy()
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, rel=1e-6)
    assert "doubt: cases of class benign, malignant are averaged together" in told.text


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_share_without_folds_and_a_single_fold_are_refused(tmp_path, command):
    text = per_case().assign(fold=0).to_csv(index=False)
    share = tell(tmp_path, command, text, "--baseline", "unet", "--test-share", "0.2")
    assert (share.code, "--test-share goes with --fold" in share.text) == (2, True)
    single = tell(tmp_path, command, text, "--baseline", "unet", "--fold", "fold")
    assert (single.code, "fold holds one fold only: leave out --fold" in single.text) == (2, True)


def test_printed_means_have_nothing_to_average_over(tmp_path):
    text = "method,mean,sd,n\nunet,0.80,0.02,5\nours,0.83,0.02,5\n"
    told = tell(tmp_path, "audit", text, "--average-over", "method")
    assert (told.code, "there is no method to average over" in told.text) == (2, True)


def test_the_plan_of_folds_without_cases_says_how_to_go_on(tmp_path):
    table, _ = _repeated()
    table = table.groupby(["method", "seed", "fold"], as_index=False)["dice"].mean()
    text = table.to_csv(index=False)
    told = tell(tmp_path, "plan", text, "--baseline", "unet")
    assert (told.code, "--average-over fold" in told.text) == (2, True)
    done = tell(tmp_path, "plan", text, "--baseline", "unet", "--average-over", "fold")
    assert (done.code, done.row["pilot_seeds"]) == (0, 3)
