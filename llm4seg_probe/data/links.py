"""Links in a data folder: they are followed, and those that lead out of it are counted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.findings import Finding


def linked_out(collection: Collection, folder: Path) -> Iterator[Finding]:
    """A finding on the files that are read from outside of the folder, by links inside it."""
    top = folder.resolve()
    resolved = cache(Path.resolve)  # of folders, which hold many files each

    def leads_out(path: Path) -> bool:
        target = path.resolve() if path.is_symlink() else resolved(path.parent) / path.name
        return not target.is_relative_to(top)

    out: dict[Path, str] = {}
    for sample in collection.samples:
        for path in dict.fromkeys(sample.files):
            for file in formats.files_of(path):
                if leads_out(file):
                    out.setdefault(file, sample.image)
    if out:
        are = "files are" if len(out) > 1 else "file is"
        what = f"{len(out)} {are} read through links that lead out of the folder"
        advice = "Nothing needs to be done if that is meant; who gets the folder gets them not"
        yield Finding("note", "links", tuple(dict.fromkeys(out.values())), what, advice)
