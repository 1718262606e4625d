from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from llm4seg_probe import tables
from llm4seg_probe.config import Config
from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.training import checkpoint, loop, run_folder
from llm4seg_probe.training.averaging import STATE_KEY
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.train import train

DECAY = 0.8
Vary = Callable[..., Config]


@pytest.fixture(scope="module")
def averaged(tiny_config: Config) -> Vary:
    """The tiny configuration with an average of the weights and some fields changed."""

    def changed(arm: str = "llm", **training: object) -> Config:
        values = tiny_config.model_dump()
        values["arm"] = arm
        values["training"] |= {"average": DECAY, "epochs": 3} | training
        return Config.model_validate(values)

    return changed


class History(lightning.Callback):
    """The weights after each step, copied by hand."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, task: object, *args: object) -> None:
        if trainer.global_step > len(self.steps):
            state = task.network.state_dict()  # type: ignore[attr-defined]
            self.steps.append({name: tensor.clone() for name, tensor in state.items()})


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_is_stored_is_the_weighted_mean_over_the_steps(
    accumulate: int, averaged: Vary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    plain = loop.trainer_of
    monkeypatch.setattr(
        loop,
        "trainer_of",
        lambda config, out, callbacks, *rest: plain(config, out, [*callbacks, history], *rest),
    )
    config = averaged(accumulate=accumulate, epochs=2)
    run = train(config, tmp_path / "run")
    content = checkpoint.read_run(run)
    done = (content["epoch"] + 1) * len(history.steps) // 2
    shares = torch.tensor([DECAY ** (done - k) for k in range(1, done + 1)], dtype=torch.float64)
    shares /= shares.sum()
    for name, stored in content["state"].items():
        if not stored.is_floating_point():
            continue
        steps = torch.stack([weights[name].double() for weights in history.steps[:done]])
        expected = torch.tensordot(shares, steps, 1).float()
        torch.testing.assert_close(stored, expected, atol=1e-5, rtol=1e-4, msg=name)


def test_what_is_validated_stored_and_scored_are_the_same_weights(
    averaged: Vary, tmp_path: Path
) -> None:
    run = train(averaged(), tmp_path / "run")
    scores = tables.read_table(tmp_path / "run" / run_folder.SCORES, tables.SCORES)
    chosen = scores[(scores["checkpoint"] == "best") & (scores["split"] == "val")]
    val_iou = checkpoint.read_run(run)["val_iou"]
    assert chosen["iou"].mean() == pytest.approx(val_iou, abs=1e-9)
    metrics = tables.read_table(tmp_path / "run" / run_folder.METRICS, tables.METRICS)
    last = scores[(scores["checkpoint"] == "last") & (scores["split"] == "val")]
    assert last["iou"].mean() == pytest.approx(metrics["val_iou"].iloc[-1], abs=1e-9)
    assert load(run).config.training.average == DECAY


def test_the_training_itself_is_that_without_an_average(averaged: Vary, tmp_path: Path) -> None:
    train(averaged(), tmp_path / "averaged")
    train(averaged(average=None), tmp_path / "plain")
    one, other = (
        checkpoint.read(tmp_path / name / run_folder.LAST)["state_dict"]
        for name in ("averaged", "plain")
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert not torch.equal(
        *(
            next(iter(checkpoint.read_run(tmp_path / name / run_folder.BEST)["state"].values()))
            for name in ("averaged", "plain")
        )
    )


def test_a_resumed_run_gives_the_same_bits(
    averaged: Vary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = averaged()
    train(config, tmp_path / "whole")
    end = loop.FolderWriter.on_train_epoch_end

    def killed(self: loop.FolderWriter, trainer: lightning.Trainer, task: object) -> None:
        end(self, trainer, task)  # type: ignore[arg-type]
        if trainer.current_epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.FolderWriter, "on_train_epoch_end", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(config, tmp_path / "resumed")
    train(config, tmp_path / "resumed", resume=True)
    for name, key in ((run_folder.BEST, "state"), (run_folder.LAST, "state_dict")):
        one, other = (checkpoint.read(tmp_path / run / name)[key] for run in ("whole", "resumed"))
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    for name in (run_folder.METRICS,):
        one, other = ((tmp_path / run / name).read_bytes() for run in ("whole", "resumed"))
        assert one == other
    scores = [
        tables.read_table(tmp_path / run / run_folder.SCORES, tables.SCORES).drop(columns="run")
        for run in ("whole", "resumed")
    ]
    assert scores[0].equals(scores[1])
    # Killed before it was scored, nothing is trained any more, and the scores are the same.
    for name in (run_folder.SCORES, run_folder.ENVIRONMENT):
        (tmp_path / "resumed" / name).unlink()
    train(config, tmp_path / "resumed", resume=True)
    again = tables.read_table(tmp_path / "resumed" / run_folder.SCORES, tables.SCORES)
    assert again.drop(columns="run").equals(scores[0])


def test_an_average_that_does_not_fit_is_said(averaged: Vary, tmp_path: Path) -> None:
    train(averaged("cnn"), tmp_path / "run")
    path = tmp_path / "run" / run_folder.LAST
    content = checkpoint.read(path)
    for spoil in (
        lambda state: state.pop("average"),
        lambda state: state["average"].popitem(),
        lambda state: next(iter(state["average"].values())).fill_(torch.nan),
        lambda state: state.update(steps=0),
    ):
        spoilt = checkpoint.read(path)
        spoil(spoilt["callbacks"][STATE_KEY])
        checkpoint.save(spoilt, path)
        (tmp_path / "run" / run_folder.ENVIRONMENT).unlink(missing_ok=True)
        with pytest.raises(CheckpointError, match="average"):
            train(averaged("cnn"), tmp_path / "run", resume=True)
        checkpoint.save(content, path)


def test_no_frozen_tensor_is_averaged(averaged: Vary, tmp_path: Path) -> None:
    train(averaged("llm", epochs=1), tmp_path / "run")
    average = checkpoint.read(tmp_path / "run" / run_folder.LAST)["callbacks"][STATE_KEY]["average"]
    state = checkpoint.read_run(tmp_path / "run" / run_folder.BEST)["state"]
    assert set(average) == {name for name, tensor in state.items() if tensor.is_floating_point()}


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, 2.0])
def test_a_decay_that_is_none_is_refused(decay: float, averaged: Vary) -> None:
    with pytest.raises(ValidationError, match="average"):
        averaged(average=decay)
