"""Progress on standard error, with the time left; standard output belongs to the result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from llm4seg_probe.reading.names import printable

T = TypeVar("T")
Advance = Callable[[float], None]


class _Display:
    """The one display of this process: started by the first bar, stopped after the last."""

    def __init__(self) -> None:
        self.muted = False
        self.live: Progress | None = None
        self.bars = 0
        self.lock = threading.Lock()

    def enter(self) -> Progress:
        """Take part in the display; bars of several threads may."""
        with self.lock:
            if self.live is None:
                self.live = _new_progress(self.muted)
                self.live.start()
            self.bars += 1
            return self.live

    def leave(self) -> None:
        """Take no part any more."""
        with self.lock:
            self.bars -= 1
            if self.live is not None and self.bars == 0:
                self.live.stop()
                self.live = None


_display = _Display()


def mute() -> None:
    """Say and draw nothing in this process any more: it works for another that has the terminal."""
    _display.muted = True


def console() -> Console:
    """Console for everything that is said while working: standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def is_drawn() -> bool:
    """Whether bars are drawn: on a terminal, unless another process has it."""
    return not _display.muted and console().is_terminal


def say(message: str) -> None:
    """Say one line on standard error, above a bar that may be running."""
    if not _display.muted:
        live = _display.live
        (live.console if live else console()).print(printable(message), markup=False)


def in_words(seconds: float) -> str:
    """A time in the unit that it is read in.

    >>> in_words(42.2), in_words(600), in_words(9000)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def bar(description: str, total: float | None) -> Iterator[Advance]:
    """Show one bar and yield the function that advances it; bars within bars share one display.

    ``total`` None draws a bar without an end, for work whose size is not known.
    """
    live = _display.enter()
    task = live.add_task(description, total=total)
    try:
        yield lambda amount: live.advance(task, amount)
    finally:
        live.remove_task(task)
        _display.leave()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items under a bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(description, total) as advance:
        for item in items:
            yield item
            advance(1)


def _new_progress(muted: bool) -> Progress:
    chosen = console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=chosen,
        transient=True,
        disable=muted or not chosen.is_terminal,
    )
