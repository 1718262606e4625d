"""Progress on standard error, with the time left; standard output belongs to the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
Advance = Callable[[float], None]

_live: list[Progress] = []


def console() -> Console:
    """Console for everything that is said while working: standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Say one line on standard error, above a bar that may be running."""
    target = _live[0].console if _live else console()
    target.print(message, markup=False)


@contextmanager
def bar(description: str, total: float | None) -> Iterator[Advance]:
    """Show one bar and yield the function that advances it; bars within bars share one display.

    ``total`` None draws a bar without an end, for work whose size is not known.
    """
    if not _live:
        display = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console(),
            transient=True,
            disable=not console().is_terminal,
        )
        _live.append(display)
        owner = True
        display.start()
    else:
        display, owner = _live[0], False
    task = display.add_task(description, total=total)
    try:
        yield lambda amount: display.advance(task, amount)
    finally:
        display.remove_task(task)
        if owner:
            display.stop()
            _live.clear()


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items under a bar."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with bar(description, total) as advance:
        for item in items:
            yield item
            advance(1)
