"""Arrays of others: NumPy files and compressed bytes, never more of them than was announced."""

from __future__ import annotations

import bz2
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from llm4seg_probe.errors import UserError
from llm4seg_probe.reading.bounds import as_error, refuse_announced, refuse_more

_CHUNK = 2**18
_GZIP = 16 + zlib.MAX_WBITS


def unpacked(stream: IO[bytes], kind: str, count: int) -> bytes:
    """The first ``count`` bytes of what a zlib, gzip or bzip2 stream unpacks to.

    Raises ValueError where it holds fewer, and zlib.error or OSError where it is damaged.
    """
    parts: list[bytes] = []
    found = 0
    take: _Bzip2 | _Deflate = _Bzip2() if kind == "bzip2" else _Deflate(kind)
    while found < count:
        part = take(stream, count - found)
        if not part:
            raise ValueError(f"it unpacks to {found:,} bytes where {count:,} are announced")
        parts.append(part)
        found += len(part)
    return b"".join(parts)


class _Deflate:
    """Takes the next bytes of a zlib or gzip stream, none at its end."""

    def __init__(self, kind: str) -> None:
        self._unpacker = zlib.decompressobj(_GZIP if kind == "gzip" else zlib.MAX_WBITS)

    def __call__(self, stream: IO[bytes], most: int) -> bytes:
        part = b""
        while not part and not self._unpacker.eof:
            fed = self._unpacker.unconsumed_tail or stream.read(_CHUNK)
            if not fed:
                break
            part = self._unpacker.decompress(fed, most)
        return part


class _Bzip2:
    """Takes the next bytes of a bzip2 stream, none at its end."""

    def __init__(self) -> None:
        self._unpacker = bz2.BZ2Decompressor()

    def __call__(self, stream: IO[bytes], most: int) -> bytes:
        part = b""
        while not part and not self._unpacker.eof:
            fed = stream.read(_CHUNK) if self._unpacker.needs_input else b""
            if not fed and self._unpacker.needs_input:
                break
            part = self._unpacker.decompress(fed, most)
        return part


NUMBERS = "biuf"
"""Kinds of types that are plain numbers: truth values, integers, floating point."""
TEXTS = "U"
_COPIES = 3  # of an array, that are made of it before it is used


def read_npy(path: Path, error: type[UserError], *, kinds: str = NUMBERS) -> np.ndarray:
    """The array of an ``.npy`` file. Raises ``error`` for one of another kind, or cut short."""
    path = Path(path)
    with as_error(path, error), open(path, "rb") as stream:
        size = path.stat().st_size
        shape, dtype = _announced(stream, path, error, kinds)
        needed = math.prod(shape) * dtype.itemsize
        refuse_announced(path, size - stream.tell(), needed, error)
        refuse_more("bytes", _COPIES * needed, _takes(path, _COPIES * needed), error, size=size)
        stream.seek(0)
        found: np.ndarray = np.load(stream, allow_pickle=False)
        return found


def read_npz(
    path: Path,
    error: type[UserError],
    names: Sequence[str] | None = None,
    *,
    kinds: str = NUMBERS + TEXTS,
) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file by name: those of ``names`` that are there, or all.

    Raises ``error`` for a file that is no such archive, or holds anything but plain arrays.
    """
    path = Path(path)
    size = path.stat().st_size if path.is_file() else 0
    with as_error(path, error, "is not a readable array file"), zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        wanted = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
        wanted = [name for name in wanted if names is None or name in names]
        total = 0
        for name in wanted:
            info = members[f"{name}.npy"]
            with archive.open(info) as stream:
                shape, dtype = _announced(stream, f"{path}: {name}", error, kinds)
            needed = math.prod(shape) * dtype.itemsize
            refuse_announced(path, info.file_size, needed, error)
            refuse_announced(path, info.compress_size, needed, error, compressed=True)
            total += needed
        taken = _COPIES * total
        refuse_more("bytes", taken, _takes(path, taken), error, size=size)
        return {name: _member(archive, f"{name}.npy") for name in wanted}


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as stream:
        found: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _announced(
    stream: IO[bytes], what: Path | str, error: type[UserError], kinds: str
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that a header states. Raises ``error`` for types that are no plain numbers."""
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise error(f"{what}: not readable (version {version} of NumPy's format)")
    shape, _, dtype = read[version](stream)
    if dtype.kind not in kinds or dtype.hasobject or dtype.fields:
        raise error(f"{what}: not readable (it holds values of type {dtype}, no plain numbers)")
    if any(side < 0 for side in shape):
        raise error(f"{what}: not readable (it announces the shape {shape})")
    return shape, dtype


def _takes(path: Path, needed: int) -> str:
    return f"{path}: takes {needed / 1e9:.1f} GB of memory"
