"""What a study says beside its tables, and the command that makes its page."""

from __future__ import annotations

from pathlib import Path

import pytest
import studies
from typer.testing import CliRunner

from llm4seg_probe import storage
from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.report.answer import facts_of
from llm4seg_probe.report.context import ReportContext
from llm4seg_probe.report.results import Results
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.report_context import report_context
from llm4seg_probe.study.runs import PlannedRun


def planned(config: Config, folder: Path, **data: object) -> PlannedRun:
    """A run of which only the split and the note on its making exist."""
    chosen = config.model_copy(update={"data": config.data.model_copy(update=data)})
    collection = open_collection(chosen.data.name, classes=chosen.data.classes)
    split_of(collection, chosen.data).save(folder / "split.json")
    storage.write_json(folder / "environment.json", studies.MADE | {"command": "somewhere.py"})
    return PlannedRun(chosen, folder)


@pytest.fixture
def context(tiny_data: Path, tmp_path: Path) -> dict:
    base = {"data": {"name": str(tiny_data), "split": "groups", "image_size": [32, 32]}}
    usual = Config.model_validate(base)
    analysis = Analysis.model_validate(
        {"name": "tiny", "title": "Tiny", "question": "Does it?", "rests_on": "Little.",
         "base": base, "factors": {"arm": ["cnn", "llm"]}}
    )  # fmt: skip
    runs = [
        planned(usual, tmp_path / "other", name="phantoms-shape"),
        planned(usual, tmp_path / "usual"),
        planned(usual, tmp_path / "published", split="reference"),
    ]
    return report_context(analysis, runs, size="small")


def test_every_data_set_is_named_once_that_of_the_base_first(context, tiny_data):
    first, second = context["datasets"]
    assert context["dataset"] == first
    assert (first["name"], second["name"]) == (tiny_data.name, "phantoms-shape")
    assert first["counts"]["cases"] == 40
    assert first["split"] == "groups and reference"
    said = "Split reference: Validation is test: the reported images also chose the epoch."
    assert said in first["caveats"]
    assert all(sentence.startswith("Split reference: ") for sentence in first["caveats"])


def test_the_command_is_that_of_the_study_and_not_of_whoever_made_a_run(context):
    assert context["command"] == "llm4seg-probe sweep tiny.yaml --size small"


def test_the_top_of_the_page_names_all_of_them(context, tiny_data):
    results = Results(Path(), ReportContext(**context), {})
    lines = facts_of(results)["Data"]
    assert lines[0].partition(":")[0] == tiny_data.name
    assert lines[1].startswith("40 cases, ")
    (other,) = lines[2:]
    assert other.startswith("phantoms-shape: ")
    assert other.endswith(" test images")


def test_an_older_description_has_the_one_data_set(context):
    older = ReportContext(**{**context, "datasets": []})
    assert [data.name for data in older.all_datasets] == [older.dataset.name]


def test_the_command_line_refuses_a_case_that_is_not_there(own_folder):
    found = CliRunner().invoke(app, ["report", str(own_folder), "--case", "case3/slice01"])
    assert found.exit_code == 2
    assert "Did you mean 'case3/slice016'?" in found.stderr
    assert "Traceback" not in found.stderr
    assert not (own_folder / "index.html").exists()
