"""``cache``: what lies on the disk outside of the user's own folders, and how to be rid of it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.options import Json, emit_json, say
from llm4seg_probe.errors import UserError, unknown
from llm4seg_probe.storage import cache_folder

_WHAT = {
    "data": "data sets: fetched slices, generated phantoms, prepared sets",
    "llm": "language models that come embedded, unpacked",
    "thresholds": "thresholds of looks, computed once",
}
_OTHER = "not written by this version"


@dataclass(frozen=True)
class Cached:
    """A part of the cache: what it is, where it lies, and how much room it takes."""

    name: str
    what: str
    folder: Path
    size: int

    @property
    def room(self) -> str:
        """Its size, in megabytes."""
        return f"{self.size / 1e6:,.1f} MB"


def cached() -> list[Cached]:
    """The parts of the cache that are there, by name."""
    folder = cache_folder()
    if not folder.is_dir():
        return []
    return [
        Cached(path.name, _WHAT.get(path.name, _OTHER), path, _size(path))
        for path in sorted(folder.iterdir())
    ]


def hub() -> Path:
    """Folder in which the Hub's own library keeps what it fetched; not ours to remove."""
    chosen = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    return Path(chosen).expanduser() if chosen else Path(home).expanduser() / "hub"


def cache(
    clear: Annotated[
        list[str] | None,
        typer.Option("--clear", metavar="PART", help="Remove a part (see the list), or: all."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What lies on the disk beside your own folders, and how much room it takes."""
    parts = cached()
    removed = _clear(parts, clear or [])
    left = [part for part in parts if part not in removed]
    if as_json:
        rows = [{**vars(part), "removed": part in removed} for part in parts]
        emit_json({"folder": cache_folder(), "parts": rows, "hub": hub()})
        return
    say(f"The cache: {cache_folder()} (LLM4SEG_PROBE_CACHE names another)")
    for part in removed:
        say(f"  removed {part.name}: {part.room}")
    for part in left:
        say(f"  {part.name:<12} {part.room:>12}  {part.what}")
    if not left:
        say("  nothing")
    if hub().is_dir():
        say(f"Models of the Hub: {hub()}, {_size(hub()) / 1e6:,.1f} MB")
        say("  shared with other programs; `hf cache` shows and removes them")


def _clear(parts: list[Cached], names: list[str]) -> list[Cached]:
    known = {part.name: part for part in parts}
    for name in names:
        if name not in known and name != "all":
            raise UserError(unknown("part of the cache", name, [*known, "all"]))
    chosen = parts if "all" in names else [known[name] for name in dict.fromkeys(names)]
    for part in chosen:
        if part.folder.is_dir() and not part.folder.is_symlink():
            shutil.rmtree(part.folder)
        else:
            part.folder.unlink()
    return chosen


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(
        file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink()
    )
