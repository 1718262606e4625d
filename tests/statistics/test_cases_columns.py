"""Columns of exports, by name and content; folders of nnU-Net; patients wherever they are known."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import OURS, UNET, paired_t, per_case, per_seed_csv, summary, tell

P = stats.ttest_rel(OURS, UNET).pvalue
DIFFERENCE = float(np.mean(np.subtract(OURS, UNET)))


def runs(**columns) -> pd.DataFrame:
    """A row per run, with further columns: constants or functions of the row's number."""
    rows = []
    for arm, values in (("unet", UNET), ("ours", OURS)):
        for seed, value in enumerate(values):
            number = len(rows)
            row = {key: make(number) if callable(make) else make for key, make in columns.items()}
            rows.append({**row, "model": arm, "seed": seed, "dice": value})
    return pd.DataFrame(rows)


EXPORTS = {
    "mlflow": runs(**{"Start Time": "2026-01-01", "Duration": lambda n: 100 + n,
                      "Run ID": lambda n: f"a{n}f",
                      "Name": lambda n: f"sweet-fox-{n}", "User": "me", "Status": "FINISHED"})
    .rename(columns={"seed": "params.seed"}),
    "mlflow search_runs": runs(run_id=lambda n: f"{n:032x}", experiment_id=1, status="FINISHED",
                               start_time=lambda n: f"2026-01-0{1 + n % 9}")
    .rename(columns={"seed": "params.seed", "model": "params.model", "dice": "metrics.dice"}),
    "wandb": runs(Name=lambda n: f"sweet-fox-{n}", State="finished",
                  Runtime=lambda n: 130 + n, Tags=""),
    "id": runs(id=lambda n: n), "index": runs(**{"": lambda n: n}),
    "uuid": runs(uuid=lambda n: f"{n}-{n}"),
    "names of runs": runs(Name=lambda n: f"model-s{n}"),
    "checkpoint path": runs(file=lambda n: f"/r/{n}/best.pt"),
    "spread of the cases": runs(dice_std=0.05),
    "spread and number of cases": runs(dice_std=0.09, n=40),
    "other scores": runs(hd95=lambda n: 3.0 + n, loss=0.1),
    "resources": runs(gpu_hours=lambda n: n / 7, params=1e6),
    "hydra": runs().rename(columns={"seed": "config.seed", "model": "config/model"}),
}  # fmt: skip


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_exports_are_five_paired_seeds(tmp_path, export, command):
    told = tell(tmp_path, command, EXPORTS[export].to_csv(index=False), "--baseline", "unet")
    assert told.code == 0, told.text
    assert told.row["difference"] == pytest.approx(DIFFERENCE, rel=1e-9)
    assert told.row["p_t"] == pytest.approx(P, rel=1e-9)
    assert told.row["n_seeds"] == 5
    assert np.isnan(told.row["n_cases"])


def test_columns_that_are_not_used_are_named_with_a_reason(tmp_path):
    told = tell(tmp_path, "audit", EXPORTS["mlflow"].to_csv(index=False), "--baseline", "unet")
    reason = "column Name is another in each row: it names rows or runs, and no case"
    assert reason in told.text
    assert reason in told.page
    assert "not used: Start Time, Duration, Run ID, User, Status" in told.text


def test_runs_that_did_not_finish_are_doubted(tmp_path):
    table = runs(State=lambda n: "crashed" if n == 3 else "finished")
    told = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet")
    assert (
        "1 of 10 rows are of runs that did not finish (State): --where State=finished" in told.text
    )


