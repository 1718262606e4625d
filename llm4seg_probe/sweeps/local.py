"""The local engine: tasks in worker processes on this machine, nothing lost when one dies."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

from llm4seg_probe import progress
from llm4seg_probe.errors import TrainingError, UserError

T = TypeVar("T")
Task = Callable[[T], None]
Share = Callable[[T], float]

_PR_SET_PDEATHSIG = 1
_TRIES = 2


def workers_for(tasks: int, threads: int) -> int:
    """How many processes keep this machine's cores busy with tasks of so many threads each."""
    return max(1, min(tasks, available_cores() // threads))


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(
    task: Task[T], items: Sequence[T], *, workers: int, description: str, share_done: Share[T]
) -> None:
    """Do a task for every item, in this process or in ``workers`` of them.

    ``share_done`` says how far an item has come, from 0 to 1, for the progress bar. A task that
    fails is tried once more and does not stop the others; its error is raised in the end.
    ``task`` and items must be importable by name, and picklable.
    """
    failures: dict[int, Exception] = {}
    with progress.bar(description, len(items)) as advance:
        meter = _Meter(items, share_done, advance)
        remaining = list(range(len(items)))
        for _ in range(_TRIES):
            if workers == 1:
                failures = _here(task, items, remaining, meter)
            else:
                failures = _in_processes(task, items, remaining, workers, meter)
            remaining = list(failures)
            if not remaining:
                return
            for error in failures.values():
                progress.say(f"A task failed: {error}")
    raise next(iter(failures.values()))


class _Meter(Generic[T]):
    """Moves a bar by what the items have come on since the last look."""

    def __init__(self, items: Sequence[T], share_done: Share[T], advance: progress.Advance):
        self._items = items
        self._share_done = share_done
        self._advance = advance
        self._shown = 0.0

    def update(self) -> None:
        """Look again."""
        done = sum(self._share_done(item) for item in self._items)
        if done > self._shown:
            self._advance(done - self._shown)
            self._shown = done


def _here(
    task: Task[T], items: Sequence[T], indices: Sequence[int], meter: _Meter[T]
) -> dict[int, Exception]:
    failures: dict[int, Exception] = {}
    for index in indices:
        meter.update()
        try:
            task(items[index])
        except (UserError, OSError) as error:
            failures[index] = error
    meter.update()
    return failures


def _in_processes(
    task: Task[T], items: Sequence[T], indices: Sequence[int], workers: int, meter: _Meter[T]
) -> dict[int, Exception]:
    failures: dict[int, Exception] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin_worker) as pool:
        try:
            waiting: dict[Future[None], int] = {
                pool.submit(task, items[index]): index for index in indices
            }
            while waiting:
                finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                meter.update()
                for future in finished:
                    index = waiting.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        failures[index] = TrainingError(
                            f"a worker process was killed, perhaps for memory ({error})"
                        )
                    elif isinstance(error, UserError | OSError):
                        failures[index] = error
                    elif error is not None:
                        raise error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
    return failures


def _begin_worker() -> None:
    """Leave Ctrl-C and the terminal to the parent, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.mute()
    if sys.platform.startswith("linux"):
        libc: Any = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
