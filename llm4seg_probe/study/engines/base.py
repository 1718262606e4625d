"""The interface of an engine: it does tasks, wherever it has room, and says which failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from llm4seg_probe import progress

_TRIES = 2
_LINE_SECONDS = 30.0
"""Seconds at least between two lines on progress, off a terminal."""
_ENOUGH = 0.5  # of a run gained before the time left is told: what is less is mostly starting
_ROOM = 0.9  # of a GPU's memory that runs may fill by what is counted of them


class Task(Protocol):
    """A piece of work that another process can do: picklable, its class importable by name.

    Done again after it was interrupted, it goes on where it was.
    """

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def threads(self) -> int:
        """CPU threads that it computes with."""

    @property
    def memory_mb(self) -> float | None:
        """Megabytes that it needs, None where that is not known."""

    @property
    def wants_gpu(self) -> bool:
        """Whether it computes on a GPU where there is one."""

    @property
    def gpu_memory_mb(self) -> float | None:
        """Megabytes of a GPU that it needs there, None where that is not known."""

    @property
    def share_done(self) -> float:
        """How far it has come, from 0 to 1, seen from any process."""

    def run(self) -> None:
        """Do it. Raises UserError or OSError where it cannot be done."""


def share_of_gpu(task: Task, memory_mb: float) -> float:
    """The part of a GPU that a task takes by its memory, from 0 to 1.

    ``memory_mb``: what the GPU has. A task that does not say what it needs takes all of it, as does
    one that needs more than there is.
    """
    need = task.gpu_memory_mb
    if need is None or memory_mb <= 0:
        return 1.0
    return min(1.0, need / (_ROOM * memory_mb))


class Engine(Protocol):
    """A place where tasks are done."""

    def attempt(self, tasks: Sequence[Task], meter: Meter) -> dict[int, Exception]:
        """Do every task once; the errors of those that failed, by their index.

        ``meter`` is updated now and then. Tasks that were begun are stopped when this raises.
        """


class Meter:
    """Moves a bar by what the tasks have come on since the last look.

    Off a terminal, where there is no bar, it says a line now and then.
    """

    def __init__(self, tasks: Sequence[Task], advance: progress.Advance):
        self._tasks = tasks
        self._advance = advance
        self._shown = 0.0
        self._begun = self._told = time.monotonic()
        self._share_begun: float | None = None

    def update(self) -> None:
        """Look again."""
        shares = [task.share_done for task in self._tasks]
        done = sum(shares)
        if self._share_begun is None:
            self._share_begun = done
        if done > self._shown:
            self._advance(done - self._shown)
            self._shown = done
            if not progress.is_drawn() and time.monotonic() - self._told >= _LINE_SECONDS:
                self._tell(shares)

    def _tell(self, shares: Sequence[float]) -> None:
        self._told = time.monotonic()
        gained = sum(shares) - (self._share_begun or 0.0)
        finished = sum(share >= 1 for share in shares)
        told = f"{finished} of {len(shares)} runs done"
        if gained >= _ENOUGH:
            left = (self._told - self._begun) * (len(shares) - sum(shares)) / gained
            told += f", some {progress.in_words(left)} left"
        progress.say(told)


def carry_out(tasks: Sequence[Task], engine: Engine, description: str) -> None:
    """Do all tasks under one bar.

    A task that fails is reported, tried once more, and does not stop the others; what still
    failed is raised in the end, the first by its own error.
    """
    remaining = list(tasks)
    failures: dict[int, Exception] = {}
    with progress.bar(description, len(tasks)) as advance:
        meter = Meter(tasks, advance)
        meter.update()
        for _ in range(_TRIES):
            failures = engine.attempt(remaining, meter)
            meter.update()
            for index, error in failures.items():
                progress.say(f"{remaining[index].name} failed: {error}")
            remaining = [remaining[index] for index in failures]
            if not remaining:
                return
    others = "" if len(failures) == 1 else f" ({len(failures)} of {len(tasks)} tasks failed)"
    if others:
        progress.say(f"What was done is kept{others}.")
    raise next(iter(failures.values()))
