"""Unpack a delivered archive safely, and find the folders in it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from llm4seg_probe import progress
from llm4seg_probe.data import formats
from llm4seg_probe.data.layouts.plain import by_stem
from llm4seg_probe.errors import DataError, UserError
from llm4seg_probe.reading.bounds import bound, reason, refuse_more
from llm4seg_probe.reading.names import is_utf8, shown

WANTED = (*formats.SUFFIXES, ".csv", ".json", ".txt")
"""Suffixes of members that are unpacked; others are passed over."""
SIZE_LIMIT = 2**37
"""Bytes that one archive may unpack to (128 GiB)."""
RATIO_LIMIT = 100
"""How many times its own size an archive may unpack to: images hardly shrink, bombs do."""

_RATIO_FROM = 2**24  # small archives of empty masks shrink by more
_CHUNK = 2**20
_LONGEST_HEADER = 2**20  # bytes; those of long names and of attributes take a few kilobytes
_LONGEST_NAME = 255
_UNWANTED = 2**28  # bytes of members that nobody wants, beside what images may take
_CONTENT = (*tarfile.REGULAR_TYPES, tarfile.GNUTYPE_SPARSE)
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


class _Counted(io.RawIOBase):
    """A stream that counts what is read of it: headers and members that nobody wants, too."""

    def __init__(self, stream: IO[bytes], budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or what is left of a member; the budget says when it is too much."""
        found = self._stream.read(size)
        self._budget.take_read(len(found))
        return found


class _Headers(tarfile.TarInfo):
    """Headers of a tar archive, of which none may announce more than headers take."""

    def _proc_member(self, opened: tarfile.TarFile) -> Any:
        if self.type not in _CONTENT and not 0 <= self.size <= _LONGEST_HEADER:
            raise DataError(
                f"{self.name[:80]}: is damaged: one of its headers announces {self.size:,} bytes"
            )
        return super()._proc_member(opened)  # type: ignore[misc]


class _Budget:
    """What an archive has unpacked to so far, against the limits."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._read = 0
        self._limit = min(SIZE_LIMIT, max(RATIO_LIMIT * archive.stat().st_size, _RATIO_FROM))
        self._files = 0
        self._bytes = 0

    def take_file(self) -> None:
        self._files += 1
        most = bound("files")
        if self._files > most:
            what = f"{self._archive}: holds more than {most:,.0f} files"
            refuse_more("files", self._files, what, DataError)

    def take_read(self, number: int) -> None:
        """Count bytes of an unpacked tar archive, whether they are wanted or not."""
        self._read += number
        if self._read > self._limit + _UNWANTED:
            raise DataError(
                f"{self._archive}: unpacks to more than {self._limit / 1e6:.0f} MB from "
                f"{self._archive.stat().st_size / 1e6:.1f} MB, which no set of images does"
            )

    def take_bytes(self, number: int) -> None:
        self._bytes += number
        if self._bytes > self._limit:
            raise DataError(
                f"{self._archive}: unpacks to more than {self._limit / 1e6:.0f} MB from "
                f"{self._archive.stat().st_size / 1e6:.1f} MB, which no set of images does"
            )


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive, or a tar archive, compressed or not."""
    return path.is_file() and (_is_zip(path) or _is_tar(path))


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except Exception:  # of whatever kind: then it is none that can be read
        return False


def _is_tar(path: Path) -> bool:
    """Whether the first block is that of a tar archive; nothing behind it is looked at."""
    try:
        with path.open("rb") as raw, _unpacked(raw) as plain:
            block = plain.read(tarfile.BLOCKSIZE)
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except Exception:  # of whatever kind: then it is none that can be read
        return False
    return True


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
    members = _zip_members if _is_zip(archive) else _tar_members
    try:
        with progress.bar(f"Unpacking {archive.name} (MB)", archive.stat().st_size / 1e6) as step:
            for member in members(archive, budget):
                budget.take_file()
                inside = _safe(archive, member.name)
                if _is_wanted(inside):
                    _write(archive, member, folder, inside, budget)
                step((member.read - shown) / 1e6)
                shown = member.read
    except UserError:
        raise
    except Exception as error:  # of whatever kind: archives are read by several libraries
        # What the system says about the disk is not about the archive.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{archive}: is damaged ({reason(error)}); fetch it again") from error


def _write(
    archive: Path, member: _Member, folder: Path, inside: PurePosixPath, budget: _Budget
) -> None:
    target = folder / inside
    other = next((path for path in target.parents if path.is_file()), None)
    if other is not None or target.is_dir():
        name = other.relative_to(folder) if other else member.name
        raise DataError(f"{archive}: holds a file and a folder of one name, '{shown(str(name))}'")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise DataError(f"{archive}: holds the file {shown(member.name)} twice")
    with target.open("xb") as out:
        while chunk := member.stream.read(_CHUNK):
            budget.take_bytes(len(chunk))
            out.write(chunk)


