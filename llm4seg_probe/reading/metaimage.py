"""MetaImage files (.mha, and .mhd with its pixel file), read here and by no native library.

ITK's reader takes the name of the pixel file for a pattern of printf and for any path, so that a
header could end the process or show another file's bytes as pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.arrays import unpacked
from llm4seg_probe.reading.bounds import as_error, pixels_fit
from llm4seg_probe.reading.names import beside, shown

_LONGEST = 65_536  # bytes of a header; they have a few hundred
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_LOCAL = "LOCAL"


@dataclass(frozen=True, eq=False)
class MetaImage:
    """Pixels with the last axis first, several components behind the axes, and their place.

    ``direction`` (N, N) has the direction of an axis in each column; it, ``origin`` and
    ``spacing`` are for axes in the order of the file, the first one first.
    """

    pixels: np.ndarray
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: np.ndarray
    components: int

    @property
    def axes(self) -> int:
        """How many axes of space or time it has."""
        return len(self.spacing)


def read_metaimage_file(path: Path) -> MetaImage:
    """A MetaImage. Raises DataError where its header asks for other files, or for too much."""
    with as_error(path, DataError):
        fields, end = read_header(path)
        return _read(path, fields, end)


def read_header(path: Path) -> tuple[dict[str, str], int]:
    """Fields of a header by name, and where it ends. Raises DataError for one without end."""
    with open(path, "rb") as stream:
        start = stream.read(_LONGEST)
    fields: dict[str, str] = {}
    place = 0
    while (line_end := start.find(b"\n", place)) >= 0 or place < len(start):
        line_end = line_end if line_end >= 0 else len(start)
        line = start[place:line_end].decode("utf-8", "replace")
        place = line_end + 1
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals and line.strip():
            raise DataError(f"{path}: not readable ('{shown(line)}' is no field of a MetaImage)")
        if name in fields:
            raise DataError(f"{path}: not readable (its field {shown(name)} stands twice)")
        if name:
            fields[name] = value.strip()
        if name == "ElementDataFile":
            return fields, place
    raise DataError(f"{path}: not readable (its header names no ElementDataFile)")


def pixel_file(path: Path, fields: dict[str, str]) -> Path:
    """The file that holds the pixels. Raises DataError where the header names no plain file."""
    name = fields["ElementDataFile"]
    return path if name.upper() == _LOCAL else beside(path, name, "ElementDataFile")


def _read(path: Path, fields: dict[str, str], end: int) -> MetaImage:
    axes = _whole(fields.get("NDims", ""), "NDims")
    if axes not in (2, 3, 4):
        raise ValueError(f"NDims is {axes}; 2, 3 or 4 are read")
    sides = [_whole(text, "DimSize") for text in fields.get("DimSize", "").split()]
    if len(sides) != axes or min(sides) < 1:
        raise ValueError(f"DimSize is {shown(fields.get('DimSize', ''))} for {axes} axes")
    components = _whole(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels")
    kind = _TYPES.get(fields.get("ElementType", ""))
    if kind is None or not 1 <= components <= 64:
        raise ValueError(
            f"{components} values of ElementType {shown(fields.get('ElementType', ''))} a pixel"
        )
    if not _true(fields, "BinaryData", True):
        raise ValueError("its pixels are written as text; write them with BinaryData = True")
    dtype = np.dtype(kind).newbyteorder(">" if _big_endian(fields) else "<")
    shape = (*reversed(sides), *([components] if components > 1 else []))
    pixels = _pixels(path, fields, end, shape, dtype)
    spacing = _numbers(fields, ("ElementSpacing", "ElementSize"), axes, np.ones(axes))
    if min(spacing) <= 0:
        raise ValueError(f"ElementSpacing is {spacing.tolist()}; lengths above 0 are expected")
    names = ("TransformMatrix", "Rotation", "Orientation")
    # Each axis has its direction in a row of the file's matrix.
    matrix = _numbers(fields, names, axes * axes, np.eye(axes).ravel())
    direction = matrix.reshape(axes, axes).T
    if abs(float(np.linalg.det(direction))) < 1e-6:
        raise ValueError("TransformMatrix puts several axes into one direction")
    origin = _numbers(fields, ("Offset", "Position", "Origin"), axes, np.zeros(axes))
    return MetaImage(
        pixels.astype(dtype.newbyteorder("=")),
        tuple(spacing.tolist()),
        tuple(origin.tolist()),
        direction,
        components,
    )


def _pixels(
    path: Path, fields: dict[str, str], end: int, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    file = pixel_file(path, fields)
    is_packed = _true(fields, "CompressedData", False)
    skip = end if file == path else _whole(fields.get("HeaderSize", "0"), "HeaderSize")
    size = file.stat().st_size
    count = math.prod(shape) * dtype.itemsize
    skip = size - count if skip == -1 and not is_packed else skip
    pixels_fit(path, shape, dtype.itemsize, held=max(size - skip, 0), compressed=is_packed)
    if skip < 0:
        raise ValueError(f"HeaderSize is {skip}")
    with open(file, "rb") as stream:
        stream.seek(skip)
        content = unpacked(stream, "zlib", count) if is_packed else stream.read(count)
    return np.frombuffer(content, dtype).reshape(shape)


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{name} is '{shown(text)}', no whole number") from error


def _numbers(
    fields: dict[str, str], names: tuple[str, ...], count: int, otherwise: np.ndarray
) -> np.ndarray:
    name = next((name for name in names if name in fields), None)
    if name is None:
        return otherwise
    found = np.array([float(text) for text in fields[name].split()])
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"{name} is '{shown(fields[name])}'; {count} numbers are expected")
    return found


def _true(fields: dict[str, str], name: str, otherwise: bool) -> bool:
    return fields[name][:1] in "tTyY1" if fields.get(name) else otherwise


def _big_endian(fields: dict[str, str]) -> bool:
    names = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return any(_true(fields, name, False) for name in names)
