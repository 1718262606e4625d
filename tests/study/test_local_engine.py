import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from llm4seg_probe.errors import TrainingError, UserError
from llm4seg_probe.study.engines import base, local
from llm4seg_probe.study.engines.base import Meter, carry_out
from llm4seg_probe.study.engines.local import LocalEngine, available_cores, workers_for


@dataclass(frozen=True)
class Touch:
    """Leaves a file with the number of its process; what goes wrong is its subclasses' matter."""

    path: Path
    threads: int = 1
    memory_mb: float | None = None
    wants_gpu: bool = False
    gpu_memory_mb: float | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def share_done(self) -> float:
        return float(self.path.exists())

    def first_try(self) -> bool:
        trace = self.path.with_suffix(".tried")
        first = not trace.exists()
        trace.touch()
        return first

    def run(self) -> None:
        self.path.write_text(str(os.getpid()))


class FailOnce(Touch):
    def run(self) -> None:
        if self.first_try():
            raise UserError("not this time")
        super().run()


class FailIfBad(Touch):
    def run(self) -> None:
        if self.path.name == "bad":
            raise UserError("this one is bad")
        super().run()


class KilledOnce(Touch):
    def run(self) -> None:
        if self.path.name == "victim" and self.first_try():
            os.kill(os.getpid(), signal.SIGKILL)
        super().run()


class Killed(Touch):
    def run(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_where_it_should(tmp_path: Path, workers: int) -> None:
    tasks = [Touch(tmp_path / name) for name in "abcd"]
    carry_out(tasks, LocalEngine(workers), "")
    processes = {int(task.path.read_text()) for task in tasks}
    assert (os.getpid() in processes) == (workers == 1)
    assert len(processes) <= workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_task_is_reported_and_tried_once_more(
    tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [FailOnce(tmp_path / name) for name in "ab"]
    carry_out(tasks, LocalEngine(workers), "")
    assert all(task.path.exists() for task in tasks)
    assert "a failed: not this time" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_always_fails_does_not_stop_the_others(tmp_path: Path, workers: int) -> None:
    tasks = [FailIfBad(tmp_path / name) for name in ("bad", "b", "c")]
    with pytest.raises(UserError, match="this one is bad"):
        carry_out(tasks, LocalEngine(workers), "")
    assert [task.path.exists() for task in tasks] == [False, True, True]


def test_a_killed_worker_loses_no_task(tmp_path: Path) -> None:
    tasks = [KilledOnce(tmp_path / name) for name in ("victim", "b", "c")]
    carry_out(tasks, LocalEngine(2), "")
    assert all(task.path.exists() for task in tasks)


def test_a_task_that_kills_its_worker_each_time_is_an_error(tmp_path: Path) -> None:
    tasks = [Killed(tmp_path / name) for name in "ab"]
    with pytest.raises(TrainingError, match="a worker process was killed, perhaps for memory"):
        carry_out(tasks, LocalEngine(2), "")


def test_the_number_of_workers_follows_gpus_cores_threads_and_tasks(tmp_path: Path) -> None:
    cores = available_cores()
    assert workers_for([Touch(tmp_path)] * 1000) == cores
    assert workers_for([Touch(tmp_path)]) == 1
    assert workers_for([Touch(tmp_path, threads=10 * cores)] * 1000) == 1
    assert workers_for([Touch(tmp_path, threads=10 * cores)] * 1000, gpus=4) == 4


def test_a_gpu_is_given_as_many_runs_as_its_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "available_cores", lambda: 12)
    runs = [Touch(tmp_path, gpu_memory_mb=size) for size in (2000, 4000)] * 50
    assert workers_for(runs, 1, 24_000) == 5  # 90 % of 24 GB hold five of the larger kind
    assert workers_for(runs, 2, 24_000) == 10
    assert workers_for(runs, 4, 80_000) == 12  # a core for each
    assert workers_for(runs[:3], 1, 24_000) == 3
    assert workers_for(runs, 2, 3_000) == 2  # too large: tried all the same, and said there
    assert workers_for([*runs, Touch(tmp_path)], 2, 80_000) == 2  # one that does not say


class KeepsOn(Touch):
    """Keeps SIGTERM to itself, as Lightning does while it trains."""

    def run(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.path.with_suffix(".begun").write_text(str(os.getpid()))
        time.sleep(120)
        super().run()


def test_workers_that_keep_sigterm_to_themselves_end_when_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE", 0.2)
    tasks = [KeepsOn(tmp_path / name) for name in "abcd"]

    class Stopped(Meter):
        def update(self) -> None:
            if len(list(tmp_path.glob("*.begun"))) == 2:
                raise KeyboardInterrupt  # Ctrl-C, while both workers are at it

    with pytest.raises(KeyboardInterrupt):
        LocalEngine(2).attempt(tasks, Stopped(tasks, lambda _: None))
    for begun in tmp_path.glob("*.begun"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(begun.read_text()), 0)
    assert not [task for task in tasks if task.path.exists()]


def test_the_time_left_is_told_once_half_a_run_has_been_gained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(base.time, "monotonic", lambda: now[0])

    class Partly(Touch):
        @property
        def share_done(self) -> float:
            return shares[self.name]

    shares = {"a": 0.0, "b": 0.25}  # b was interrupted before
    meter = Meter([Partly(tmp_path / name) for name in shares], lambda _: None)
    meter.update()
    for seconds, name, share in [(40, "a", 0.02), (80, "a", 0.25), (120, "b", 1.0)]:
        now[0], shares[name] = seconds, share
        meter.update()
    assert capsys.readouterr().err.splitlines() == [
        "0 of 2 runs done",  # 40 s for two hundredths of a run, most of them its start
        "0 of 2 runs done",
        "1 of 2 runs done, some 90 s left",  # one run's worth in 120 s, three quarters to go
    ]
