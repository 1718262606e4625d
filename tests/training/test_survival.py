import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from llm4seg_probe.cli.app import _of_the_system
from llm4seg_probe.config import Config
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.training import (
    checkpoint,
    run_folder,
)
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.train import train

KILLS, EPOCHS_A_LIFE = 10, 2


@pytest.fixture(scope="module")
def toy(tiny_config: Config) -> Callable[..., Config]:
    """Configurations of a run with one of the toy networks."""

    def changed(name: str, epochs: int = 3, **options: int) -> Config:
        values = tiny_config.model_dump()
        values |= {"arm": "cnn", "backbone": {"name": f"toy_networks:{name}", "options": options}}
        values["training"] |= {"epochs": epochs}  # of three steps each
        return Config.model_validate(values)

    return changed


def same_run(one: Path, other: Path) -> None:
    """Assert that two folders hold the same weights and the same files, to the bit."""
    for name, key in ((run_folder.BEST, "state"), (run_folder.LAST, "state_dict")):
        a, b = (checkpoint.read(path / name)[key] for path in (one, other))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[tensor], b[tensor]) for tensor in a), name
    assert (one / run_folder.METRICS).read_bytes() == (other / run_folder.METRICS).read_bytes()
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}


@pytest.fixture(scope="module")
def start() -> Callable[..., BaseProcess]:
    """Starts trainings in processes of their own, which a server with the imports done forks."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["llm4seg_probe.training.train"])

    def started(config: Config, out: Path, *, resume: bool) -> BaseProcess:
        process = context.Process(target=train, args=(config, out), kwargs={"resume": resume})
        process.start()
        return process

    return started


def saved(out: Path) -> int:
    """When ``last.pt`` was written last, 0 before it is."""
    return (out / run_folder.LAST).stat().st_mtime_ns if (out / run_folder.LAST).is_file() else 0


def live(process: BaseProcess, out: Path, epochs: int, seconds: float) -> None:
    """Let a training save some more epochs, wait some seconds, and kill it."""
    for _ in range(epochs):
        before = saved(out)
        while saved(out) == before:
            assert process.is_alive(), f"the training ended before it was killed: {out}"
            time.sleep(0.002)
    time.sleep(seconds)
    assert process.is_alive()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()


@pytest.mark.slow
def test_a_run_killed_ten_times_and_resumed_ends_as_one_never_killed(
    start: Callable[..., BaseProcess], tiny_config: Config, tmp_path: Path
) -> None:
    values = tiny_config.model_dump()
    values["training"] |= {"epochs": (EPOCHS_A_LIFE + 1) * KILLS + 2}
    config = Config.model_validate(values | {"arm": "transformer"})
    begin = time.monotonic()
    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    train(config, whole)
    epoch = (time.monotonic() - begin) / config.training.epochs
    draw = random.Random(0)
    for _ in range(KILLS):
        process = start(config, killed, resume=bool(saved(killed)))
        live(process, killed, draw.randint(0, EPOCHS_A_LIFE), draw.uniform(0, epoch))
        for path in killed.glob("*.pt"):
            checkpoint.read(path)  # whole, or not there
    process = start(config, killed, resume=bool(saved(killed)))
    process.join()
    assert process.exitcode == 0
    for path in killed.glob(".*.partial*"):
        path.unlink()  # what was being written in the moment of death
    same_run(whole, killed)


@pytest.mark.slow
def test_a_run_killed_while_it_is_scored_is_scored_again(
    start: Callable[..., BaseProcess], toy: Callable[..., Config], tmp_path: Path
) -> None:
    config = toy("WithoutStatistics", epochs=2)
    whole, killed = tmp_path / "whole" / "run", tmp_path / "killed" / "run"
    train(config, whole)
    live(start(config, killed, resume=False), killed, epochs=2, seconds=0.0)
    assert not run_folder.is_done(killed)
    train(config, killed, resume=True)
    same_run(whole, killed)


@pytest.mark.slow
def test_the_bits_do_not_depend_on_the_number_of_workers(
    tiny_config: Config, tmp_path: Path
) -> None:
    for workers in (0, 1, 4):
        training = tiny_config.training.model_copy(update={"workers": workers, "batch_size": 4})
        train(
            tiny_config.model_copy(update={"training": training}), tmp_path / f"{workers}" / "run"
        )
    for workers in (1, 4):
        same_run(tmp_path / "0" / "run", tmp_path / f"{workers}" / "run")


def failed(config: Config, out: Path, error: type[Exception], message: str) -> Exception:
    """The error of a run that stops in its second epoch, whose first one is kept."""
    with pytest.raises(error, match=message) as refused:
        train(config, out)
    assert "\n" not in str(refused.value)
    assert load(out / run_folder.BEST, network=config.backbone.name).epoch == 0
    assert checkpoint.read(out / run_folder.LAST)["global_step"] == 3
    assert not run_folder.is_done(out)
    assert not list(out.glob(".*"))
    return refused.value


def test_memory_that_runs_out_is_one_line_and_the_last_epoch_is_kept(
    toy: Callable[..., Config], tmp_path: Path
) -> None:
    error = failed(toy("Hungry", step=5), tmp_path / "run", TrainingError, "^memory ran out. Lower")
    assert "training.batch_size (it is 8; training.accumulate makes up for it)" in str(error)
    assert "data.image_size (it is [32, 32])" in str(error)


def test_weights_that_are_lost_are_one_line_and_the_last_epoch_is_kept(
    toy: Callable[..., Config], tmp_path: Path
) -> None:
    message = "^the loss is nan at epoch 1, step 1; what was saved before it is kept"
    failed(toy("Diverging", step=5), tmp_path / "run", TrainingError, message)


def test_a_file_that_cannot_be_written_whole_is_as_it_was_and_the_run_goes_on_later(
    toy: Callable[..., Config], tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = toy("Filling", epochs=2, step=5)  # not reached by a run that is resumed
    stopped, whole = tmp_path / "stopped" / "run", tmp_path / "whole" / "run"
    try:
        error = failed(config, stopped, OSError, "too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(error, OSError)
    assert "File too large" in _of_the_system(error)
    train(config, stopped, resume=True)
    train(toy("WithoutStatistics", epochs=2), whole)
    same_run(whole, stopped)
