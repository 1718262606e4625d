"""NRRD files: the header by pynrrd, the pixels here, no more of them than it announces."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any

import nrrd
import numpy as np

from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.arrays import unpacked
from llm4seg_probe.reading.bounds import as_error, pixels_fit, quietly
from llm4seg_probe.reading.names import beside, shown

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(
        ("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"
    ),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"
    ),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_PACKED = {"gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_TEXT = ("ascii", "text", "txt")
_LONGEST = 2**20  # bytes of a header; DWI volumes have some ten thousand


def read_nrrd_header(path: Path) -> dict[str, Any]:
    """Fields of a header. Raises DataError for one that is none."""
    with as_error(path, DataError), quietly(), open(path, "rb") as stream:
        return _header(stream)


def read_nrrd_file(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Pixels, the first axis of the file first, and the header's fields.

    Raises DataError for a header that asks for another folder's files, or announces too much.
    """
    with as_error(path, DataError), quietly(), open(path, "rb") as stream:
        header = _header(stream)
        sides = [int(side) for side in header["sizes"]]
        if len(sides) != int(header["dimension"]) or not 1 <= len(sides) <= 16 or min(sides) < 1:
            raise ValueError(f"{header['dimension']} axes of sizes {sides}")
        kind = _TYPES.get(str(header.get("type", "")).lower())
        if kind is None:
            raise ValueError(f"values of type {shown(str(header.get('type')))}")
        order = ">" if str(header.get("endian", "little")).lower() == "big" else "<"
        dtype = np.dtype(f"{order}{np.dtype(kind).str[1:]}")
        name = header.get("data file", header.get("datafile"))
        if name is None:
            flat = _values(path, stream, header, sides, dtype)
        else:
            named = beside(path, name if isinstance(name, str) else repr(name), "data file")
            with open(named, "rb") as detached:
                flat = _values(path, detached, header, sides, dtype)
    return flat.astype(dtype.newbyteorder("=")).reshape(sides, order="F"), header


def _header(stream: IO[bytes]) -> dict[str, Any]:
    start = stream.read(_LONGEST)
    stream.seek(0)
    if not start.startswith(b"NRRD"):
        raise ValueError("it does not begin with NRRD")
    if not any(end in start for end in (b"\n\n", b"\r\n\r\n")) and len(start) == _LONGEST:
        raise ValueError("its header has no end")
    return dict(nrrd.read_header(stream))


def _values(
    path: Path, stream: IO[bytes], header: dict[str, Any], sides: list[int], dtype: np.dtype
) -> np.ndarray:
    encoding = str(header.get("encoding", "")).lower()
    count = math.prod(sides)
    size = stream.seek(0, 2) - (place := _skipped_lines(stream, header))
    is_packed = encoding in _PACKED
    held = None if encoding in _TEXT else size
    pixels_fit(path, sides, dtype.itemsize, held=held, compressed=is_packed)
    stream.seek(place)
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    needed = count * dtype.itemsize
    if encoding in _TEXT:
        if count > size:
            raise ValueError(f"it announces {count:,} values in {size:,} bytes")
        found = np.array(stream.read().split(), dtype)
        if len(found) != count:
            raise ValueError(f"it holds {len(found):,} values where {count:,} are announced")
        return found
    if skip < -1 or (skip == -1 and encoding != "raw") or skip > 2**40:
        raise ValueError(f"byte skip is {skip}")
    if encoding == "raw":
        stream.seek(place + size - needed if skip == -1 else place + skip)
        content = stream.read(needed)
    elif is_packed:
        pixels_fit(path, [skip + needed], 1)
        content = unpacked(stream, _PACKED[encoding], skip + needed)[skip:]
    else:
        raise ValueError(f"its encoding is {shown(encoding)}")
    return np.frombuffer(content, dtype, count)


def _skipped_lines(stream: IO[bytes], header: dict[str, Any]) -> int:
    """Where the data begin, behind the lines that the header says to skip."""
    # The end of the file was sought in the meantime: begin where the header ended.
    name = header.get("data file", header.get("datafile"))
    stream.seek(0)
    if name is None:
        nrrd.read_header(stream)
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    if lines < 0:
        raise ValueError(f"line skip is {lines}")
    for number in range(lines):
        if not stream.readline():
            raise ValueError(f"line skip is {lines:,}, but it has {number:,} lines")
    return stream.tell()
