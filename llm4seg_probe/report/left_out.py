"""Files of a folder of results that are there and yet not used: which they are, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from llm4seg_probe import progress
from llm4seg_probe.reading.names import IRREGULAR, is_own

_OF_PROBE = ("about.yaml", "{name}.csv", "{name}.npz", "figures/*.svg")
"""What a probe's folder holds that the page shows, for a probe of some name."""


def not_used(folder: Path, tables: Iterable[str]) -> tuple[str, ...]:
    """Tables, arrays and figures that are no files of the folder itself, each with the reason.

    tables: names that the report would read. Links, folders and pipes of such a name are passed
    over by all that reads results (:func:`llm4seg_probe.reading.names.is_own`).
    """
    wanted = [*(folder / name for name in tables), *sorted(folder.glob("maps*.npz"))]
    for probe in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not os.path.lexists(probe / "about.yaml"):
            continue
        for pattern in _OF_PROBE:
            # The name may hold what a pattern means otherwise.
            fixed = probe / pattern.replace("{name}", probe.name)
            wanted += sorted(probe.glob(pattern)) if "*" in pattern else [fixed]
    return tuple(_sentences(folder, dict.fromkeys(wanted)))


def _sentences(folder: Path, paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        if os.path.lexists(path) and not is_own(path, folder):
            yield f"{path.relative_to(folder).as_posix()} {_why(path, folder)}"


def _why(path: Path, folder: Path) -> str:
    above = path.relative_to(folder).parents
    if path.is_symlink() or any((folder / part).is_symlink() for part in above if part.name):
        return "is a link, and links in results are not followed: put the file itself there"
    if path.is_dir():
        return "is a folder, where a file is expected"
    return IRREGULAR


def without_rows(name: str) -> str:
    """What is said of a table that has a header alone.

    >>> without_rows("scores.csv")
    'scores.csv has a header and no rows, so it counts as not run'
    """
    return f"{name} has a header and no rows, so it counts as not run"


def say_left_out(folder: Path, sentences: Iterable[str]) -> None:
    """Say each of them on the terminal."""
    for sentence in sentences:
        progress.say(f"{folder}: left out: {sentence}")
