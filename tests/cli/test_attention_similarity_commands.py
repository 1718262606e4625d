"""The commands `attention` and `similarity` on checkpoints of two arms and two seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.probing.attention import attention_table
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.tables import ATTENTION, read_table
from llm4seg_probe.training.fit import train
from llm4seg_probe.training.run import load

FORMATS = {".svg", ".pdf", ".png"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """Folder with runs of one epoch, whose images are large enough for foreground tokens."""
    folder = tmp_path_factory.mktemp("runs")
    changes = {
        "data": tiny_config.data.model_copy(update={"image_size": (64, 64)}),
        "training": tiny_config.training.model_copy(update={"epochs": 1}),
    }
    for arm, seed in (("cnn", 0), ("llm", 0), ("llm", 1)):
        config = tiny_config.model_copy(update={**changes, "arm": arm, "seed": seed})
        train(config, folder / f"{arm}-{seed}")
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command ends in exit code 2."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    *_, line = result.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


def test_attention_of_all_runs_that_have_some(runs: Path, tmp_path: Path) -> None:
    result = invoke("attention", "--ckpt", runs / "*/run.pt", "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = pd.read_csv(found["table"], keep_default_na=False)
    assert set(table["run"]) == {"llm-0", "llm-1"}
    assert set(table["null"]) == {"", "shuffled", "untrained", "other-image"}
    assert len(found["rows"]) == len(table)
    assert "cnn-0 left out: there is no attention in arm 'cnn'" in result.stderr
    figures = [Path(path) for path in found["figures"]]
    assert {path.stem for path in figures} == {"attention", "attention-maps", "attention-heads"}
    assert {path.suffix for path in figures} == FORMATS
    assert all(path.stat().st_size > 1000 for path in figures)
    with np.load(tmp_path / "attention.npz", allow_pickle=False) as arrays:
        assert arrays["maps"].shape == (2 * 5, 4, 4, 4)
        assert set(arrays["map_run"]) == {"llm-0", "llm-1"}


def test_attention_from_a_pixel_is_what_one_call_in_python_gives(
    runs: Path, tmp_path: Path
) -> None:
    checkpoint = runs / "llm-0" / "run.pt"
    command = invoke("attention", "--ckpt", checkpoint, "--query", "40,8", "--out", tmp_path)
    assert command.exit_code == 0, command.output
    assert f"The table: {tmp_path / 'attention.csv'}" in command.stdout
    run = load(checkpoint)
    table, arrays = attention_table(run, run.batches(), query=(40, 8), untrained=untrained(run))
    with np.load(tmp_path / "attention.npz", allow_pickle=False) as stored:
        assert stored["query_tokens"].tolist() == [[2, 0]] * 4
        assert np.allclose(stored["maps"], arrays["maps"], atol=1e-6)
    written = read_table(tmp_path / "attention.csv", ATTENTION)
    assert written["entropy"].tolist() == pytest.approx(table["entropy"].tolist(), nan_ok=True)


def test_attention_refuses_in_one_line(runs: Path, tmp_path: Path) -> None:
    plain, layer = runs / "cnn-0" / "run.pt", runs / "llm-0" / "run.pt"
    out = ("--out", tmp_path)
    assert "there is no attention in the arms of these checkpoints: give one with a decoder" in (
        refused("attention", "--ckpt", plain, *out)
    )
    assert "--query is 'middle', not a pixel: give row,column" in refused(
        "attention", "--ckpt", layer, "--query", "middle", *out
    )
    assert "query 99,0 is no pixel of the images of run llm-0, which sees 64 × 64 pixels" in (
        refused("attention", "--ckpt", layer, "--query", "99,0", *out)
    )
    assert list(tmp_path.iterdir()) == []


def test_similarity_between_sites_arms_and_seeds(runs: Path, tmp_path: Path) -> None:
    result = invoke("similarity", "--ckpt", runs / "*/run.pt", "--sites", "before,layer,after",
                    "--out", tmp_path, "--json")  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = pd.read_csv(found["table"], keep_default_na=False)
    assert table[table["null"] == ""]["between"].value_counts().to_dict() == {
        "sites": 1 + 3 + 3, "arms": 2, "seeds": 3,
    }  # fmt: skip
    plain = table[(table["run"] == "cnn-0") & (table["between"] == "sites")]
    assert plain["cka"].astype(float).iloc[0] == pytest.approx(1)
    figures = {Path(path).stem for path in found["figures"]}
    assert figures == {"similarity-arms", "similarity-sites"}


def test_similarity_of_one_run_is_between_its_sites(runs: Path, tmp_path: Path) -> None:
    checkpoint = runs / "llm-1" / "run.pt"
    result = invoke("similarity", "--ckpt", checkpoint, "--images", 2, "--tokens", 16,
                    "--sites", "before,after,encoder.1", "--out", tmp_path)  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "similarity.csv", keep_default_na=False)
    assert table[["images", "tokens"]].drop_duplicates().values.tolist() == [[2, 16]]
    assert "Not compared, for want of the same tokens: 4 × 4 tokens at before of llm" in (
        result.stderr
    )
    assert not (tmp_path / "figures" / "similarity-arms.svg").exists()


def test_similarity_refuses_in_one_line(runs: Path, tmp_path: Path) -> None:
    checkpoint = runs / "llm-0" / "run.pt"
    out = ("--out", tmp_path)
    assert "unknown site 'befor'. Did you mean 'before'?" in refused(
        "similarity", "--ckpt", checkpoint, "--sites", "befor,after", *out
    )
    assert "nothing to compare: 1 run with the sites after; give two sites, or runs" in (
        refused("similarity", "--ckpt", checkpoint, "--sites", "after", *out)
    )
    assert list(tmp_path.iterdir()) == []
