import os
import signal
from pathlib import Path

import pytest

from llm4seg_probe.errors import TrainingError, UserError
from llm4seg_probe.sweeps.local import available_cores, each, workers_for


def write_own_process(path: Path) -> None:
    path.write_text(str(os.getpid()))


def fail_once(path: Path) -> None:
    trace = path.with_suffix(".tried")
    if not trace.exists():
        trace.touch()
        raise UserError(f"{path.name} failed")
    path.touch()


def fail_if_named_bad(path: Path) -> None:
    if path.name == "bad":
        raise UserError("this one is bad")
    path.touch()


def be_killed_once(path: Path) -> None:
    trace = path.with_suffix(".tried")
    if path.name == "victim" and not trace.exists():
        trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    path.touch()


def exists(path: Path) -> float:
    return float(path.exists())


def paths(folder: Path, *names: str) -> list[Path]:
    return [folder / name for name in names]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_is_done_where_it_should(tmp_path: Path, workers: int) -> None:
    items = paths(tmp_path, *"abcd")
    each(write_own_process, items, workers=workers, description="", share_done=exists)
    processes = {int(path.read_text()) for path in items}
    assert (os.getpid() in processes) == (workers == 1)
    assert len(processes) <= workers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failed_task_is_tried_once_more(
    tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    items = paths(tmp_path, "a", "b")
    each(fail_once, items, workers=workers, description="", share_done=exists)
    assert all(path.exists() for path in items)
    assert "A task failed: a failed" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_always_fails_does_not_stop_the_others(tmp_path: Path, workers: int) -> None:
    items = paths(tmp_path, "bad", "b", "c")
    with pytest.raises(UserError, match="this one is bad"):
        each(fail_if_named_bad, items, workers=workers, description="", share_done=exists)
    assert [path.exists() for path in items] == [False, True, True]


def test_a_killed_worker_loses_no_task(tmp_path: Path) -> None:
    items = paths(tmp_path, "victim", "b", "c")
    each(be_killed_once, items, workers=2, description="", share_done=exists)
    assert all(path.exists() for path in items)


def be_killed(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_its_worker_each_time_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a worker process was killed, perhaps for memory"):
        each(be_killed, [tmp_path], workers=2, description="", share_done=exists)


def test_the_number_of_workers_follows_cores_threads_and_tasks() -> None:
    cores = available_cores()
    assert workers_for(1000, 1) == cores
    assert workers_for(1, 1) == 1
    assert workers_for(1000, 10 * cores) == 1
