"""The stage of CI that holds the committed demo against a fresh one, on a stored pair."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
STORED = ROOT / "reports" / "demo-2-cores"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """What `demo --quick` gives on the machine of the report, and a copy of the report."""
    fresh, stored = tmp_path / "fresh", tmp_path / "stored"
    fresh.mkdir()
    stored.mkdir()
    for name in ("README.md", "scores.csv"):
        shutil.copy(STORED / name, stored / name)
    scores = pd.read_csv(STORED / "scores.csv")
    quick = scores[scores["arm"].isin(["cnn", "llm"]) & (scores["seed"] < 2)]
    quick.to_csv(fresh / "scores.csv", index=False)
    return fresh, stored


def checked(fresh: Path, stored: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / ".ci" / "demo_check", fresh, stored],
        capture_output=True,
        text=True,
        check=False,
    )


def changed(folder: Path, **columns) -> None:
    path = folder / "scores.csv"
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


def test_the_same_runs_are_within_reach(pair) -> None:
    found = checked(*pair)
    assert (found.returncode, found.stderr) == (0, "")
    assert "difference of llm to cnn" in found.stdout


def test_a_network_that_learns_less_is_seen(pair) -> None:
    fresh, _ = pair
    changed(fresh, iou=lambda table: table["iou"] - 0.5)
    found = checked(*pair)
    assert found.returncode == 1
    assert "the mean test IoU of cnn is" in found.stderr
    assert "the mean test IoU of llm is" in found.stderr


def test_an_arm_that_moves_alone_is_seen_in_its_difference(pair) -> None:
    fresh, _ = pair
    changed(fresh, iou=lambda table: table["iou"] - 0.6 * (table["arm"] == "llm"))
    assert "the difference of llm to cnn is" in checked(*pair).stderr


def test_no_score_at_all_is_no_agreement(pair) -> None:
    fresh, _ = pair
    changed(fresh, iou=float("nan"))
    assert checked(*pair).returncode == 1


def test_a_report_of_other_settings_is_to_be_made_again(pair) -> None:
    fresh, _ = pair
    changed(fresh, run=lambda table: table["run"].str[:-1] + "x")
    found = checked(*pair)
    assert found.returncode == 1
    assert "was made with other settings or data: it has no run cnn-0-" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_a_figure_of_the_readme_that_the_scores_do_not_give_is_named(pair) -> None:
    _, stored = pair
    scores = pd.read_csv(stored / "scores.csv")
    chosen = scores[(scores["split"] == "test") & (scores["checkpoint"] == "best")]
    mean = chosen[chosen["arm"] == "cnn"].groupby("seed")["iou"].mean().mean()
    changed(stored, iou=scores["iou"] + 0.001)
    said = f"README.md says {mean:.3f} of cnn, scores.csv {mean + 0.001:.3f}"
    assert said in checked(*pair).stderr
