"""The guide of classification is done as it stands, with fewer epochs and without a layer."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "classification.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


@pytest.fixture
def blocks() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind, body in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        found.setdefault(kind, []).append(body)
    return found


def done(commands: str) -> None:
    for line in commands.strip().splitlines():
        words = shlex.split(line)[1:]
        if words[0] == "train":
            words += ["training.epochs=1", "compute.device=cpu", "compute.threads=1"]
            words += [] if "arm=cnn" in words else ["arm=adapters"]
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 0, f"{line}: {said.output}"


def test_a_file_of_medmnists_shape(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["python"][0], "classification.md", "exec"), {})
    Path("bars.yaml").write_text(blocks["yaml"][0])
    done(blocks["console"][0])
    scores = pd.read_csv("scored/scores.csv")
    assert set(scores["arm"]) == {"cnn", "adapters"}
    assert len(scores) == 2 * 30 * 3


def test_a_table_of_labels(blocks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = blocks["text"][0].splitlines()[0]
    draw = np.random.default_rng(0)
    rows = [head]
    Path("pictures").mkdir()
    for number in range(20):
        pixels = draw.integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(f"pictures/a{number}.png")
        label = ("benign", "malignant")[number % 2]
        rows.append(f"pictures/a{number}.png,{label},p{number},")
    Path("labels.csv").write_text("\n".join(rows) + "\n")
    narrow = "data.image_size=[32,32] backbone.widths=[4,8,8,8,8]"
    Path("labels.yaml").write_text(blocks["yaml"][1])
    done(blocks["console"][1].replace("labels.yaml", f"labels.yaml {narrow}"))
    table = pd.read_csv("predicted/predictions.csv")
    assert len(table) == 20
    assert table["probability"].between(0, 1).all()
