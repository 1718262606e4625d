"""Two sweeps on one store wait for each other and both finish; a run is all of its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus import Materials

from llm4seg_probe.config import Config
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.reading.text import dump_yaml
from llm4seg_probe.training import (
    checkpoint,
    run_folder,
)
from llm4seg_probe.training.train import make, train


def sweep_file(source: Materials, place: Path) -> Path:
    values = json.loads(source.analysis)
    values["claims"] = []
    values["factors"] = {"arm": ["cnn", "llm"], "seed": [0]}
    path = place / "s.yaml"
    path.write_text(dump_yaml(values))
    return path


def started(analysis: Path, out: Path) -> subprocess.Popen[str]:
    import llm4seg_probe

    root = str(Path(llm4seg_probe.__file__).parents[1])
    command = [sys.executable, "-m", "llm4seg_probe", "sweep", str(analysis), "--size", "quick"]
    return subprocess.Popen(
        [*command, "--out", str(out), "--workers", "1"],
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def whole(out: Path) -> bool:
    runs = [path for path in (out / "runs").iterdir() if path.is_dir()]
    return len(runs) == 2 and all(run_folder.is_done(run) for run in runs)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [0.0, 1.0, 5.0])
def test_two_sweeps_on_one_store_both_finish(
    apart: float, source: Materials, tmp_path: Path
) -> None:
    analysis, out = sweep_file(source, tmp_path), tmp_path / "out"
    first = started(analysis, out)
    time.sleep(apart)
    second = started(analysis, out)
    for process in (first, second):
        said, _ = process.communicate()
        assert process.returncode == 0, said
    assert whole(out)


@pytest.mark.slow
def test_a_sweep_goes_on_where_another_one_was_killed(source: Materials, tmp_path: Path) -> None:
    analysis, out = sweep_file(source, tmp_path), tmp_path / "out"
    first = started(analysis, out)
    second = started(analysis, out)
    while not list(out.glob("runs/*/last.pt")):
        assert first.poll() is None or second.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    said, _ = second.communicate()
    assert second.returncode == 0, said
    assert whole(out)


@pytest.fixture
def run(source: Materials, tmp_path: Path) -> tuple[Config, Path]:
    """A finished run that may be spoilt."""
    import shutil

    config = Config.model_validate_json(source.config)
    shutil.copytree(source.run.parent, tmp_path / "run")
    return config, tmp_path / "run"


@pytest.mark.parametrize("name", run_folder.FILES)
def test_a_run_that_lost_a_file_is_made_again(name: str, run: tuple[Config, Path]) -> None:
    config, place = run
    weights = checkpoint.read_run(place / run_folder.BEST)["state"]
    (place / name).unlink()
    assert not run_folder.is_done(place)
    make(config, place)
    assert run_folder.is_done(place)
    again = checkpoint.read_run(place / run_folder.BEST)["state"]
    assert all(bool((again[key] == tensor).all()) for key, tensor in weights.items())


def test_a_finished_run_is_left_as_it_is(run: tuple[Config, Path]) -> None:
    config, place = run
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    make(config, place)
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_one_training_at_a_time_unless_it_waits(run: tuple[Config, Path]) -> None:
    config, place = run
    with (
        run_folder.locked(place, wait=False),
        pytest.raises(TrainingError, match="another process is training"),
    ):
        train(config, place, resume=True)
