"""Tables of the known kinds that rounds of fresh files had left as light."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats
from strangers import per_case, per_seed_csv, summary, tell

COMMANDS = pytest.mark.parametrize("command", ["compare", "audit"])


@COMMANDS
@pytest.mark.parametrize(
    ("encoding", "names"),
    [("gbk", ("基线网络", "我们的方法")), ("cp1251", ("базовая", "наша")),
     ("shift_jis", ("ベースライン", "提案手法"))],
)  # fmt: skip
def test_words_of_another_encoding_are_not_read_as_windows(tmp_path, command, encoding, names):
    path = tmp_path / "table.csv"
    path.write_bytes(per_seed_csv(names=names[::-1]).encode(encoding))
    told = tell(tmp_path, command, path)
    assert (told.code, "Save it as UTF-8" in told.text) == (2, True)
    right = tell(tmp_path, command, per_seed_csv(names=names[::-1]), "--baseline", names[0])
    assert right.row["a"] == names[1]


@COMMANDS
def test_accented_names_are_still_read_as_windows(tmp_path, command):
    path = tmp_path / "table.csv"
    path.write_bytes(per_seed_csv(names=("modèle", "référence")).encode("cp1252"))
    told = tell(tmp_path, command, path, "--baseline", "référence")
    assert (told.row["a"], "it is read as Windows-1252" in told.text) == ("modèle", True)


@COMMANDS
def test_merged_cells_are_named_as_the_cause(tmp_path, command):
    lines = per_seed_csv().splitlines()
    seen: set[str] = set()
    merged = [lines[0]]
    for line in lines[1:]:
        arm, rest = line.split(",", 1)
        merged.append(f"{'' if arm in seen else arm},{rest}")
        seen.add(arm)
    told = tell(tmp_path, command, "\n".join(merged) + "\n")
    assert told.rows.empty
    assert "merged cells of a sheet with what stands above them" in told.text


@COMMANDS
def test_a_severity_of_each_case_is_no_corruption(tmp_path, command):
    table = per_case()
    table["severity"] = table["case"].str[1:].astype(int) % 3
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    means = table.groupby(["method", "seed"])["dice"].mean()
    gaps = means["ours"] - means["unet"]
    assert told.row["p_t"] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, rel=1e-6)
    corrupted = pd.concat([per_case(seed=level).assign(severity=level) for level in range(3)])
    asked = tell(tmp_path, command, corrupted.to_csv(index=False), "--baseline", "unet")
    assert "the table has several values of severity (0, 1, 2)" in asked.text


@COMMANDS
def test_images_numbered_within_a_client_are_its_images(tmp_path, command):
    parts = [per_case(seed=n, cases=6).assign(client=name) for n, name in enumerate("ab")]
    table = pd.concat(parts).rename(columns={"case": "img"})
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "if client has several of img, --case img --group client" in told.text
    right = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet",
                 "--case", "img", "--group", "client")  # fmt: skip
    assert right.row["n_groups"] == 2


def test_unequal_numbers_of_printed_runs_say_how_to_go_on(tmp_path: Path) -> None:
    text = "method,mean,sd,n\nunet,0.80,0.02,5\nours,0.83,0.02,3\n"
    told = tell(tmp_path, "audit", text)
    assert "they cannot all be paired" in told.text
    assert "Leave the arm out (--where), or, with a row for each run" in told.text


@COMMANDS
def test_a_network_of_all_cases_is_no_fold(tmp_path, command):
    paths = []
    for arm, gain in (("unet", 0.0), ("ours", 0.02)):
        for fold in (*range(5), "all"):
            cases = {
                f"p{case:02d}": {"1": 0.7 + gain + 0.001 * case + (0.2 if fold == "all" else 0)}
                for case in range(20)
                if fold == "all" or case % 5 == fold
            }
            paths.append(summary(tmp_path / "Dataset001_X" / arm / f"fold_{fold}" / "validation",
                                 cases))  # fmt: skip
    told = tell(tmp_path, command, paths, "--baseline", "unet")
    assert "2 summaries are of networks that were trained on all cases" in told.text
    assert told.row["n_seeds"] == 5
    assert told.row["mean_b"] == pytest.approx(0.7 + 0.001 * 9.5, rel=1e-6)
    alone = tell(tmp_path, command, [path for path in paths if "fold_all" in str(path)])
    assert "is scored on cases of its training" in alone.text or alone.code == 2


@COMMANDS
def test_a_label_that_names_the_cases_is_no_class(tmp_path, command):
    table = per_case().rename(columns={"case": "Label"})
    table["Label"] = "BraTS20_Training_0" + table["Label"].str[1:]
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "Label = case" in told.text
    assert "averaged over" not in told.text
    assert told.row["n_cases"] == 12


@COMMANDS
@pytest.mark.parametrize("score", ["iou_gap", "loss_gap", "noise"])
def test_the_direction_of_a_gap_is_asked(tmp_path, command, score):
    told = tell(tmp_path, command, per_seed_csv(header=f"method,seed,{score}"))
    assert told.code == 2
    assert f"is a higher or a lower '{score}' better?" in told.text


@COMMANDS
def test_an_ensemble_of_seeds_is_none_of_them(tmp_path, command):
    rows = per_seed_csv() + "unet,ens5,0.84\nours,ens5,0.86\n"
    told = tell(tmp_path, command, rows, "--baseline", "unet")
    assert told.row["n_seeds"] == 5
    assert "2 rows sum others up (seed ens5): left out" in told.text


@COMMANDS
def test_escapes_of_another_encoding_are_no_text(tmp_path, command):
    path = tmp_path / "table.csv"
    path.write_bytes(per_seed_csv(names=("提案", "基準")).encode("iso2022_jp"))
    told = tell(tmp_path, command, path)
    assert (told.code, "Save it as UTF-8" in told.text) == (2, True)


@COMMANDS
@pytest.mark.parametrize("form", ["{arm}_fold{fold}", "{arm}/f{fold}", "{arm}-fold-{fold}"])
def test_folds_in_names_of_folders_are_folds(tmp_path, command, form):
    paths = [
        summary(
            tmp_path / "results" / form.format(arm=arm, fold=fold),
            {f"p{case:02d}": {"1": 0.7 + gain + 0.001 * case} for case in range(fold, 20, 5)},
        )
        for arm, gain in (("unet", 0.0), ("ours", 0.02))
        for fold in range(5)
    ]
    told = tell(tmp_path, command, paths, "--baseline", "unet")
    assert (told.row["a"], told.row["n_seeds"]) == ("ours", 5)
    assert told.row["mean_a"] - told.row["mean_b"] == pytest.approx(0.02, abs=1e-9)


@COMMANDS
@pytest.mark.parametrize(
    ("folds", "doubt"),
    [((0, 2, 4), "a fold 1, 3 too"), ((1, 2, 5), "a fold 3, 4 too"), ((1, 2, 3), None)],
)
def test_folds_that_are_missing_between_others_are_a_doubt(tmp_path, command, folds, doubt):
    rows = [
        f"{arm},{fold},{0.7 + gain + 0.013 * (fold % 3) + 0.002 * fold * gain:.4f}"
        for arm, gain in (("unet", 0.0), ("ours", 0.02))
        for fold in folds
    ]
    told = tell(tmp_path, command, "\n".join(["method,fold,dice", *rows]), "--baseline", "unet")
    assert "3 folds: the test share is taken to be 1/3" in told.text
    assert ("which is wrong if there is" in told.text) == (doubt is not None)
    assert doubt is None or doubt in told.text


@COMMANDS
def test_data_under_a_column_of_any_name_can_be_named(tmp_path, command):
    parts = [per_case(seed=n).assign(provenance=name) for n, name in enumerate(("Oslo", "Bonn"))]
    table = pd.concat(parts)
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "or, if these are data sets, --dataset provenance" in told.text
    right = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet",
                 "--dataset", "provenance")  # fmt: skip
    assert sorted(right.rows["dataset"]) == ["Bonn", "Oslo"]


def test_arms_under_two_names_are_told_how_to_be_compared(tmp_path: Path) -> None:
    lines = ["trainer,configuration,fold,case,Dice"]
    for case in range(25):
        for gain, trainer in [(0, "nnUNetTrainer"), (0.02, "nnUNetTrainerLLM")]:
            for better, configuration in enumerate(("2d", "3d_fullres")):
                dice = 0.7 + gain * better + 0.01 * (case % 7)
                lines.append(f"{trainer},{configuration},{case // 5},case{case},{dice:.3f}")
    text = "\n".join(lines)
    refused = tell(tmp_path, "compare", text)
    assert refused.code == 2
    assert "fold 0, case case0 (doubled in folds 0, 1, 2, 3, 4)" in refused.text
    assert refused.text.rstrip().endswith("--arm trainer --dataset configuration")
    told = tell(tmp_path, "compare", text, "--arm", "trainer", "--dataset", "configuration")
    effects = told.rows.set_index("dataset")["difference"]
    assert effects.to_dict() == pytest.approx({"2d": 0, "3d_fullres": 0.02}, abs=1e-9)
