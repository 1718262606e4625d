import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llm4seg_probe import tables
from llm4seg_probe.config import Config, load_config, to_yaml
from llm4seg_probe.errors import CheckpointError, TrainingError
from llm4seg_probe.models.network import build_network, frozen_decoder, portable_state
from llm4seg_probe.training import (
    checkpoint,
    run_folder,
)
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.train import train

Vary = Callable[..., Config]


@pytest.fixture(scope="module")
def vary(tiny_config: Config) -> Vary:
    """The tiny configuration with some fields changed."""

    def changed(arm: str = "llm", seed: int = 0, **training: object) -> Config:
        values = tiny_config.model_dump()
        values |= {"arm": arm, "seed": seed, "training": values["training"] | training}
        return Config.model_validate(values)

    return changed


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, vary: Vary) -> Path:
    """A finished run of the llm arm."""
    return train(vary(epochs=3), tmp_path_factory.mktemp("finished") / "llm-0")


def same(one: Path, other: Path) -> None:
    """Assert that two runs gave the same weights, epochs and scores, to the bit."""
    for name in (run_folder.BEST, run_folder.LAST):
        a, b = (checkpoint.read(path / name) for path in (one, other))
        key = "state" if name == run_folder.BEST else "state_dict"
        assert a[key].keys() == b[key].keys()
        for tensor in a[key]:
            assert torch.equal(a[key][tensor], b[key][tensor]), tensor
    for name in (run_folder.METRICS, run_folder.SPLIT, run_folder.CONFIG):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    scores = [
        tables.read_table(path / run_folder.SCORES, tables.SCORES).drop(columns="run")
        for path in (one, other)
    ]
    assert scores[0].equals(scores[1])


def test_a_run_folder_holds_what_the_interface_promises(finished: Path) -> None:
    run = finished.parent
    assert {path.name for path in run.iterdir()} == {
        "config.yaml", "run.pt", "last.pt", "metrics.csv", "scores.csv", "split.json",
        "environment.json",
    }  # fmt: skip
    assert len(tables.read_table(run / "metrics.csv", tables.METRICS)) == 3
    scores = tables.read_table(run / "scores.csv", tables.SCORES)
    assert set(scores["checkpoint"]) == {"best", "last"}
    assert set(scores["split"]) == {"val", "test"}
    config = load_config(run / "config.yaml")
    assert to_yaml(config) == (run / "config.yaml").read_text()


def test_the_selected_epoch_is_the_best_on_validation(finished: Path) -> None:
    metrics = tables.read_table(finished.parent / "metrics.csv", tables.METRICS)
    content = checkpoint.read_run(finished)
    best = metrics.loc[metrics["val_iou"].idxmax()]
    assert (content["epoch"], content["val_iou"]) == (best["epoch"], best["val_iou"])
    scores = tables.read_table(finished.parent / "scores.csv", tables.SCORES)
    chosen = scores[(scores["checkpoint"] == "best") & (scores["split"] == "val")]
    assert chosen["iou"].mean() == pytest.approx(best["val_iou"], abs=1e-12)


def test_a_frozen_layer_stays_out_of_the_checkpoint_and_as_it_was(finished: Path) -> None:
    content = checkpoint.read_run(finished)
    run = load(finished)
    decoder = frozen_decoder(run.network)
    assert decoder is not None
    assert decoder.identity.sha256 == content["layer"]["sha256"]
    held = {tensor.data_ptr() for tensor in decoder.state_dict().values()}
    inside = {name for name, t in run.network.state_dict().items() if t.data_ptr() in held}
    assert inside
    assert not inside & content["state"].keys()


def test_training_moves_the_weights_that_are_trained_and_no_other(
    finished: Path, vary: Vary
) -> None:
    before = portable_state(build_network(vary(epochs=3)))
    after = checkpoint.read_run(finished)["state"]
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name for name in after if name.endswith("weight")} <= moved


def test_a_run_is_the_same_again_and_with_workers(
    finished: Path, vary: Vary, tmp_path: Path
) -> None:
    again = train(vary(epochs=3), tmp_path / "llm-0")
    same(finished.parent, again.parent)
    parallel = train(vary(epochs=3, workers=2), tmp_path / "workers")
    first, second = checkpoint.read_run(finished), checkpoint.read_run(parallel)
    for name, tensor in first["state"].items():
        assert torch.equal(tensor, second["state"][name]), name


def test_arms_of_a_seed_start_from_the_same_cnn(vary: Vary) -> None:
    plain = build_network(vary("cnn")).state_dict()
    other_seed = build_network(vary("cnn", seed=1)).state_dict()
    shared = [name for name in plain if name in other_seed and plain[name].is_floating_point()]
    assert any(not torch.equal(plain[name], other_seed[name]) for name in shared)
    for arm in ("adapters", "random-frozen", "transformer", "llm"):
        boosted = list(build_network(vary(arm)).state_dict().items())
        for name, tensor in plain.items():
            twin = [value for key, value in boosted if key.replace(".host", "") == name]
            assert len(twin) == 1, (arm, name)
            assert torch.equal(twin[0], tensor), (arm, name)


def start(config: Config, out: Path, *options: str) -> subprocess.Popen:
    path = out.with_suffix(".yaml")
    path.write_text(to_yaml(config))
    command = [sys.executable, "-m", "llm4seg_probe", "train", str(path), "--out", str(out)]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_run_killed_in_the_middle_and_resumed_ends_the_same(vary: Vary, tmp_path: Path) -> None:
    config = vary("transformer", epochs=12)
    whole = train(config, tmp_path / "whole").parent
    out = tmp_path / "killed"
    with start(config, out) as process:
        while not (out / "last.pt").is_file():
            assert process.poll() is None, process.stderr
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not run_folder.is_done(out)
    train(config, out, resume=True)
    same(whole, out)


def test_what_cannot_be_started_or_resumed_is_said(
    finished: Path, vary: Vary, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="holds a run already: add --resume"):
        train(vary(epochs=3), finished.parent)
    with pytest.raises(TrainingError, match=r"nothing to resume from: last.pt is missing"):
        train(vary(), tmp_path / "new", resume=True)
    with pytest.raises(TrainingError, match="a run is resumed as it was begun"):
        train(vary(epochs=4), finished.parent, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_epoch(
    tiny_config: Config, tmp_path: Path
) -> None:
    values = tiny_config.model_dump()
    values["arm"] = "cnn"
    values["training"] |= {"epochs": 9, "cross_entropy_weight": 1e38}
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at epoch \d, step \d"):
        train(Config.model_validate(values), tmp_path / "diverging")
    assert not run_folder.is_done(tmp_path / "diverging")


def test_another_version_of_the_layer_is_refused(finished: Path, tmp_path: Path) -> None:
    content = checkpoint.read_run(finished)
    content["layer"]["sha256"] = "0" * 64
    checkpoint.save(content, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="was trained with another version of"):
        load(tmp_path / "run.pt")
