"""Files of a data folder that are not used, each with its reason; and links out of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from llm4seg_probe.data import dicom_series, formats
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.groups import column_of_groups, column_of_images
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.names import DEAD_LINK


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


KIND = "not used"
_SYSTEM = ("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", "dicomdir", "__macosx")
_BESIDE = (
    ".txt", ".md", ".rst", ".pdf", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html",
    ".py", ".sh", ".log", ".doc", ".docx", ".xls", ".xlsx", ".raw", ".zraw", ".sha256", ".md5",
)  # fmt: skip
"""Suffixes of what lies beside images without being one."""
READ = ("groups.csv", "samples.csv")
"""Names of tables that say whose the images are."""
CALL_IT_GROUPS = (
    "If it says whose the images are, call it groups.csv (a CSV table with the columns image and "
    "group), and put it beside the folders of the images and masks"
)
_TABLES = (".csv", ".tsv", ".txt", ".xls", ".xlsx", ".ods")
_PATIENTS = re.compile(r"(groups?|samples?|patients?|subjects?|participants?)([_\-. ].*)?\.\w+")
_OF_PATIENTS = "it looks like a table of patients"
_HEADER = 2**16  # bytes of a first line that are looked at
Reason = Callable[[Path], str]


def is_of_a_system(path: Path) -> bool:
    """Whether a file or folder is one that a system or a tool keeps for itself.

    >>> [is_of_a_system(Path(name)) for name in ("__MACOSX", ".ipynb_checkpoints", "@eaDir", "a")]
    [True, True, True, False]
    """
    name = path.name.lower()
    return name.startswith((".", "__", "@")) or name in _SYSTEM


def unused(
    root: Path, folder: Path, used: Iterable[Path], readable: Callable[[Path], bool], reason: str
) -> Iterator[Finding]:
    """Findings on what lies in a folder beside the paths that are used.

    ``readable`` is whether a path is of a format that is read, and ``reason`` says why one of
    these is not used.
    """
    taken = {file for path in used for file in _with_pixels(path)}
    tables = _tables_of_patients(root, folder, taken)
    found: dict[tuple[str, bool], list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path in taken or is_of_a_system(path) or path in tables:
            continue
        what, worth = _why(path, readable, reason)
        if what:
            found.setdefault((what, worth), []).append(path.relative_to(root).as_posix())
    for (what, worth), paths in found.items():
        yield finding(paths, what, warning=worth)
    yield from _about_tables(root, tables)


def _with_pixels(path: Path) -> tuple[Path, ...]:
    """A file, and those that hold the pixels of a header."""
    if path.suffix.lower() not in (".mhd", ".nrrd"):
        return (path,)
    try:
        return (path, *formats.files_of(path))
    except DataError:  # told where the image is read
        return (path,)


def tables_of_patients(folder: Path) -> Iterator[Finding]:
    """A finding on files beside the folders of images that may say whose the images are."""
    yield from _about_tables(folder, _tables_of_patients(folder, folder, ()))


def _about_tables(root: Path, tables: Iterable[Path]) -> Iterator[Finding]:
    paths = [path.relative_to(root).as_posix() for path in tables]
    if paths:
        yield replace(finding(paths, _OF_PATIENTS), advice=CALL_IT_GROUPS)


def _tables_of_patients(root: Path, folder: Path, used: Iterable[Path]) -> list[Path]:
    """Files that look like a table of patients, where the data set has none that is read."""
    if any((root / name).is_file() for name in READ):
        return []
    taken = set(used)
    there = (path for path in sorted(folder.iterdir()) if path not in taken)
    return [path for path in there if not is_of_a_system(path) and _is_of_patients(path)]


def _is_of_patients(path: Path) -> bool:
    """Whether a file says by its name, or by its header, whose the images are."""
    suffix = path.suffix.lower()
    if suffix not in _TABLES or not path.is_file():
        return False
    if _PATIENTS.fullmatch(path.name.lower()):
        return True
    if suffix not in (".csv", ".tsv", ".txt"):
        return False
    try:
        with path.open("rb") as stream:
            first = stream.readline(_HEADER)
    except OSError:
        return False
    columns = [
        cell.strip(" \"'\r\n") for cell in re.split(r"[,;\t]", first.decode("utf-8", "replace"))
    ]
    return column_of_groups(columns) is not None and column_of_images(columns) is not None


def finding(paths: Iterable[str], why: str, *, warning: bool = True) -> Finding:
    """That files are not used, with the reason; ``warning`` where they may have been meant."""
    names = tuple(paths)
    counted = f"{len(names)} file{'s are' if len(names) > 1 else ' is'} not used: {why}"
    advice = "Mend or move them" if warning else "Nothing needs to be done"
    return Finding("warning" if warning else "note", KIND, names, counted, advice)


def _why(path: Path, readable: Callable[[Path], bool], reason: str) -> tuple[str, bool]:
    if path.is_symlink() and not path.exists():
        return DEAD_LINK.removeprefix("is "), True
    if path.is_dir():
        return _why_folder(path, readable), True
    if readable(path):
        return reason, True
    if path.suffix.lower() in _BESIDE or not path.suffix:
        return "no image", False
    return f"the format {path.suffix.lower()} is not read (convert it)", True


def _why_folder(folder: Path, readable: Callable[[Path], bool]) -> str:
    if dicom_series.series_files(folder):
        return "a folder with a DICOM series that belongs to no image"
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not is_of_a_system(inner) and dicom_series.series_files(inner):
            return "a folder whose DICOM files lie one folder deeper (move them up)"
    if any(readable(path) for path in folder.iterdir() if not is_of_a_system(path)):
        return "a folder inside this one; only the files beside it are read"
    return "a folder without images"
