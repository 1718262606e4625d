"""Tables of the same kinds as those that were told, with other columns, folders and exports."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import OURS, UNET, corrected_t, paired_t, per_case, per_seed_csv, summary, tell


@pytest.mark.parametrize(
    "column", ["Pretraining", "Init", "Resolution", "Loss", "Optimizer", "Training data", "x"]
)
def test_printed_means_are_compared_within_any_column_that_tells_them_apart(tmp_path, column):
    text = (
        f"{column},Method,Dice,n\nA,unet,85.3 ± 0.4,5\nA,ours,85.4 ± 0.4,5\n"
        "B,unet,90.3 ± 0.4,5\nB,**ours**,**90.2** ± **0.4**,5\n"
    )
    told = tell(tmp_path, "audit", text, "--baseline", "unet")
    assert told.rows["difference"].round(6).tolist() == [0.1, -0.1]
    assert told.rows["dataset"].tolist() == ["A", "B"]
    assert f"compared within each {column}: A, B" in told.text


def test_two_printed_rows_of_one_arm_are_refused(tmp_path):
    text = "Method,Dice,n\nunet,85.3 ± 2.1,5\nours,86.4 ± 1.2,5\nours,88.4 ± 1.2,5\n"
    told = tell(tmp_path, "audit", text)
    assert told.code == 2
    assert "rows 3, 4 are all of ours, and nothing tells them apart" in told.text


def test_standard_errors_in_a_header_are_turned_into_sds(tmp_path):
    body = "unet,85.3 ± 2.1,5\nours,88.4 ± 1.2,5\n"
    errors = tell(tmp_path, "audit", f"Method,Dice (mean ± SE),n\n{body}")
    assert "standard errors are turned into SDs" in errors.text
    spread = tell(tmp_path, "audit", f"Method,Dice (mean ± SD),n\n{body}")
    for told, error in ((errors, np.hypot(1.2, 2.1)), (spread, np.hypot(1.2, 2.1) / np.sqrt(5))):
        by_hand = 2 * stats.t.sf((88.4 - 85.3) / error, 4)
        assert told.row["p_uncorrelated"] == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("what", ["mean ± 95% CI", "median (IQR)", "mean, 95 % CI"])
def test_intervals_and_ranges_are_no_sds(tmp_path, what):
    form = "{} ({})" if "IQR" in what else "{} ± {}"
    means = [("unet", form.format(85.3, 2.1)), ("ours", form.format(88, 1.2))]
    text = f'Method,"Dice [{what}]",n\n' + "".join(f"{arm},{cell},5\n" for arm, cell in means)
    told = tell(tmp_path, "audit", text)
    assert told.code == 2
    assert "means with SDs, or with standard errors, can be audited" in told.text


def test_a_difference_among_means_is_doubted(tmp_path):
    told = tell(tmp_path, "audit", "Method,Dice,n\nunet,85.3 ± 2.1,5\nours,+3.1 ± 1.2,5\n")
    assert "Dice of ours is written with a plus sign, and others are not" in told.text


@pytest.mark.parametrize(
    "name",
    [
        "Pat.", "Patient-Nr", "Patienten-ID", "ID patient", "study_uid", "sub", "pt", "MRN",
        "Participant No", "case",
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_patients_are_known_by_any_name_of_their_column(tmp_path, name, command):
    table = per_case(cases=36).rename(columns={"case": "slice"})
    table.insert(2, name, table["slice"].map(lambda case: f"x{int(case[1:]) // 3}"))
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert f"{name} = group" in told.text
    assert told.row["n_groups"] == 12
    assert told.row["difference"] == pytest.approx(paired_t(table)[0], rel=1e-9)


@pytest.mark.parametrize("name", ["scan", "visit", "Hospital stay"])
def test_a_column_within_which_cases_lie_is_asked_about(tmp_path, name):
    table = per_case(cases=36)
    table[name] = table["case"].map(lambda case: f"x{int(case[1:]) // 3}")
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
        assert f"each case lies within one {name}, of which there are 12" in told.text
        assert f"--group {name}" in told.text
        assert "no patients in the table" in told.text


def test_patients_that_differ_in_capitals_are_one(tmp_path):
    table = per_case(cases=24)
    table["patient"] = [f"{'pP'[int(case[1:]) % 2]}{int(case[1:]) // 2}" for case in table["case"]]
    told = tell(tmp_path, "compare", table.to_csv(index=False), "--baseline", "unet")
    assert told.row["n_groups"] == 12
    assert "patient: names that differ in capitals only are taken for one" in told.text


@pytest.mark.parametrize("name", ["fold", "Fold", "cv", "outer_fold", "fold_no"])
@pytest.mark.parametrize("command", ["compare", "audit"])
@pytest.mark.parametrize("form", ["{}", "fold_{}"])
def test_folds_without_seeds_are_folds(tmp_path, name, command, form):
    text = per_seed_csv(header=f"method,{name},dice")
    for fold in range(5):
        text = text.replace(f",{fold},", f",{form.format(fold)},")
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(corrected_t(np.subtract(OURS, UNET)), rel=1e-9)
    assert "over 5 folds" in told.text


@pytest.mark.parametrize(
    "folders",
    ["{arm}/{seed}", "{arm}-s{seed}", "s{seed}/{arm}", "{arm}.run{seed}", "{arm}/rep={seed}"],
)  # fmt: skip
def test_seeds_of_nnunet_in_folders_of_any_name(tmp_path, folders):
    files, rows = [], []
    for arm, gain in (("A", 0.0), ("B", 0.02)):
        for seed in range(4):
            draw = np.random.default_rng(10 * seed + (arm == "B"))
            cases = {
                f"c{case}": {"1": round(0.8 + gain + draw.normal(0, 0.01), 4)} for case in range(5)
            }
            files.append(summary(tmp_path / folders.format(arm=arm, seed=seed), cases))
            rows += [(arm, seed, labels["1"]) for labels in cases.values()]
    table = pd.DataFrame(rows, columns=["method", "seed", "dice"])
    told = tell(tmp_path, "audit", files, "--baseline", "A")
    difference, p = paired_t(table, a="B", b="A")
    assert told.row["n_seeds"] == 4
    assert told.row["difference"] == pytest.approx(difference, rel=1e-9)
    assert told.row["p_t"] == pytest.approx(p, rel=1e-9)


def test_an_export_of_runs_by_group(tmp_path):
    rows = [
        f"happy-{arm}-{seed},{arm},finished,{100 + seed},me,{seed},dice_ce,{value}"
        for arm, values in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(values)
    ]
    header = "Name,Group,State,Runtime,User,config.seed,config.loss,summary.val/dice"
    text = "\n".join([header, *rows]) + "\n"
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, text, "--baseline", "unet")
        assert told.row["difference"] == pytest.approx(np.mean(OURS) - np.mean(UNET))
        assert "column Group was taken for the arm" in told.text


def test_means_beside_a_column_for_each_seed_are_not_used(tmp_path):
    rows = [
        ",".join([arm, *map(str, values), str(np.mean(values)), str(np.std(values))])
        for arm, values in (("unet", UNET), ("ours", OURS))
    ]
    text = "\n".join(["method,seed0,seed1,seed2,seed3,seed4,mean,std", *rows]) + "\n"
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, text, "--baseline", "unet")
        assert told.row["n_seeds"] == 5
        assert told.row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue, rel=1e-9)
        assert "not used: mean, std" in told.text


def test_cases_that_one_arm_alone_lacks_are_told(tmp_path):
    table = per_case()
    lacking = table[(table["method"] != "ours") | ~table["case"].isin(["p03", "p07"])]
    told = tell(tmp_path, "audit", lacking.to_csv(index=False), "--baseline", "unet")
    assert "2 of 12 cases lack a row in some run: a case that ours alone lacks" in told.text
