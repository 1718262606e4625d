"""A prepared data set: where it lies, whether it is here, and opening it by its name."""

from __future__ import annotations

from pathlib import Path

from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.layouts.documented import DESCRIPTION, read_layout
from llm4seg_probe.data.prepare.papers import SETS
from llm4seg_probe.errors import DataError
from llm4seg_probe.storage import cache_folder

NAMES = tuple(SETS)
RECIPE = 1
"""Raised whenever the preparation changes, so that an older copy in a cache is not taken for it."""


def folder_of(name: str) -> Path:
    """Where a prepared set lies, or will lie."""
    return cache_folder() / "data" / f"{name}-{RECIPE}"


def is_here(name: str) -> bool:
    """Whether a set is prepared."""
    return (folder_of(name) / DESCRIPTION).is_file()


def open_prepared(name: str, classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """Open a prepared set; raises DataError that says how to prepare one that is not here."""
    if not is_here(name):
        local = f" (The folder {name} that is here is opened as ./{name}.)"
        raise DataError(
            f"{name} is not prepared. Get it from {SETS[name].page}; then once: "
            f"{command(name)}{local if Path(name).is_dir() else ''}"
        )
    return read_layout(folder_of(name), classes)


def command(name: str) -> str:
    """What prepares a set, for messages."""
    return f"llm4seg-probe data prepare {name} ARCHIVE_OR_FOLDER"
