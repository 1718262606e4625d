from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.fit import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_config) -> dict[str, Path]:
    """Two arms, one of them with a second seed."""
    folder = tmp_path_factory.mktemp("intervene-runs")
    short = tiny_config.training.model_copy(update={"epochs": 1})
    return {
        f"{arm}-{seed}": train(
            tiny_config.model_copy(update={"arm": arm, "seed": seed, "training": short}),
            folder / f"{arm}-{seed}",
        )
        for arm, seed in (("cnn", 0), ("transformer", 0), ("transformer", 1))
    }


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["intervene", *(str(argument) for argument in arguments)])


def refused(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.strip().splitlines()[-1]


def test_interventions_on_two_seeds_of_a_trained_arm(runs, tmp_path):
    pattern = runs["cnn-0"].parent.parent / "transformer-*" / "run.pt"
    result = invoke(
        "--ckpt", pattern, "--ranks", "1,2", "--directions", 1, "--other-layer", 2,
        "--out", tmp_path, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    table = pd.read_csv(found["table"], keep_default_na=False)
    rows = table[table["intervention"] == "other-seed-weights"]
    assert set(rows["run"]) == {"transformer-0", "transformer-1"}
    assert "transformer-0: left out other-layer-weights: arm transformer has no" in result.stderr
    effects = pd.read_csv(tmp_path / "intervene-effects.csv")
    assert set(effects["n_seeds"]) == {2}
    assert all(Path(figure).stat().st_size > 1000 for figure in found["figures"])


def test_the_layer_of_another_seed_is_the_partners(runs, tmp_path):
    both = [runs["transformer-0"], runs["transformer-1"]]
    only = ("--only", "other-seed-weights")
    result = invoke("--ckpt", both[0], "--ckpt", both[1], *only, "--out", tmp_path / "both")
    assert result.exit_code == 0, result.output
    alone = invoke("--ckpt", both[0], *only, "--out", tmp_path / "alone")
    assert "no checkpoint of this arm with another seed was given" in alone.stderr


def test_a_swap_between_two_arms(runs, tmp_path):
    given = ("--ckpt", runs["cnn-0"], "--ckpt", runs["transformer-0"])
    result = invoke(*given, "--swap", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "swap.csv", keep_default_na=False)
    assert set(table["donor"]) == {"", "other-arm", "mean"}
    received = table[table["donor"] == "other-arm"]
    assert set(zip(received["run"], received["donor_run"], strict=True)) == {
        ("cnn-0", "transformer-0"),
        ("transformer-0", "cnn-0"),
    }
    assert "left out another seed of its arm" in result.stderr
    assert "no decoder layer" in refused(*given, "--swap-heads", "--out", tmp_path)


def test_what_cannot_be_swapped_says_what_is_missing(runs, tmp_path):
    out = ("--swap", "--out", tmp_path)
    cnn, one, two = (("--ckpt", path) for path in runs.values())
    assert "between two arms, but the checkpoints are of 1 (transformer)" in refused(
        *one, *two, *out
    )
    assert "these seeds are in one alone: transformer [1]" in refused(*cnn, *one, *two, *out)
    content = checkpoint.read_run(runs["cnn-0"])
    content["split"] = content["split"] | {"train": []}
    checkpoint.save(content, tmp_path / "converted.pt")
    assert "does not say which images it was trained on" in refused(
        "--ckpt", tmp_path / "converted.pt", *one, *out
    )
    copy = tmp_path / "copy.pt"
    shutil.copy(runs["cnn-0"], copy)
    assert "are both arm cnn, seed 0" in refused(*cnn, "--ckpt", copy, *one, *out)


def test_bad_input_is_refused_in_one_line(runs, tmp_path):
    one = ("--ckpt", runs["transformer-0"], "--out", tmp_path)
    assert "unknown intervention 'head'. Did you mean 'head-off'" in refused(*one, "--only", "head")
    assert "--ranks holds '0': give whole numbers from 1" in refused(*one, "--ranks", "0,4")
    assert "unknown site 'aftr'. Did you mean 'after'" in refused(*one, "--sites", "aftr")
