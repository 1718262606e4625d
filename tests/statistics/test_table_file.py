"""Other people's files: CSV dialects and nnU-Net's summaries."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.cells import read_numbers
from llm4seg_probe.statistics.key_columns import typed
from llm4seg_probe.statistics.table_file import read_files


def read_results(paths):
    return read_files(paths).table


@pytest.mark.parametrize(
    ("text", "iou"),
    [
        ("arm,seed,iou\ncnn,0,0.61\n", 0.61),
        ("arm;seed;iou\ncnn;0;0,61\n", 0.61),
        ("arm\tseed\tiou\ncnn\t0\t0.61\n", 0.61),
        ("\ufeffarm,seed,iou\r\ncnn,0,0.61\r\n", 0.61),
        ("arm, seed, iou\ncnn, 0, 0.61\n", 0.61),
        ("arm,seed,iou\ncnn,0,N/A\ncnn,1,0.5\n", np.nan),
    ],
)
def test_csv_dialects(tmp_path, text, iou):
    path = tmp_path / "results.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table = read_results([path])
    assert list(table.columns) == ["arm", "seed", "iou"]
    assert typed(table)["seed"][0] == 0
    np.testing.assert_equal(read_numbers(table["iou"]).values[0], iou)


def test_text_stays_text(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("arm,case,iou\nNone,007a,0.5\nllm,007b,0.6\n", encoding="utf-8")
    assert list(read_results([path])["case"]) == ["007a", "007b"]


def summary(path: Path, scores: dict[str, float], label="1"):
    """A summary.json as nnU-Net v2 writes it."""
    path.mkdir(parents=True)
    cases = [
        {
            "metrics": {label: {"Dice": 2 * iou / (1 + iou), "IoU": iou, "TP": 5, "n_ref": 9}},
            "prediction_file": f"/results/{case}.nii.gz",
            "reference_file": f"/labelsTr/{case}.nii.gz",
        }
        for case, iou in scores.items()
    ]
    content = {"foreground_mean": {}, "mean": {}, "metric_per_case": cases}
    (path / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    return path / "summary.json"


def test_nnunet_summaries_are_one_table(tmp_path):
    base = tmp_path / "nnUNet_results" / "Dataset004_Hippocampus"
    files = [
        summary(base / f"{trainer}__nnUNetPlans__2d" / f"fold_{fold}" / "validation",
                {f"hippocampus_{fold}{n}": 0.5 + 0.1 * n for n in (1, 2)})
        for trainer in ("nnUNetTrainer", "nnUNetTrainerLLM")
        for fold in (0, 1)
    ]  # fmt: skip
    table = read_results(files)
    assert len(table) == 8
    assert set(table["arm"]) == {
        "nnUNetTrainer__nnUNetPlans__2d",
        "nnUNetTrainerLLM__nnUNetPlans__2d",
    }
    assert set(table["fold"]) == {0, 1}
    assert set(table["dataset"]) == {"Dataset004_Hippocampus"}
    first = table.iloc[0]
    assert (first["image"], first["class"]) == ("hippocampus_01", "1")
    assert first["iou"] == pytest.approx(0.6)
    assert first["dice"] == pytest.approx(0.75)


def test_summaries_without_folds_or_data_set(tmp_path):
    files = [summary(tmp_path / arm, {"a": 0.5}) for arm in ("cnn", "llm")]
    assert list(read_results(files).columns) == ["arm", "image", "class", "dice", "iou"]


def test_a_score_that_nnunet_could_not_compute_is_missing(tmp_path):
    file = summary(tmp_path / "cnn", {"a": float("nan"), "b": 0.5})
    assert pd.isna(read_results([file])["iou"][0])


def test_the_first_nnunet_s_summary(tmp_path):
    case = {
        "0": {"Dice": 1.0},
        "1": {"Dice": 0.8, "Jaccard": 0.7},
        "reference": "/l/a.nii.gz",
        "test": "/p/a.nii.gz",
    }
    content = {"results": {"all": [case], "mean": {}}}
    (tmp_path / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    table = read_results([tmp_path / "summary.json"])
    assert table.loc[0, ["image", "class", "dice", "jaccard"]].tolist() == ["a", "1", 0.8, 0.7]


def test_files_that_cannot_be_read_are_named(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{}", encoding="utf-8")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    table = tmp_path / "table.csv"
    table.write_text("arm,iou\n", encoding="utf-8")
    for paths, message in [
        ([], "name at least one file: a CSV table, or nnU-Net's summary.json"),
        ([tmp_path / "none.csv"], f"no such table: {tmp_path / 'none.csv'}"),
        (
            [broken],
            f"{broken} is not nnU-Net's summary.json: metric_per_case (or results.all) is expected"
            "; records of another kind are read as CSV (pandas.read_json(…).to_csv(…))",
        ),
        (
            [broken, table],
            "give one CSV table, or any number of summary.json files, not a mixture",
        ),
        (
            [table, table],
            "2 CSV tables: one at a time is compared. Join them, with a column that says what each "
            "one is (the arm, the seed, the data set)",
        ),
    ]:
        with pytest.raises(TableError) as refusal:
            read_results(paths)
        assert str(refusal.value) == message
    with pytest.raises(TableError, match=r"binary.csv is not a readable CSV table"):
        read_results([binary])
