"""Tables of the known kinds, made afresh a sixth time by somebody who had mended none of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import corrected_t, per_case, per_seed_csv, summary, tell

COMMANDS = pytest.mark.parametrize("command", ["compare", "audit"])
BY_FOLD = {"unet": (0.80, 0.78, 0.82, 0.79, 0.81), "ours": (0.82, 0.78, 0.84, 0.82, 0.82)}


def of_folds(name: str = "fold", labels=range(5), scores=None) -> str:
    """A row per arm and fold, without cases."""
    rows = [
        f"{arm},{label},{value}"
        for arm, values in (scores or BY_FOLD).items()
        for label, value in zip(labels, values, strict=True)
    ]
    return "\n".join([f"method,{name},dice", *rows]) + "\n"


def by_fold_p(share: float, scores=None) -> float:
    scores = scores or BY_FOLD
    return corrected_t(np.subtract(scores["ours"], scores["unet"]), share)


@COMMANDS
@pytest.mark.parametrize("column", ["seed", "method", "dice"])
def test_a_column_that_is_something_else_is_not_averaged_over(tmp_path, command, column):
    told = tell(tmp_path, command, per_seed_csv(), "--average-over", column)
    assert told.code == 2
    assert "it is nothing to average over" in told.text


@COMMANDS
def test_a_column_averaged_over_twice_counts_once(tmp_path, command):
    table = pd.concat([per_case(seed=n).assign(organ=name) for n, name in enumerate("ab")])
    text, over = table.to_csv(index=False), ("--average-over", "organ")
    once, twice = tell(tmp_path, command, text, *over), tell(tmp_path, command, text, *over, *over)
    assert once.row["p_t"] == twice.row["p_t"]


@pytest.mark.parametrize("command", ["compare", "plan", "audit"])
def test_two_values_of_one_column_are_refused(tmp_path, command):
    told = tell(tmp_path, command, per_seed_csv(), "--where", "seed=0", "--where", "seed=1")
    assert (told.code, "seed is given twice, as 0 and as 1" in told.text) == (2, True)


@COMMANDS
@pytest.mark.parametrize("repeat", [None, "repeat"])
def test_folds_numbered_on_over_repetitions_have_the_share_that_cases_show(
    tmp_path, command, repeat
):
    parts, d = [], []
    for time in range(3):
        table = per_case(seed=time, seeds=1, cases=20).drop(columns="seed")
        place = (table["case"].str[1:].astype(int) * (1, 3, 7)[time]) % 20 // 4
        parts.append(table.assign(fold=place + 5 * time, **({repeat: time} if repeat else {})))
        means = parts[-1].groupby(["method", "fold"])["dice"].mean()
        d += (means["ours"] - means["unet"]).tolist()
    text = pd.concat(parts).to_csv(index=False)
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.row["n_seeds"] == 15
    assert told.row["p_t"] == pytest.approx(corrected_t(d, 0.2), rel=1e-6)
    if repeat is None:
        assert "15 folds, each of which tests 20 % of the cases" in told.text


@COMMANDS
def test_many_folds_without_cases_may_be_repetitions(tmp_path, command):
    scores = {arm: np.tile(values, 3) for arm, values in BY_FOLD.items()}
    told = tell(tmp_path, command, of_folds(labels=range(15), scores=scores))
    assert "doubt: 15 folds: the test share is taken to be 1/15" in told.text
    assert "which is wrong if these are repetitions of fewer folds" in told.text


@COMMANDS
def test_each_data_set_has_the_share_of_its_own_folds(tmp_path, command):
    few = {arm: values[:2] for arm, values in BY_FOLD.items()}
    rows = [f"A,{row}" for row in of_folds().splitlines()[1:]]
    rows += [f"B,{row}" for row in of_folds(labels=range(2), scores=few).splitlines()[1:]]
    told = tell(tmp_path, command, "\n".join(["dataset,method,fold,dice", *rows]) + "\n")
    p = told.rows.set_index("dataset")["p_t"]
    assert p["A"] == pytest.approx(by_fold_p(1 / 5), rel=1e-6)
    assert p["B"] == pytest.approx(by_fold_p(1 / 2, few), rel=1e-6)
    assert "A: 5 folds: the test share is taken to be 1/5" in told.text
    assert "B: 2 folds: the test share is taken to be 1/2" in told.text


@COMMANDS
@pytest.mark.parametrize("name", ["k", "K", "cv", "k_fold"])
@pytest.mark.parametrize("values", [(1, 5, 10), (10, 20, 50), (2, 4, 8), (3, 5, 10)])
def test_a_setting_called_k_is_no_fold(tmp_path, command, name, values):
    rows = [
        f"{arm},{seed},{k},{base + 0.01 * place + 0.003 * seed}"
        for arm, base in (("unet", 0.7), ("ours", 0.72))
        for seed in range(3)
        for place, k in enumerate(values)
    ]
    told = tell(tmp_path, command, "\n".join([f"method,seed,{name},dice", *rows]) + "\n")
    assert told.rows.empty
    assert f"they differ in {name}" in told.text


@COMMANDS
def test_a_k_that_numbers_folds_is_told_as_a_guess(tmp_path, command):
    told = tell(tmp_path, command, of_folds("k"))
    assert told.row["p_t"] == pytest.approx(by_fold_p(1 / 5), rel=1e-6)
    assert "doubt: column k was taken for the folds" in told.text


@COMMANDS
@pytest.mark.parametrize(
    "name", ["fold_num", "split_id", "xval", "CV round", "partition_id", "split_no"]
)
def test_further_names_of_folds(tmp_path, command, name):
    told = tell(tmp_path, command, of_folds(name, labels=range(1, 6)))
    assert told.row["p_t"] == pytest.approx(by_fold_p(1 / 5), rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("name", ["split", "set", "subset", "partition"])
def test_numbered_splits_are_asked_about(tmp_path, command, name):
    told = tell(tmp_path, command, of_folds(name, labels=range(1, 6)))
    assert told.rows.empty or "(--seed names another; if these are folds, --fold" in told.text
    if command == "compare":
        asked = tell(tmp_path, command, of_folds(name, labels=range(1, 6)), "--fold", name)
        assert asked.row["p_t"] == pytest.approx(by_fold_p(1 / 5), rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("name", ["0-4", "5-fold"])
def test_a_row_of_text_that_holds_the_mean_of_the_folds_is_left_out(tmp_path, command, name):
    scores = {arm: (*values, round(float(np.mean(values)), 3)) for arm, values in BY_FOLD.items()}
    told = tell(tmp_path, command, of_folds(labels=[*range(5), name], scores=scores))
    assert told.row["n_seeds"] == 5
    assert told.row["p_t"] == pytest.approx(by_fold_p(1 / 5), rel=1e-6)
    assert f"(fold {name}: their mean): left out" in told.text


@COMMANDS
@pytest.mark.parametrize("column", ["fold", "seed"])
@pytest.mark.parametrize("number", [-1, 99])
def test_an_odd_number_that_holds_the_mean_of_the_others(tmp_path, command, column, number):
    exact = {
        "unet": (0.8012, 0.7823, 0.8234, 0.7915, 0.8116),
        "ours": (0.8221, 0.7832, 0.8423, 0.8214, 0.8235),
    }
    with_mean = {arm: (*values, round(float(np.mean(values)), 4)) for arm, values in exact.items()}
    told = tell(tmp_path, command, of_folds(column, [*range(5), number], with_mean))
    assert told.row["n_seeds"] == 5
    assert "rows sum others up, by what they hold" in told.text
    other = {arm: (*values, values[1] + 0.02) for arm, values in exact.items()}
    kept = tell(tmp_path, command, of_folds(column, [*range(5), number], other))
    assert kept.row["n_seeds"] == 6
    coarse = {arm: (*values, round(float(np.mean(values)), 2)) for arm, values in BY_FOLD.items()}
    doubted = tell(tmp_path, command, of_folds(column, [*range(5), number], coarse))
    assert doubted.row["n_seeds"] == 6
    assert "holds what sums the others up, or nearly, in every arm" in doubted.text


@COMMANDS
@pytest.mark.parametrize("mark", [",", ";"])
def test_rows_that_end_in_a_separator_are_read_under_their_own_names(tmp_path, command, mark):
    lines = per_seed_csv().splitlines()
    text = "\n".join([lines[0], *(f"{line}," for line in lines[1:])]).replace(",", mark) + "\n"
    told, plain = tell(tmp_path, command, text), tell(tmp_path, command, per_seed_csv())
    assert told.row["p_t"] == plain.row["p_t"]
    assert "each row ends in a separator, and the header in none: it is left out" in told.text


def test_decimal_commas_without_quotes_are_refused(tmp_path: Path) -> None:
    text = "method,dice_mean,dice_sd,n\nunet,85,3,2,5\nours,88,4,2,5\n"
    told = tell(tmp_path, "audit", text)
    assert (told.code, "is a decimal comma without quotes?" in told.text) == (2, True)


def test_row_names_of_r_are_still_read(tmp_path: Path) -> None:
    lines = per_seed_csv().splitlines()
    text = "\n".join([lines[0], *(f"{n},{line}" for n, line in enumerate(lines[1:], 1))]) + "\n"
    told = tell(tmp_path, "compare", text)
    assert "it is read as R's row names" in told.text
    assert told.row["p_t"] == tell(tmp_path, "compare", per_seed_csv()).row["p_t"]


@pytest.mark.parametrize("command", ["compare", "audit", "plan"])
@pytest.mark.parametrize("name", ["label", "class", "target", "region", "roi"])
@pytest.mark.parametrize("sides", [("train", "test"), ("Training", "Validierung")])
def test_sides_under_the_name_of_a_class_are_never_averaged(tmp_path, command, name, sides):
    table = per_case()
    table[name] = table["case"].str[1:].astype(int).map(lambda number: sides[number % 2])
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.rows.empty
    assert f"several values of {name}" in told.text


@COMMANDS
@pytest.mark.parametrize("first", ["", "Unnamed: 0"])
def test_a_column_that_numbers_the_rows_is_no_arm(tmp_path, command, first):
    d = np.subtract(BY_FOLD["ours"], BY_FOLD["unet"])
    rows = [f"{n},{n},{a},{b}" for n, (b, a) in enumerate(zip(*BY_FOLD.values(), strict=True))]
    told = tell(tmp_path, command, "\n".join([f"{first},seed,ours,unet", *rows]) + "\n")
    assert (told.row["a"], told.row["b"]) == ("ours", "unet")
    assert told.row["p_adjusted"] == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=1e-6)
    assert "numbers the rows: left out" in told.text


@COMMANDS
def test_folds_written_in_two_ways_are_one(tmp_path, command):
    names = {"unet": range(5), "ours": [f"fold_{n}" for n in range(5)]}
    rows = [
        f"{arm},{fold},{value}"
        for arm, values in BY_FOLD.items()
        for fold, value in zip(names[arm], values, strict=True)
    ]
    told = tell(tmp_path, command, "\n".join(["method,fold,dice", *rows]) + "\n")
    assert told.row["p_t"] == pytest.approx(by_fold_p(1 / 5), rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("labels", [range(1, 6), range(5, 10), range(10)])
def test_folds_of_other_numbers_without_cases_are_asked_about(tmp_path, command, labels):
    ours = np.resize(BY_FOLD["ours"], len(labels))
    rows = [f"unet,{n},{value}" for n, value in enumerate(BY_FOLD["unet"])]
    rows += [f"ours,{n},{value}" for n, value in zip(labels, ours, strict=True)]
    told = tell(tmp_path, command, "\n".join(["method,fold,dice", *rows]) + "\n")
    assert told.rows.empty
    assert "are they numbered alike, and of one division?" in told.text


@COMMANDS
def test_a_k_of_each_arm_is_its_setting(tmp_path, command):
    rows = [
        f"{arm},{seed},{5 if arm == 'unet' else 7},{value}"
        for arm, values in BY_FOLD.items()
        for seed, value in enumerate(values)
    ]
    told = tell(tmp_path, command, "\n".join(["method,seed,k,dice", *rows]) + "\n")
    d = np.subtract(BY_FOLD["ours"], BY_FOLD["unet"])
    assert told.row["p_t"] == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=1e-6)
    assert told.row["n_seeds"] == 5


@COMMANDS
def test_a_class_that_changes_from_run_to_run_is_refused(tmp_path, command):
    table = per_case()
    table["label"] = np.random.default_rng(0).choice(["low", "high"], len(table))
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert (told.code, "label is another in other runs of one case" in told.text) == (2, True)


@COMMANDS
def test_two_columns_of_one_meaning_are_one(tmp_path, command):
    parts = [
        per_case(seed=n).assign(label=n + 1, organ=name)
        for n, name in enumerate(("liver", "spleen"))
    ]
    table = pd.concat(parts)
    means = table.groupby(["method", "seed"])["dice"].mean()
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    p = stats.ttest_1samp(means["ours"] - means["unet"], 0).pvalue
    assert told.row["p_t"] == pytest.approx(p, rel=1e-6)


@COMMANDS
def test_numbers_of_cases_that_come_again_at_each_site_are_told_apart(tmp_path, command):
    parts = [per_case(seed=n, cases=6).assign(site=name) for n, name in enumerate("AB")]
    table = pd.concat(parts)
    table["image"] = table.pop("case").str[1:].astype(int)
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "if site has several of image, --case image --group site" in told.text


@COMMANDS
@pytest.mark.parametrize("name", ["site", "checkpoint", "stage"])
def test_arms_that_differ_in_a_column_too_are_refused_as_that(tmp_path, command, name):
    table = per_case()
    table[name] = table["method"].map({"unet": "A", "ours": "B"})
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.rows.empty
    assert f"each arm has one {name}" in told.text


@COMMANDS
@pytest.mark.parametrize("name", ["iou_type", "tta", "ckpt", "postprocess", "annotator"])
def test_settings_are_not_advised_as_cases(tmp_path, command, name):
    table = pd.concat([per_case(seed=n).assign(**{name: text}) for n, text in enumerate("ab")])
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "choose one value of it first" in told.text
    assert f"--case {name}" not in told.text


@COMMANDS
def test_a_summary_of_no_fold_beside_folds_is_named(tmp_path, command):
    paths = []
    for arm in ("unet", "ours"):
        for fold in range(3):
            cases = {f"p{number}": {"1": 0.8} for number in range(6) if number % 3 == fold}
            paths.append(summary(tmp_path / arm / f"fold_{fold}" / "validation", cases))
    paths.append(summary(tmp_path / "ensemble", {f"p{number}": {"1": 0.8} for number in range(6)}))
    told = tell(tmp_path, command, paths)
    assert (told.code, "ensemble/summary.json is of no fold" in told.text) == (2, True)


@COMMANDS
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_infinite_scores_count_as_a_number(tmp_path, command, value):
    told = tell(tmp_path, command, per_seed_csv(), "--infinite-as", value)
    assert (told.code, "give a number (--infinite-as)" in told.text) == (2, True)