@pytest.mark.parametrize("name", ["result", "average", "mean", "Result", "score", "value"])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_column_called_result_is_the_score(tmp_path, name, command):
    told = tell(tmp_path, command, per_seed_csv(header=f"method,seed,{name}"), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(P, rel=1e-9)


WIDE = {
    "seeds": ("method,seed_0,seed_1,seed_2,seed_3,seed_4\n", "rows"),
    "runs": ("Model,run 1,run 2,run 3,run 4,run 5\n", "rows"),
    "numbers": ("method,0,1,2,3,4\n", "rows"),
    "score and seed": ("method,dice_seed0,dice_seed1,dice_seed2,dice_seed3,dice_seed4\n", "rows"),
    "seed and score": ("method,seed0_dice,seed1_dice,seed2_dice,seed3_dice,seed4_dice\n", "rows"),
    "methods": ("seed,unet,ours\n", "columns"),
}


@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_wide_tables_are_turned_and_that_is_said(tmp_path, kind, command):
    header, way = WIDE[kind]
    if way == "rows":
        body = "".join(
            f"{arm}," + ",".join(map(str, v)) + "\n" for arm, v in (("unet", UNET), ("ours", OURS))
        )
    else:
        body = "".join(f"{s},{u},{o}\n" for s, (u, o) in enumerate(zip(UNET, OURS, strict=True)))
    told = tell(tmp_path, command, header + body, "--baseline", "unet", "--score", "dice")
    assert told.code == 0, told.text
    assert told.row["p_t"] == pytest.approx(P, rel=1e-9)
    assert "are read as" in told.text
    assert told.row["score"] == "dice"


def test_a_column_per_fold_is_read_as_folds(tmp_path):
    body = "".join(
        f"{arm}," + ",".join(map(str, v)) + "\n" for arm, v in (("unet", UNET), ("ours", OURS))
    )
    told = tell(
        tmp_path, "audit", "method,fold_0,fold_1,fold_2,fold_3,fold_4\n" + body, "--score", "dice"
    )
    assert "corrected for shared training data" in told.text


def test_the_chart_of_a_run_is_refused_with_what_to_export(tmp_path):
    header = "Step,unet-0 - val/dice,unet-0 - val/dice__MIN,unet-0 - val/dice__MAX"
    text = f"{header}\n0,.5,.5,.5\n1,.6,.6,.6\n"
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, text)
        assert (told.code, "export the table of runs instead" in told.text) == (2, True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("unet,0,0.8\nours,0,0.8,2\n", "row 3 has more cells than the header (4 and 3)"),
        ("unet,0,0.8\nours,0\n", "row 3 has fewer cells than the header (2 and 3)"),
        ("", "the table has no rows"),
    ],
)
def test_rows_of_another_length_are_named(tmp_path, rows, message):
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, f"method,seed,dice\n{rows}", "--baseline", "unet")
        assert (told.code, message in told.text) == (2, True), told.text


def test_two_columns_of_one_name_are_refused(tmp_path):
    told = tell(tmp_path, "audit", "method,seed,dice,dice\na,0,1,1\nb,0,1,1\n")
    assert (told.code, "two columns are called 'dice': rename one of them" in told.text) == (
        2,
        True,
    )


# -- arms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd", ["unet ", " unet", "unet\u00a0", "UNet", "**unet**", r"\textbf{unet}"]
)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_an_arm_that_is_written_in_two_ways_is_one(tmp_path, odd, command):
    text = per_seed_csv()
    for seed in (1, 3):
        text = text.replace(f"unet,{seed},", f"{odd},{seed},")
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.code == 0, told.text
    assert told.row["p_t"] == pytest.approx(P, rel=1e-9)
    assert odd == " unet" or "one" in told.text  # a blank after the comma is the file's dialect


def test_two_arms_that_differ_in_capitals_and_share_runs_stay_two(tmp_path):
    text = per_seed_csv(names=("UNET", "unet"))
    assert tell(tmp_path, "audit", text, "--baseline", "unet").row["a"] == "UNET"


@pytest.mark.parametrize("name", ["None", "none", "NA", "null", "nan", "N/A"])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_an_arm_may_be_called_none(tmp_path, name, command):
    told = tell(tmp_path, command, per_seed_csv(names=("ours", name)), "--baseline", name)
    assert told.row["p_t"] == pytest.approx(P, rel=1e-9)
    assert f"ours has a higher dice than {name}" in told.text


# -- patients --------------------------------------------------------------------------------


