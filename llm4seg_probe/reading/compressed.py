"""Compressed bytes, unpacked to what was announced and never further."""

from __future__ import annotations

import bz2
import zlib
from typing import IO

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
