"""Names that a file gives: of other files, of runs, of code. None of them leads anywhere else."""

from __future__ import annotations

import errno
import glob
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from llm4seg_probe.errors import DataError, UserError

_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
_LONGEST = 255  # bytes of a file's name, on the usual file systems


def is_plain(name: str) -> bool:
    r"""Whether a text can only be the name of one file or folder, wherever it is put.

    >>> [is_plain(name) for name in ("a b.raw", "../a", "a/b", "C:a", "a%s", "", "..", "a\0")]
    [True, False, False, False, True, False, False, False]
    """
    return (
        name not in ("", ".", "..")
        and not any(c in "/\\:" or not c.isprintable() for c in name)
        and len(name.encode("utf-8", "surrogateescape")) <= _LONGEST
    )


def beside(header: Path, name: str, key: str) -> Path:
    """The file in a header's own folder, or below it, that the header names.

    A link in its place is followed, as everywhere in a data folder. Raises DataError for a name
    that leads out of the folder, for a list, and for a pattern.
    """
    parts = name.split("/")
    if not all(map(is_plain, parts)) or "%" in name:
        raise DataError(
            f"{header}: its {key} is '{shown(name)}', which is not the name of one file beside it "
            "or below: put the pixels there, or convert it to NIfTI"
        )
    path = header.parent.joinpath(*parts)
    if path == header or not path.is_file():
        raise DataError(f"{header}: its {key} is '{shown(name)}', but there is no such file")
    return path


def inside(folder: Path, name: object, where: Path | str) -> Path:
    """The path that a table or description of a data folder names, which stays in the folder.

    Links are followed: git-annex and linked sets are common, and the user named the folder.
    Raises DataError for a name that leads out of the folder by itself.
    """
    text = str(name)
    parts = PurePosixPath(text.replace("\\", "/"))
    depth = 0
    for part in parts.parts:
        depth += -1 if part == ".." else int(part != ".")
        if depth < 0:
            break
    if parts.is_absolute() or depth < 0 or not _is_path(text):
        raise DataError(f"{where}: '{shown(text)}' lies outside the folder")
    return folder / text


def is_there(path: Path) -> bool:
    """Whether there is something at a path; at one that no file can have there is nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


IRREGULAR = "is no regular file (a pipe, a socket or a device): put the file itself there"


DEAD_LINK = "is a link to a file that is not here (git annex get, datalad get)"


def is_irregular(path: Path) -> bool:
    """Whether a path, or what a link leads to, is neither file nor folder: it may never end."""
    return is_there(path) and not path.is_file() and not path.is_dir()


def other_than_file(path: Path) -> str:
    """What stands in the place of a regular file, as the end of a sentence.

    Links are followed. Empty for a regular file, and where there is nothing of that name.

    >>> other_than_file(Path("/dev/null")), other_than_file(Path("no such file"))
    ('is no regular file (a pipe, a socket or a device): put the file itself there', '')
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            return "is a link that leads back to itself: put the file itself there"
        return DEAD_LINK if is_link(path) else ""
    if stat.S_ISREG(mode):
        return ""
    return "is a folder; a file is expected" if stat.S_ISDIR(mode) else IRREGULAR


def refuse_other_than_file(path: Path, error: type[UserError]) -> None:
    """Raise ``error`` where a pipe, a device, a folder or a dead link stands in a file's place."""
    if other := other_than_file(path):
        raise error(f"{path}: {other}")


def refuse_file(folder: Path, error: type[UserError]) -> None:
    """Raise ``error`` where something else than a folder stands where one is to be written."""
    if is_there(folder) and not folder.is_dir():
        raise error(f"{folder}: {OCCUPIED}")


OCCUPIED = "is there already and is no folder: name another with --out, or move it away"


def is_file_there(path: Path, error: type[UserError]) -> bool:
    """Whether there is a file; raises ``error`` where something else stands in its place.

    What is optional in a folder is asked for by this: a file that is there and cannot be opened is
    not passed over as if there were none.
    """
    refuse_other_than_file(path, error)
    return is_there(path)


def is_link(path: Path) -> bool:
    """Whether a path is a link, wherever it leads; at one that no file can have there is none."""
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def shown(text: str, longest: int = 80) -> str:
    r"""A text from a file as it may stand in a message: one line, printable, bounded.

    >>> shown("a\x1b[31mb")
    'a\ufffd[31mb'
    """
    clean = "".join(c if c.isprintable() else "\ufffd" for c in text[: longest + 1])
    return clean if len(clean) <= longest else f"{clean[:longest]}…"


def is_utf8(name: str) -> bool:
    """Whether a name on disk can be written down: Python reads bytes that are no UTF-8 as halves.

    >>> is_utf8("ä.png"), is_utf8("c\\udcff0.png")
    (True, False)
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def as_utf8(name: str) -> str:
    """A name on disk as it may be written: bytes that are no UTF-8 become a question mark.

    >>> as_utf8("c\\udcff0.png")
    'c?0.png'
    """
    return name.encode("utf-8", "replace").decode("utf-8")


def printable(text: str) -> str:
    r"""A text as a terminal may be given it: whatever would command the terminal is shown instead.

    Line breaks and tabs stay.

    >>> printable("arm]0;title\n")
    'arm�]0;title�\n'
    """
    return "".join(c if c in "\n\t" or not _commands(c) else "�" for c in text)


def _commands(character: str) -> bool:
    """C0 and C1 control characters, and those that turn the direction of what follows."""
    return unicodedata.category(character) == "Cc" or character in _TURNS


def _is_path(text: str) -> bool:
    return "\0" not in text and len(text) <= 4096 and not (len(text) > 1 and text[1] == ":")


def is_own(path: Path, top: Path) -> bool:
    """Whether a path under ``top`` is a file of that folder itself, and no link leads to it.

    A folder of results, which others may have made, is copied and offered for download: a link in
    it would carry any file of this machine along.
    """
    part = path
    while part != top and part != part.parent:
        if part.is_symlink():
            return False
        part = part.parent
    return path.is_file()


def own_files(top: Path, pattern: str) -> list[Path]:
    """Files under a folder that match a pattern, in order; links are passed over."""
    return sorted(path for path in top.glob(pattern) if is_own(path, top))


def files_of(patterns: Iterable[str | Path], error: type[UserError]) -> list[Path]:
    """The files that paths, globs and run folders name, each once, in the order given.

    Of a folder with a ``run.pt`` that is meant. Raises ``error`` for a pattern that matches
    nothing.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        paths = [path] if path.exists() else _matches(str(pattern))
        if not paths:
            raise error(
                f"{pattern} does not exist: give a run.pt, the folder of a run, or a glob in quotes"
            )
        runs = (one / "run.pt" for one in paths)
        files.update(
            (run if run.is_file() else one, None) for run, one in zip(runs, paths, strict=True)
        )
    return list(files)


def _matches(pattern: str) -> list[Path]:
    """Files by a pattern; the part of it that is there as written is taken as it is written."""
    parts = Path(pattern).parts
    there = next((count for count in range(len(parts), 0, -1) if Path(*parts[:count]).exists()), 0)
    start = [glob.escape(part) for part in parts[:there]]
    pattern = str(Path(*start, *parts[there:]))
    # Path.glob refuses absolute patterns, which is what `reports/**/run.pt` expands to elsewhere.
    return sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207