def slices(anew: bool) -> pd.DataFrame:
    table = per_case(cases=48).rename(columns={"case": "slice"})
    number = table["slice"].str[1:].astype(int)
    table["patient"] = "P" + (number // 4).astype(str)
    if anew:
        table["slice"] = number % 4
    return table


@pytest.mark.parametrize("anew", [True, False])
@pytest.mark.parametrize(
    "name", ["patient", "Patient ID", "subject", "PatientID", "pid", "participant_id"]
)
def test_the_interval_is_over_patients_whenever_they_are_known(tmp_path, anew, name):
    table = slices(anew).rename(columns={"patient": name})
    compared = tell(
        tmp_path, "compare", table.to_csv(index=False), "--baseline", "unet", "--bootstrap", 1000
    )
    assert compared.row["n_groups"] == 12
    assert compared.row["n_cases"] == 48
    d = table.assign(key=table["slice"].astype(str) + table[name])
    wide = d.pivot(index="seed", columns=[name, "key", "method"], values="dice")
    by_patient = wide.T.groupby(level=[0, 2]).mean().T.mean()
    difference = by_patient.xs("ours", level=1) - by_patient.xs("unet", level=1)
    low, high = stats.t.interval(0.95, 11, difference.mean(), difference.std(ddof=1) / np.sqrt(12))
    assert compared.row["case_low"] == pytest.approx(low, abs=0.3 * (high - low))
    assert compared.row["case_high"] == pytest.approx(high, abs=0.3 * (high - low))


def test_audit_compare_and_plan_see_the_same_patients(tmp_path):
    text = slices(True).to_csv(index=False)
    audited = tell(tmp_path, "audit", text, "--baseline", "unet")
    compared = tell(tmp_path, "compare", text, "--baseline", "unet", "--bootstrap", 10_000)
    for name in ("n_groups", "n_cases", "case_low", "case_high", "boot_low", "difference", "p_t"):
        assert audited.row[name] == compared.row[name], name
    assert "48 cases, 12 patients" in audited.text
    assert tell(tmp_path, "plan", text, "--baseline", "unet").row["unit"] == "group"


def test_a_row_per_patient_has_patients(tmp_path):
    table = per_case().rename(columns={"case": "patient_id"})
    told = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet")
    assert told.row["n_groups"] == 12
    assert "no patients in the table" not in told.text


def test_a_patient_s_column_may_be_named(tmp_path):
    table = slices(False).rename(columns={"patient": "who"})
    told = tell(
        tmp_path, "compare", table.to_csv(index=False), "--baseline", "unet", "--group", "who"
    )
    assert told.row["n_groups"] == 12


def test_names_that_look_like_slices_of_patients_are_doubted(tmp_path):
    table = slices(False).drop(columns="patient")
    number = table["slice"].str[1:].astype(int)
    table["slice"] = "P" + (number // 4).astype(str) + "_" + (number % 4).astype(str)
    told = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet")
    assert "the cases look like 12 patients with several images each" in told.text


@pytest.mark.parametrize("volume", ["real", "whole", "predicted", "predicted whole"])
def test_the_volume_of_a_lesion_is_no_patient(tmp_path, volume):
    draw = np.random.default_rng(0)
    table = per_case()
    of_case = {case: draw.uniform(10, 90) for case in table["case"].unique()}
    values = (
        table["case"].map(of_case)
        if "predicted" not in volume
        else draw.uniform(10, 90, len(table))
    )
    table["volume"] = np.round(values, 0 if "whole" in volume else 1)
    if "whole" in volume:
        table = table.astype({"volume": int})
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
        assert told.row["n_cases"] == 12
        assert np.isnan(told.row["n_groups"]) or told.row["n_groups"] == 12
        assert "so it is no" in told.text


# -- nnU-Net ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    ["{arm}/seed_{seed}", "{arm}/seed{seed}", "{arm}/run_{seed}", "seed_{seed}/{arm}",
     "{arm}_s{seed}",
     "nnUNetTrainer_LLM4Seg_{arm}_s{seed}__nnUNetPlans__2d", "{arm}/rep-{seed}/validation"],
)  # fmt: skip
def test_folders_tell_arms_and_seeds(tmp_path, place):
    draw = np.random.default_rng(1)
    files, values = [], {}
    for arm, gain in (("cnn", 0), ("llm", 0.02)):
        for seed in range(4):
            cases = {
                f"BraTS.GLI.{k:05d}": {"1": 0.8 + gain + draw.normal(0, 0.01)} for k in range(12)
            }
            files.append(summary(tmp_path / "r" / place.format(arm=arm, seed=seed), cases))
            values[arm, seed] = np.mean([case["1"] for case in cases.values()])
    told = tell(tmp_path, "audit", files)
    assert told.code == 0, told.text
    a, b = ([values[arm, seed] for seed in range(4)] for arm in ("llm", "cnn"))
    assert "2 arms, 4 seeds, 12 cases" in told.text
    assert abs(told.row["difference"]) == pytest.approx(np.mean(np.subtract(a, b)), rel=1e-9)
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


