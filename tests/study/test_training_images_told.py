"""What a study, its page and `show` say of how many images were trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import studies
from typer.testing import CliRunner

from llm4seg_probe import storage
from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, to_yaml
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.subsets import training_split
from llm4seg_probe.report.answer import facts_of
from llm4seg_probe.report.context import ReportContext
from llm4seg_probe.report.methods import methods_text
from llm4seg_probe.report.results import Results
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.report_context import report_context
from llm4seg_probe.study.runs import PlannedRun, described, plan


def study(base: dict[str, object], further: list[dict[str, object]]) -> Analysis:
    return Analysis.model_validate(
        {"name": "few", "title": "Few", "question": "Does it?", "rests_on": "Little.",
         "base": base, "factors": {"arm": ["cnn"], "seed": [0, 1]}, "further": further}
    )  # fmt: skip


def made(analysis: Analysis, folder: Path) -> list[PlannedRun]:
    """The runs of an analysis, of which the split and the note on their making exist."""
    configs = analysis.configs()
    runs = plan(configs, ["data"] * len(configs), folder)
    for number, run in enumerate(runs):
        collection = open_collection(run.config.data.name, classes=run.config.data.classes)
        split = training_split(collection, run.config)
        split.save(run.path / "split.json")
        noted = {"training_images": len(split.train)} if number % 2 else {}  # earlier ones lack it
        storage.write_json(run.path / "environment.json", studies.MADE | noted)
    return runs


@pytest.fixture
def base(tiny_data: Path) -> dict[str, object]:
    return {"data": {"name": str(tiny_data), "split": "groups", "image_size": [32, 32]}}


def test_runs_csv_and_the_set_up_say_how_many_images_it_came_to(
    base: dict[str, object], tmp_path: Path
) -> None:
    steps = {"arm": ["cnn"], "data.train_images": [3], "training.steps_per_epoch": ["full"]}
    analysis = study(base, [{"arm": ["cnn"], "data.train_images": [3, 0.5]}, steps])
    runs = made(analysis, tmp_path)
    table = described(runs, analysis.base_config())
    counts = dict(zip(table["deviation"], table["training_images"], strict=True))
    assert counts == {
        "": 24, "train_images=3": 3, "train_images=0.5": 12,
        "steps_per_epoch=full,train_images=3": 3,
    }  # fmt: skip
    context = ReportContext(**report_context(analysis, runs[::-1], size="small"))
    assert context.dataset.counts["train images"] == 24
    results = Results(Path(), context, {"runs.csv": table})
    scale = facts_of(results)["Scale"]
    assert "training images, whole patients: all (24), 0.5 (12), 3 (3)" in [
        line.replace("3 (3), 0.5 (12)", "0.5 (12), 3 (3)") for line in scale
    ]
    assert any(line.startswith("steps to an epoch: ") and "full" in line for line in scale)
    text = methods_text(results)
    assert "whole patients until the number was reached" in text
    assert "`steps_per_epoch=full` stands for epochs of as many optimiser steps" in text
    assert "label_noise" not in text


def test_of_few_images_alone_the_training_side_is_still_counted(
    base: dict[str, object], tmp_path: Path
) -> None:
    few = {"data": {**base["data"], "train_images": 3, "label_noise": 0.5}}  # type: ignore[dict-item]
    analysis = study(few, [])
    runs = made(analysis, tmp_path)
    context = ReportContext(**report_context(analysis, runs, size="small"))
    assert context.dataset.counts["train images"] == 24
    scale = facts_of(Results(Path(), context, {}))["Scale"]
    assert "training images, whole patients: 3 (3)" in scale
    assert "share of wrong training masks: 0.5" in scale
    assert "training_images" not in described(runs, analysis.base_config()).columns
    text = methods_text(Results(Path(), context, {}))
    assert "a quarter each were eroded and dilated" in text


def test_an_ordinary_study_says_nothing_of_it(base: dict[str, object], tmp_path: Path) -> None:
    analysis = study(base, [{"arm": ["llm"]}])
    runs = made(analysis, tmp_path)
    table = described(runs, analysis.base_config())
    assert "training_images" not in table.columns
    context = ReportContext(**report_context(analysis, runs, size="small"))
    scale = facts_of(Results(Path(), context, {"runs.csv": table}))["Scale"]
    assert not any("training images" in line or "steps to" in line for line in scale)
    assert "train_images" not in methods_text(Results(Path(), context, {}))


def test_show_says_first_what_is_trained_on(tiny_config: Config, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(to_yaml(tiny_config), encoding="utf-8")
    asked = ("data.train_images=8", "data.label_noise=0.25", "training.steps_per_epoch=full")
    result = CliRunner().invoke(app, ["show", str(path), *asked])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:4] == [
        "Trains on 8 images of the training side (data.train_images), drawn by seed 0; where there "
        "are patients they are taken whole, until so many are reached.",
        "A share of 0.25 of the training masks is made wrong (data.label_noise); those of "
        "validation and test are as they are.",
        "An epoch has as many steps as all images make (training.steps_per_epoch: full).",
        "Shapes, of one image",
    ]
    told = json.loads(CliRunner().invoke(app, ["show", str(path), *asked, "--json"]).stdout)
    assert len(told["training_images"]) == 3
    plain = CliRunner().invoke(app, ["show", str(path)]).stdout
    assert plain.startswith("Shapes, of one image")
    assert pd.Series(plain.splitlines()).str.contains("train_images").sum() == 0
