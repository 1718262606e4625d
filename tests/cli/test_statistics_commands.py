import json
from pathlib import Path

import pandas as pd
import pytest
import studies
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.statistics.plan import plan


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    """Two arms, four paired seeds, twelve cases."""
    scores = studies.per_case({"cnn": 0.0, "llm": 0.0}, seeds=4, cases=12)
    scores[["arm", "seed", "image", "iou"]].to_csv(tmp_path / "pilot.csv", index=False)
    return tmp_path / "pilot.csv"


def test_plan_prints_the_sentences_and_writes_what_the_function_gives(
    pilot: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["plan", str(pilot), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    expected = plan(pd.read_csv(pilot))
    assert expected.summary["sentence"].iloc[0] in result.stdout
    written = pd.read_csv(tmp_path / "plan.csv")
    assert written["seeds_needed"].iloc[0] == expected.summary["seeds_needed"].iloc[0]
    assert len(pd.read_csv(tmp_path / "power.csv")) == len(expected.curve)
    assert (tmp_path / "figures" / "power.svg").stat().st_size > 1000


def test_audit_of_printed_means_gives_a_curve_over_the_correlation(tmp_path: Path) -> None:
    table = tmp_path / "printed.csv"
    table.write_text("Method,IoU\nU-Net,68.61 ± 2.86\nCMUNeXt,71.56 ± 2.43\n", encoding="utf-8")
    options = ["--n", "3", "--baseline", "U-Net", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, ["audit", str(table), *options])
    assert result.exit_code == 0, result.output
    assert "only means and SDs, so the pairing is unknown" in result.stdout
    assert "refused: exact sign-flip test over seeds" in result.stdout
    assert len(pd.read_csv(tmp_path / "correlation.csv")) > 10


def test_audit_of_single_results_names_its_design(pilot: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["audit", str(pilot), "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["design"]["seeds"], found["design"]["cases"]) == (4, 12)
    assert found["design"]["paired_by"] == ["seed", "case"]
    assert [row["a"] for row in found["rows"]] == ["llm"]


@pytest.mark.parametrize("command", ["plan", "audit"])
def test_a_table_that_is_not_there_is_named(command: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [command, str(tmp_path / "none.csv")])
    assert result.exit_code == 2
    assert "none.csv" in result.stderr
    assert "Traceback" not in result.output
