"""Results of arms, seeds and folds as one table, and what is said about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.errors import TableError
from llm4seg_probe.integrations.nnunet.results import COLUMNS, collect, compared
from llm4seg_probe.statistics.compare import compare


def write_fold(
    root: Path,
    trainer: str,
    fold: int | str,
    dice: dict[str, Any],
    plans: dict[str, Any] | None = None,
) -> Path:
    """One fold's summary as nnU-Net writes it, and the plans beside it."""
    plans = plans or {}
    name = plans.get("plans_name", "nnUNetPlansX")
    folder = root / f"{trainer}__{name}__2d"
    (folder / f"fold_{fold}" / "validation").mkdir(parents=True)
    content = {"plans_name": name, "configurations": {"2d": {"patch_size": [96, 96]}}} | plans
    (folder / "plans.json").write_text(json.dumps(content), encoding="utf-8")
    labels = {"background": 0, "liver": 1, "whole": [1, 2]}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    cases = [
        {
            "prediction_file": f"/somewhere/validation/{case}.nii.gz",
            "reference_file": f"/somewhere/{case}.nii.gz",
            "metrics": {
                "1": {"Dice": value, "IoU": 0.5},
                "(1, 2)": {"Dice": value, "IoU": 0.5},
            },
        }
        for case, value in dice.items()
    ]
    (folder / f"fold_{fold}" / "validation" / "summary.json").write_text(
        json.dumps({"metric_per_case": cases}), encoding="utf-8"
    )
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two arms, three seeds, two folds of three cases."""
    root = tmp_path / "Dataset001_Toy"
    draw = np.random.default_rng(0)
    for arm in ("cnn", "randomfrozen"):
        for seed in range(3):
            for fold in range(2):
                dice = {f"case{fold}{n}": float(draw.uniform(0.7, 0.8)) for n in range(3)}
                write_fold(root, f"nnUNetTrainer_LLM4Seg_{arm}_s{seed}", fold, dice)
    return root


def test_the_table_has_a_row_for_each_measurement(results):
    found = collect([results])
    assert tuple(found.table.columns) == COLUMNS
    assert len(found.table) == 2 * 3 * 2 * 3 * 2
    assert set(found.table["arm"]) == {"cnn", "random-frozen"}
    assert set(found.table["class"]) == {"liver", "whole"}
    assert found.left_out == ()
    assert found.sentences == (
        "Dataset001_Toy, nnUNetPlansX, 2d: arms cnn, random-frozen; seeds 0, 1, 2; folds 0, 1; "
        "6 cases",
    )


def test_the_folder_of_all_data_sets_and_that_of_one_trainer_are_read_too(results):
    whole = collect([results]).table
    assert collect([results.parent]).table.equals(whole)
    one = collect([next(results.glob("*_cnn_s1__*"))]).table
    assert one["seed"].unique().tolist() == [1]


def test_each_seed_is_one_replicate(results):
    found = collect([results])
    rows, said = compared(found, bootstrap=0)
    pooled = found.table.groupby(["arm", "seed"])["dice"].mean().unstack("arm")
    difference = pooled["random-frozen"] - pooled["cnn"]
    assert rows["n_seeds"].tolist() == [3]
    assert rows["difference"].iloc[0] == pytest.approx(difference.mean(), abs=1e-12)
    from scipy.stats import ttest_1samp

    assert rows["p_t"].iloc[0] == pytest.approx(ttest_1samp(difference, 0).pvalue, rel=1e-9)
    assert said[0].startswith(
        "3 seeds with 2 folds each: every seed's cross-validation counts once"
    )
    same = compare(found.table, score="dice", average_over=("fold", "class"), bootstrap=0)
    pd.testing.assert_frame_equal(same, rows)


def test_one_seed_is_told_as_one_draw_and_its_folds_as_folds(results):
    found = collect([results])
    one = compared(found, where={"seed": 1}, bootstrap=0)
    rows, said = one
    assert rows["verdict"].tolist() == ["not run"]
    text = " ".join(said)
    assert "One seed is one draw of the training's noise" in text
    assert "Over the 2 folds of it, random-frozen − cnn is" in text
    assert "corrected resampled t-test" in text


def test_what_is_not_read_is_named_with_the_reason(results):
    write_fold(results, "nnUNetTrainer", 0, {"a": 0.5})
    write_fold(results, "nnUNetTrainer_LLM4Seg_lmm_s0", 0, {"a": 0.5})
    write_fold(results, "nnUNetTrainer_LLM4Seg_cnn_s3", "all", {"a": 0.5})
    (next(results.glob("*_cnn_s1__*")) / "fold_4").mkdir()
    said = "\n".join(collect([results]).left_out)
    assert "nnUNetTrainer__nnUNetPlansX__2d, as its name says neither arm nor seed" in said
    assert "unknown arm 'lmm'" in said
    assert "fold_all, whose validation cases were trained on" in said
    assert "fold_4, which has no validation/summary.json" in said


def test_runs_with_other_folds_are_not_compared(results):
    write_fold(results, "nnUNetTrainer_LLM4Seg_cnn_s0", 2, {"case20": 0.5})
    with pytest.raises(TableError, match=r"cnn of seed 1 lacks 2.* --folds 0,1"):
        compared(collect([results]))
    rows, _ = compared(collect([results], ("0", "1")), bootstrap=0)
    assert rows["n_seeds"].tolist() == [3]


def test_runs_of_other_splits_are_not_compared(results):
    write_fold(results, "nnUNetTrainer_LLM4Seg_cnn_s4", 0, {"case10": 0.5})
    write_fold(results, "nnUNetTrainer_LLM4Seg_cnn_s4", 1, {"case00": 0.5})
    with pytest.raises(TableError, match=r"splits_final\.json was changed"):
        compared(collect([results]))


def test_one_arm_with_two_layers_is_not_one_arm(results):
    for number, layer in ((3, 15), (4, 20)):
        said = {
            "plans_name": f"nnUNetPlansX{layer}",
            "llm4seg_probe": {"booster": {"layer": layer}},
        }
        for arm in ("randomfrozen", "cnn"):
            for fold in range(2):
                dice = {f"case{fold}{n}": 0.5 for n in range(3)}
                write_fold(results, f"nnUNetTrainer_LLM4Seg_{arm}_s{number}", fold, dice, said)
    with pytest.raises(TableError, match=r"several layers, by the plans .*nnUNetPlansX20"):
        compared(collect([results]))
    rows, _ = compared(collect([results]), where={"plans": "nnUNetPlansX"}, bootstrap=0)
    assert rows["n_seeds"].tolist() == [3]


def test_other_networks_are_not_compared(results):
    said = {"plans_name": "Wide", "configurations": {"2d": {"patch_size": [192, 192]}}}
    write_fold(results, "nnUNetTrainer_LLM4Seg_cnn_s3", 0, {"case00": 0.5}, said)
    with pytest.raises(TableError, match="different networks or preprocessing"):
        compared(collect([results]))


def test_several_data_sets_are_compared_one_by_one(results):
    other = results.parent / "Dataset002_Other"
    said = {"configurations": {"2d": {"patch_size": [64, 64]}}}
    for arm in ("cnn", "randomfrozen"):
        for seed in range(2):
            write_fold(
                other, f"nnUNetTrainer_LLM4Seg_{arm}_s{seed}", 0, {"a": 0.4 + 0.1 * seed}, said
            )
    rows, _ = compared(collect([results.parent]), bootstrap=0)
    assert rows["dataset"].tolist() == ["Dataset001_Toy", "Dataset002_Other"]
    assert rows["n_seeds"].tolist() == [3, 2]


def test_arms_on_top_of_other_trainers_are_not_compared(results):
    for fold in range(2):
        dice = {f"case{fold}{n}": 0.5 for n in range(3)}
        write_fold(results, "nnUNetTrainerDA5_LLM4Seg_llm_s0", fold, dice)
    with pytest.raises(TableError, match="on top of several trainers"):
        compared(collect([results]))


def test_nothing_to_read_says_what_was_looked_for(tmp_path):
    with pytest.raises(TableError, match="no finished fold of a trainer named BASE_LLM4Seg"):
        collect([tmp_path])
    with pytest.raises(TableError, match="no such folder"):
        collect([tmp_path / "nothing"])


def test_a_summary_that_is_none_is_named(results):
    path = next(results.glob("*_cnn_s1__*")) / "fold_0" / "validation" / "summary.json"
    path.write_text('{"metric_per_case": [{"metrics": {}}]}', encoding="utf-8")
    with pytest.raises(TableError, match=r"summary\.json: is no summary of nnU-Net's"):
        collect([results])


def test_a_case_without_the_class_has_no_score(results):
    path = next(results.glob("*_cnn_s1__*")) / "fold_0" / "validation" / "summary.json"
    path.write_text(path.read_text().replace('"Dice": 0.7', '"Dice": NaN, "x": 0.7', 1))
    assert collect([results]).table["dice"].isna().sum() == 1


def test_the_commands_write_and_say_it(results, tmp_path):
    run = CliRunner()
    done = run.invoke(app, ["nnunet", "table", str(results), "--out", str(tmp_path / "t.csv")])
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "t.csv")) == 72
    done = run.invoke(
        app, ["nnunet", "compare", str(results), "--bootstrap", "0", "--out", str(tmp_path / "c")]
    )
    assert done.exit_code == 0, done.output
    assert "3 seeds with 2 folds each" in done.output
    rows = pd.read_csv(tmp_path / "c" / "comparison.csv")
    assert rows["a"].tolist() == ["random-frozen"]
    words = ["--json", "--bootstrap", "0", "--out", str(tmp_path / "d")]
    done = run.invoke(app, ["nnunet", "compare", str(results), *words])
    assert json.loads(done.stdout)["rows"][0]["n_seeds"] == 3