@pytest.mark.parametrize("name", ["a.b.c", "BraTS.GLI.00001", "x.nii.y", "case 1", "Fälle.01"])
def test_dots_in_the_names_of_cases(tmp_path, name):
    files = [
        summary(tmp_path / arm, {f"{name}.{k}": {"1": 0.8 + 0.01 * k} for k in range(6)})
        for arm in ("A", "B")
    ]
    assert "2 arms, 1 seed, 6 cases" in tell(tmp_path, "audit", files).text


# -- what is said ----------------------------------------------------------------------------


def test_easy_items_are_no_copies_and_outcomes_are_not_rounded(tmp_path):
    rows = [f"{arm},{s},{k},{int(k < 7 or (arm == 'new' and s == 4))}" for arm in ("base", "new")
            for s in range(5) for k in range(8)]  # fmt: skip
    told = tell(
        tmp_path, "audit", "\n".join(["model,seed,sample,accuracy", *rows]), "--baseline", "base"
    )
    assert "identical scores" not in told.text
    assert "rounded" not in told.text


def test_copies_of_rounded_scores_are_still_found(tmp_path):
    table = per_case(cases=40)
    copied = (
        table.loc[(table["method"] == "unet") & (table["seed"] == 1), "dice"].round(3).to_numpy()
    )
    table["dice"] = table["dice"].round(3)
    table.loc[(table["method"] == "ours") & (table["seed"] == 2), "dice"] = copied
    told = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet")
    assert "fault: unet seed 1 and ours seed 2 have identical scores" in told.text


def test_the_options_are_the_same_on_all_three(tmp_path):
    table = slices(True).rename(
        columns={"method": "A", "seed": "B", "slice": "C", "patient": "D", "dice": "E"}
    )
    table["F"] = "x"
    text = pd.concat([table, table.assign(F="y", E=table["E"] / 2)]).to_csv(index=False)
    options = ["--arm", "A", "--seed", "B", "--case", "C", "--group", "D", "--score", "E",
               "--where", "F=x",
               "--higher-is-better", "--baseline", "unet", "--margin", "0.005"]  # fmt: skip
    for command in ("compare", "plan", "audit"):
        told = tell(tmp_path, command, text, *options)
        assert told.code == 0, told.text
        for said in ("A = arm", "B = seed", "C = case", "D = group", "E = score"):
            assert said in told.text
    each = tell(tmp_path, "compare", text, *options[:10], "--dataset", "F", *options[12:])
    assert sorted(each.rows["dataset"]) == ["x", "y"]


def test_no_case_says_that_a_row_is_a_whole_run(tmp_path):
    table = runs(image=lambda n: f"i{n % 5}")
    for command in ("compare", "audit"):
        told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet", "--no-case")
        assert told.row["p_t"] == pytest.approx(P, rel=1e-9)
        assert np.isnan(told.row["n_cases"])
    both = tell(tmp_path, "compare", table.to_csv(index=False), "--no-case", "--case", "image")
    assert both.code == 2


def test_rows_may_come_in_any_order(tmp_path):
    table = per_case()
    plain = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet").rows
    mixed = tell(
        tmp_path,
        "audit",
        table.sample(frac=1, random_state=1).to_csv(index=False),
        "--baseline",
        "unet",
    )
    pd.testing.assert_frame_equal(mixed.rows, plain)
    assert plain.iloc[0]["difference"] == pytest.approx(paired_t(table)[0], rel=1e-9)
