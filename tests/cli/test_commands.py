import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, to_yaml
from llm4seg_probe.training.train import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> list[Path]:
    """Checkpoints of the plain CNN and the llm arm."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        train(tiny_config.model_copy(update={"arm": arm}), folder / f"{arm}-0")
        for arm in ("cnn", "llm")
    ]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command ends in exit code 2."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_evaluate_writes_its_table(runs: list[Path], tmp_path: Path) -> None:
    pattern = runs[0].parent.parent / "*" / "run.pt"
    result = invoke("evaluate", "--ckpt", pattern, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert {"cnn", "llm"} == set(pd.read_csv(tmp_path / "scores.csv")["arm"])
    assert str(tmp_path / "scores.csv") in result.stdout


def test_evaluate_gives_the_scores_that_training_wrote(runs: list[Path], tmp_path: Path) -> None:
    assert invoke("evaluate", "--ckpt", runs[1], "--out", tmp_path).exit_code == 0
    written = pd.read_csv(runs[1].parent / "scores.csv")
    written = written[(written["checkpoint"] == "best") & (written["split"] == "test")]
    found = pd.read_csv(tmp_path / "scores.csv")
    assert found["iou"].to_list() == written["iou"].to_list()


class Exploit:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.trace}",)


def test_bad_checkpoints_are_refused_in_one_line(runs: list[Path], tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "run.pt").write_bytes(pickle.dumps(Exploit(trace)))
    torch.save({"state": Exploit(trace)}, tmp_path / "archive.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    (tmp_path / "short.pt").write_bytes(runs[0].read_bytes()[:-1000])
    for name, message in [
        ("none.pt", "none.pt does not exist"),
        ("pickle/run.pt", "is a pickle, which could run code; it was not opened"),
        ("archive.pt", "could run code; it was refused and nothing in it was run"),
        ("other.pt", "no run of llm4seg-probe"),
        ("short.pt", "is cut short"),
    ]:
        assert message in refused("rank", "--ckpt", tmp_path / name, "--out", tmp_path / "out")
    assert not trace.exists()


def test_bad_input_is_refused_in_one_line(
    runs: list[Path], tmp_path: Path, tiny_config: Config
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(to_yaml(tiny_config).replace("epochs:", "epoch:"))
    (tmp_path / "data" / "images").mkdir(parents=True)
    rank = ("rank", "--ckpt", runs[1], "--out", tmp_path / "out")
    assert "unknown field 'epoch'. Did you mean 'epochs'?" in refused("train", config)
    assert "unknown site 'befor'. Did you mean 'before'?" in refused(*rank, "--sites", "befor")
    assert "unknown split 'tests'. Did you mean 'test'?" in refused(*rank, "--split", "tests")
    assert "mask" in refused(*rank, "--data", tmp_path / "data")
    assert "no such table" in refused("compare", tmp_path / "none.csv")
    assert "no such file" in refused("sweep", tmp_path / "none.yaml")
    assert "'split' is not a condition" in refused("compare", config, "--where", "split")


def test_an_option_that_does_not_exist_ends_with_code_2() -> None:
    result = invoke("rank", "--chekpoint", "run.pt")
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_compare_works_on_anybodys_table(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [
        {"method": method, "repeat": repeat, "score": 0.7 + shift + draw.normal(0, 0.01)}
        for method, shift in (("ours", 0.05), ("base", 0.0))
        for repeat in range(5)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    result = invoke(
        "compare", tmp_path / "t.csv", "--score", "score", "--baseline", "base", "--arm", "method",
        "--seed", "repeat", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    assert (row["a"], row["b"], row["verdict"]) == ("ours", "base", "supported")
    assert row["p_exact"] == row["p_exact_floor"] == 0.0625


@pytest.mark.parametrize("kind", ["arms", "sites", "backbones", "probes", "claims"])
def test_each_list_has_names_and_descriptions(kind: str) -> None:
    entries = json.loads(invoke("list", kind, "--json").stdout)
    assert entries
    assert all(name and text for name, text in entries.items())


def test_help_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from llm4seg_probe.cli.app import app; "
        "from typer.testing import CliRunner; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print({'torch', 'pandas', 'transformers', 'matplotlib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "llm4seg_probe", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "From nothing to a verdict" in found.stdout