def _zip_members(archive: Path, budget: _Budget) -> Iterator[_Member]:
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


def _tar_members(archive: Path, budget: _Budget) -> Iterator[_Member]:
    with archive.open("rb") as raw, _unpacked(raw) as plain:
        # As a stream: members that are not wanted are read and counted, and none is remembered.
        counted: Any = _Counted(plain, budget)
        opened = tarfile.open(  # noqa: SIM115  (it owns nothing: the stream is ours)
            archive, fileobj=counted, mode="r|", tarinfo=_Headers
        )
        for info in opened:
            opened.members = []  # type: ignore[attr-defined]
            if info.isdir():
                continue
            stream = opened.extractfile(info) if info.isfile() else None
            if stream is None:
                raise DataError(f"{archive}: {info.name} is a link or a device")
            yield _Member(info.name, stream, raw.tell())
        # The checksum of a compressed archive stands behind its last member.
        while counted.read(_CHUNK):
            pass


def _unpacked(raw: IO[bytes]) -> Any:
    """The tar archive inside its compression."""
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if start.startswith((b"\xfd7zXZ", b"\x5d\0\0")):
        return lzma.LZMAFile(raw)
    return nullcontext(raw)


def _safe(archive: Path, name: str) -> PurePosixPath:
    """The member's name as a path that stays inside; raises DataError."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise DataError(f"{archive}: the member '{shown(name)}' leads out of the folder")
    if not all(map(_is_possible, path.parts)) or len(path.parts) > bound("depth"):
        raise DataError(f"{archive}: the member '{shown(name)}' has a name that no file can have")
    return path


def _is_possible(name: str) -> bool:
    return "\0" not in name and is_utf8(name) and len(os.fsencode(name)) <= _LONGEST_NAME


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


_SHOWN = 5  # folders that a message names


@dataclass(frozen=True)
class Found:
    """One image of a delivery."""

    name: str
    image: Path
    masks: tuple[Path, ...]
    """Several are parts of one mask."""
    group: str = ""
    """Patient, case or lesion, where the delivery says so."""
    side: str = ""
    """``train``, ``val`` or ``test``, where the delivery says so."""


@dataclass(frozen=True)
class Delivery:
    """An archive or folder as it was given, and the folders that its content lies in."""

    source: Path
    expected: str
    """What should be there, for messages."""
    roots: tuple[Path, ...]

    def folders(self) -> list[Path]:
        """All folders, the outer ones first, without hidden ones."""
        found = []
        for root in self.roots:
            inner = [path for path in root.rglob("*") if path.is_dir()]
            found += [root, *sorted(path for path in inner if _is_visible(path, root))]
        return found

    def folder(self, name: str, inside: str = "") -> Path | None:
        """The folder of that name with images in it, in a folder ``inside`` where given.

        Upper and lower case are the same. None where there is none; raises DataError where there
        are several.
        """
        found = [
            path
            for path in self.folders()
            if path.name.lower() == name.lower()
            and (not inside or path.parent.name.lower() == inside.lower())
            and any(map(formats.is_image, path.iterdir()))
        ]
        if len(found) > 1:
            raise DataError(
                f"{self.source}: holds the folder '{name}' {len(found)} times "
                f"({found[0]}, {found[1]}); which one counts?"
            )
        return found[0] if found else None

    def tables(self) -> list[Path]:
        """All CSV files."""
        return sorted(path for folder in self.folders() for path in folder.glob("*.csv"))

    def refusal(self) -> DataError:
        """The error for a delivery that is something else: what was expected, what was found."""
        found = []
        for folder in self.folders():
            kinds = Counter(
                formats.suffix_of(path) or path.suffix or "no suffix"
                for path in folder.iterdir()
                if path.is_file() and not path.name.startswith(".")
            )
            if kinds:
                files = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(2))
                found.append(f"{folder.name}/ ({files})")
        more = f" and {len(found) - _SHOWN} more folders" if len(found) > _SHOWN else ""
        return DataError(
            f"{self.source}: expected {self.expected}; found "
            f"{', '.join(found[:_SHOWN]) or 'no files'}{more}"
        )


def paired(images: Path, masks: Path, ending: str = "", side: str = "") -> list[Found]:
    """Images of one folder with the masks of the same name, plus ``ending`` in any case.

    Raises DataError that names an image without mask.
    """
    there = {stem.lower(): path for stem, path in by_stem(masks).items()}
    found = []
    for stem, path in by_stem(images).items():
        mask = there.get((stem + ending).lower())
        if mask is None:
            raise DataError(f"{path}: has no mask {stem}{ending} in {masks}")
        found.append(Found(stem, path, (mask,), side=side))
    return found


def _is_visible(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)
