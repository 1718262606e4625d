"""Archives of strangers: only images and tables come out, under their own names, inside a folder.

Nothing is executed, no link is followed or made, and no member may lie outside.
"""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from llm4seg_probe import progress
from llm4seg_probe.data import formats
from llm4seg_probe.errors import DataError

WANTED = (*formats.SUFFIXES, ".csv", ".json", ".txt")
"""Suffixes of members that are unpacked; others are passed over."""
COUNT_LIMIT = 200_000
"""Files that one archive may hold."""
SIZE_LIMIT = 2**37
"""Bytes that one archive may unpack to (128 GiB)."""
RATIO_LIMIT = 100
"""How many times its own size an archive may unpack to: images hardly shrink, bombs do."""

_RATIO_FROM = 2**24  # small archives of empty masks shrink by more
_CHUNK = 2**20
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    OSError,
)
_COMPRESSED = "a compressed file that holds no tar archive, or one that is cut off or damaged"
_KINDS = {
    b"Rar!": "a RAR archive; unpack it yourself and give the folder",
    b"7z\xbc\xaf": "a 7z archive; unpack it yourself and give the folder",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a zip archive that is cut off; fetch it again",
    b"\x1f\x8b": _COMPRESSED,
    b"\xfd7zXZ": _COMPRESSED,
    b"BZh": _COMPRESSED,
}


@dataclass(frozen=True)
class _Member:
    """One file in an archive."""

    name: str
    stream: IO[bytes]
    read: int
    """Bytes of the archive up to and with this member."""


class _Budget:
    """What an archive has unpacked to so far, against the limits."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._limit = min(SIZE_LIMIT, max(RATIO_LIMIT * archive.stat().st_size, _RATIO_FROM))
        self._files = 0
        self._bytes = 0

    def take_file(self) -> None:
        self._files += 1
        if self._files > COUNT_LIMIT:
            raise DataError(f"{self._archive}: holds more than {COUNT_LIMIT} files")

    def take_bytes(self, number: int) -> None:
        self._bytes += number
        if self._bytes > self._limit:
            raise DataError(
                f"{self._archive}: unpacks to more than {self._limit / 1e6:.0f} MB from "
                f"{self._archive.stat().st_size / 1e6:.1f} MB, which no set of images does"
            )


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, or a tar archive, compressed or not."""
    return path.is_file() and (zipfile.is_zipfile(path) or _is_tar(path))


def _is_tar(path: Path) -> bool:
    # A compressed file that is cut off within its first block is not caught by is_tarfile.
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error, lzma.LZMAError):
        return False


def unpack(archive: Path, folder: Path) -> None:
    """Unpack images and tables of a zip or tar archive into ``folder``.

    Raises DataError that names archive and member: no archive (and what it is instead), a damaged
    or encrypted one, a name that leads outside, a link or device, a name given twice, more files
    or bytes than the limits.
    """
    if not is_archive(archive):
        raise DataError(
            f"{archive}: expected a zip or tar archive, or the folder unpacked from it; "
            f"found {_kind_of(archive)}"
        )
    budget = _Budget(archive)
    shown = 0
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    try:
        with progress.bar(f"Unpacking {archive.name} (MB)", archive.stat().st_size / 1e6) as step:
            for member in members(archive):
                budget.take_file()
                inside = _safe(archive, member.name)
                if _is_wanted(inside):
                    _write(archive, member, folder / inside, budget)
                step((member.read - shown) / 1e6)
                shown = member.read
    except _BROKEN as error:
        # What the system says about the disk is not about the archive.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive}: is damaged ({reason}); fetch it again") from error


def _write(archive: Path, member: _Member, target: Path, budget: _Budget) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise DataError(f"{archive}: holds the file {member.name} twice")
    with target.open("xb") as out:
        while chunk := member.stream.read(_CHUNK):
            budget.take_bytes(len(chunk))
            out.write(chunk)


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        read = 0
        for info in opened.infolist():
            read += info.compress_size
            if info.is_dir():
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                raise DataError(f"{archive}: {info.filename} is a link")
            if info.flag_bits & 1:
                raise DataError(
                    f"{archive}: is encrypted; unpack it yourself with its password and give the "
                    "folder"
                )
            with opened.open(info) as stream:
                yield _Member(info.filename, stream, read)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as opened:
        for info in opened:
            if info.isdir():
                continue
            stream = opened.extractfile(info) if info.isfile() else None
            if stream is None:
                raise DataError(f"{archive}: {info.name} is a link or a device")
            yield _Member(info.name, stream, raw.tell())
        # The checksum of a compressed archive stands behind its last member.
        while opened.fileobj is not None and opened.fileobj.read(_CHUNK):
            pass


def _safe(archive: Path, name: str) -> PurePosixPath:
    """The member's name as a path that stays inside; raises DataError."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise DataError(f"{archive}: the member '{name}' leads out of the folder")
    return path


def _is_wanted(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    # Slices of a DICOM series often have no suffix.
    return not hidden and (path.name.lower().endswith(WANTED) or not path.suffix)


def _kind_of(path: Path) -> str:
    if not path.is_file():
        return "nothing of that name"
    with path.open("rb") as stream:
        start = stream.read(512)
    if not start:
        return "an empty file"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page (a login page in place of the download?)"
    for magic, kind in _KINDS.items():
        if start.startswith(magic):
            return kind
    return f"a file of another kind ({path.suffix or 'no suffix'})"
