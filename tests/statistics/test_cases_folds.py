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
