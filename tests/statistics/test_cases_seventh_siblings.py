"""Tables of the known kinds, made afresh a seventh time by somebody who had mended none of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import corrected_t, per_case, per_seed_csv, tell

COMMANDS = pytest.mark.parametrize("command", ["compare", "audit"])
EXACT = {
    "unet": (0.8012, 0.7823, 0.8234, 0.7915, 0.8116),
    "ours": (0.8221, 0.7832, 0.8423, 0.8214, 0.8235),
}
DIFFERENCES = np.subtract(EXACT["ours"], EXACT["unet"])


def with_rows(column: str, extra: dict[object, tuple[float, float]]) -> str:
    """A row per arm and seed or fold, and further ones."""
    rows = [
        f"{arm},{label},{value}"
        for place, (arm, values) in enumerate(EXACT.items())
        for label, value in [
            *enumerate(values), *((label, both[place]) for label, both in extra.items()),
        ]
    ]  # fmt: skip
    return "\n".join([f"method,{column},dice", *rows]) + "\n"


@COMMANDS
@pytest.mark.parametrize("name", ["image", "case_id", "slice"])
@pytest.mark.parametrize("sizes", [(3, 2, 2), (7, 7, 6, 6), (10, 2, 2, 2)])
def test_cases_numbered_anew_in_each_fold_are_others(tmp_path, command, name, sizes):
    draws = np.random.default_rng(len(sizes))
    rows = [
        (arm, fold, number, round(0.7 + gain + draws.normal(0, 0.02), 4))
        for arm, gain in (("unet", 0.0), ("ours", 0.02))
        for fold, size in enumerate(sizes)
        for number in range(size)
    ]
    table = pd.DataFrame(rows, columns=["method", "fold", name, "dice"])
    means = table.groupby(["method", "fold"])["dice"].mean()
    d = (means["ours"] - means["unet"]).to_numpy()
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(corrected_t(d, 1 / len(sizes)), rel=1e-6)
    assert "cases of one name in several folds for others" in told.text


@COMMANDS
def test_a_patient_of_each_fold_with_numbered_slices_is_one(tmp_path, command):
    draws = np.random.default_rng(3)
    rows = [
        (arm, fold, f"P{fold}", number, round(0.8 + gain + draws.normal(0, 0.01), 4))
        for arm, gain in (("unet", 0.0), ("ours", 0.015))
        for fold in range(5)
        for number in range(2 + (fold > 0))
    ]
    table = pd.DataFrame(rows, columns=["method", "fold", "patient", "slice", "dice"])
    means = table.groupby(["method", "fold"])["dice"].mean()
    d = (means["ours"] - means["unet"]).to_numpy()
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(corrected_t(d, 0.2), rel=1e-6)
    assert "so it is no patient" not in told.text


@COMMANDS
def test_seeds_through_all_folds_are_runs_in_each_data_set(tmp_path, command):
    parts = []
    for place, name in enumerate("AB"):
        part = per_case(seed=place, seeds=3, cases=10).assign(dataset=name)
        part["fold"] = (part["case"].str[1:].astype(int) + place) % 5
        parts.append(part)
    table = pd.concat(parts)
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    found = told.rows.set_index("dataset")
    for name, part in table.groupby("dataset"):
        means = part.groupby(["method", "seed"])["dice"].mean()
        p = stats.ttest_1samp(means["ours"] - means["unet"], 0).pvalue
        assert (found.loc[name, "n_seeds"], found.loc[name, "p_t"]) == (3, pytest.approx(p))


@pytest.mark.parametrize("command", ["compare", "audit", "plan"])
@pytest.mark.parametrize(
    "condition", ["seed!=0", "seed>=1", "seed<=1", "seed~=1", "seed:=1", "!seed=1", "seed==1"]
)
def test_conditions_of_other_kinds_are_not_read_as_equal(tmp_path, command, condition):
    told = tell(tmp_path, command, per_seed_csv(), "--where", condition)
    assert told.code == 2
    assert f"'{condition}' is not a condition: write column=value" in told.text


@COMMANDS
def test_names_that_would_be_one_number_stay_two(tmp_path, command):
    values = {"unet": np.linspace(0.7, 0.79, 10), "ours": np.linspace(0.72, 0.8, 10) ** 1.01}
    rows = [
        f"{arm},1.{fold},c{fold},{value:.4f}"
        for arm, own in values.items()
        for fold, value in enumerate(own, 1)
    ]
    text = "\n".join(["method,fold,case,dice", *rows]) + "\n"
    folds = tell(tmp_path, command, text, "--fold", "fold")
    assert folds.row["n_seeds"] == 10
    rows = [
        f"{name},{arm},{seed},{0.8 + gain + 0.01 * seed:.3f}"
        for name, sign in (("01", 1), ("1", -1))
        for arm, gain in (("unet", 0.0), ("ours", 0.03 * sign))
        for seed in range(3)
    ]
    sets = tell(tmp_path, command, "\n".join(["dataset,method,seed,dice", *rows]) + "\n")
    assert sorted(sets.rows["difference"].round(3)) == [-0.03, 0.03]


@COMMANDS
@pytest.mark.parametrize("column", ["fold", "seed"])
@pytest.mark.parametrize(
    "extra",
    [
        {5: (0.8020, 0.8185)},
        {-1: (0.8020, 0.8185), -2: (0.0162, 0.0216)},
        {98: (0.8020, 0.8185), 99: (0.0162, 0.0216)},
        {"Q1": (0.7915, 0.8214), "Q3": (0.8116, 0.8235)},
        {"top1": (0.8234, 0.8423)},
        {"mean": (0.8020, 0.8185), "p25": (0.7915, 0.8214), "p75": (0.8116, 0.8235)},
        {"count": (5, 5), "25%": (0.7915, 0.8214), "50%": (0.8012, 0.8221),
         "75%": (0.8116, 0.8235)},
    ],
)  # fmt: skip
def test_what_sums_the_runs_up_is_left_out(tmp_path, command, column, extra):
    told = tell(tmp_path, command, with_rows(column, extra))
    assert told.row["n_seeds"] == 5
    assert told.row["difference"] == pytest.approx(DIFFERENCES.mean(), rel=1e-9)
    right = (
        corrected_t(DIFFERENCES, 0.2)
        if column == "fold"
        else stats.ttest_1samp(DIFFERENCES, 0).pvalue
    )
    assert told.row["p_t"] == pytest.approx(right, rel=1e-6)
    assert "rows sum others up" in told.text


@COMMANDS
def test_a_further_seed_that_sums_nothing_up_stays(tmp_path, command):
    told = tell(tmp_path, command, with_rows("seed", {5: (0.8055, 0.8311)}))
    assert told.row["n_seeds"] == 6
    odd = tell(tmp_path, command, with_rows("seed", {42: (0.8055, 0.8311)}))
    assert odd.row["n_seeds"] == 6


@COMMANDS
def test_numbered_cases_that_sum_others_up_are_left_out(tmp_path, command):
    table = per_case(cases=8)
    table["case"] = table["case"].str[1:].astype(int)
    own = table.groupby(["method", "seed"])["dice"]
    sums = [own.mean().reset_index().assign(case=-1), own.std().reset_index().assign(case=-2)]
    told = tell(tmp_path, command, pd.concat([table, *sums]).round(4).to_csv(index=False),
                "--baseline", "unet")  # fmt: skip
    plain = tell(tmp_path, command, table.round(4).to_csv(index=False), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(plain.row["p_t"], rel=1e-9)
    assert "20 rows sum others up, by what they hold (case -1: their mean, -2: their SD)" in (
        told.text
    )


@COMMANDS
def test_an_empty_fold_is_named_with_its_row(tmp_path, command):
    text = with_rows("fold", {"": (0.81, 0.82)})
    told = tell(tmp_path, command, text)
    assert told.rows.empty
    assert "column fold is empty in 2 of 12 rows (such as 7, 13)" in told.text


def test_times_are_no_seeds(tmp_path) -> None:
    rows = [
        f"{arm}{n},{100 + 7 * n},{arm},{value}"
        for arm, values in EXACT.items()
        for n, value in enumerate(values)
    ]
    told = tell(tmp_path, "compare", "\n".join(["Name,Runtime,model,val/dice", *rows]) + "\n")
    assert (told.code, "which column holds the seeds or folds?" in told.text) == (2, True)


@COMMANDS
def test_a_title_without_separators_is_left_out(tmp_path, command):
    told = tell(tmp_path, command, "Table 1: Results\n" + per_seed_csv())
    assert told.row["p_t"] == tell(tmp_path, command, per_seed_csv()).row["p_t"]
    assert "1 lines above the header are left out: Table 1: Results" in told.text


def test_random_splits_under_the_name_of_seeds_are_asked_about(tmp_path) -> None:
    draws = np.random.default_rng(0)
    parts = []
    for seed in range(6):
        table = per_case(seed=seed, seeds=1, cases=20).assign(seed=seed)
        kept = draws.permutation(table["case"].unique())[:10]
        parts.append(table[table["case"].isin(kept)])
    text = pd.concat(parts).to_csv(index=False)
    told = tell(tmp_path, "audit", text, "--baseline", "unet")
    assert told.rows.empty
    assert "these are folds (--fold)" in told.text
    right = tell(tmp_path, "audit", text, "--baseline", "unet", "--fold", "seed")
    means = pd.concat(parts).groupby(["method", "seed"])["dice"].mean()
    d = (means["ours"] - means["unet"]).to_numpy()
    assert right.row["p_t"] == pytest.approx(corrected_t(d, 0.5), rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("name", [100, "q1"])
def test_a_case_that_is_as_good_as_the_best_sums_nothing_up(tmp_path, command, name):
    table = per_case(cases=8)
    if name == 100:
        table["case"] = table["case"].str[1:].astype(int)
    first = table["case"].iloc[0]
    extra = table[table["case"] == first].assign(case=name, dice=1.0)
    table.loc[table["case"] == first, "dice"] = 1.0
    told = tell(tmp_path, command, pd.concat([table, extra]).round(4).to_csv(index=False),
                "--baseline", "unet")  # fmt: skip
    assert told.row["n_cases"] == 9
    assert "rows sum others up" not in told.text
