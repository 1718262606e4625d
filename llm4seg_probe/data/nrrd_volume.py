"""NRRD volumes as their header states them: space, directions, units, and axes of colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from llm4seg_probe.data import stated
from llm4seg_probe.reading.bounds import bound
from llm4seg_probe.reading.names import is_there
from llm4seg_probe.reading.nrrd import read_nrrd_file

_LETTERS = {
    "right": "R", "left": "L", "anterior": "A", "posterior": "P", "superior": "S",
    "inferior": "I",
}  # fmt: skip
_SIGNS = ({"R": 1, "L": -1}, {"A": 1, "P": -1}, {"S": 1, "I": -1})
"""Signs that turn each direction towards right, anterior, superior."""
_NO_ANATOMY = ("scanner-xyz", "scannerxyz", "3d-right-handed", "3d-left-handed", "3drighthanded",
               "3dlefthanded")  # fmt: skip
_SPATIAL = ("domain", "space", "???", "none", "")
_CHANNELS = ("vector", "point", "color", "covariant", "normal", "gradient")
_SCALED = ("old min", "old max", "oldmin", "oldmax")


def read_nrrd(path: Path) -> nibabel.Nifti1Image:
    """An NRRD volume with its place in space in millimetres; colours are a fourth axis.

    Raises ValueError for a space, a unit or axes that are not known.
    """
    pixels, header = read_nrrd_file(path)
    pixels, spatial = _axes(pixels, header)
    remarks: list[str] = []
    signs, placed = _space(header, remarks)
    affine, spacing = _directions(header, spatial, signs, remarks)
    if any(name in header for name in _SCALED):
        raise ValueError(
            "it stores numbers of another range (old min, old max): store the values themselves"
        )
    return stated.volume(pixels, affine, spacing=spacing, placed=placed, remarks=remarks)


def pixel_files(path: Path) -> tuple[Path, ...]:
    """Files beside an NRRD header that hold its pixels; none where they stand in the same file."""
    with path.open("rb") as stream:
        lines = stream.read(65536).split(b"\n\n", 1)[0].decode("utf-8", "replace").splitlines()
    for number, line in enumerate(lines):
        key, colon, value = line.partition(":")
        if not colon or key.strip().lower() not in ("data file", "datafile"):
            continue
        words = value.split()
        if words and words[0] == "LIST":
            names = [name.strip() for name in lines[number + 1 :] if name.strip()]
        elif len(words) >= 4 and "%" in words[0]:
            names = numbered_names(words)
        else:
            names = [value.strip()]
        return existing(path.parent, names)
    return ()


def existing(folder: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """The files of these names, relative to a folder; those that exist."""
    paths = (folder / name for name in names)
    return tuple(path for path in paths if is_there(path) and path.is_file())


def numbered_names(words: Sequence[str]) -> list[str]:
    """Names by a pattern, its first and last number, and perhaps a step, up to the bound of files.

    >>> numbered_names(["s%02d.raw", "0", "2"])
    ['s00.raw', 's01.raw', 's02.raw']
    """
    try:
        first, last, *step = (int(word) for word in words[1:4])
        numbers = range(first, last + (1 if not step or step[0] > 0 else -1), *step)
    except ValueError:
        return []
    return [numbered(words[0], index) for index in numbers[: int(bound("files"))]]


def numbered(pattern: str, index: int) -> str:
    """A file's name by a pattern such as ``slice.%03d.raw``, without formatting anything else.

    >>> numbered("slice.%03d.raw", 7)
    'slice.007.raw'
    """
    start, percent, rest = pattern.partition("%")
    width = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    if not percent or rest[len(width) : len(width) + 1] not in ("d", "i", "u"):
        return pattern
    fill = width.startswith("0")
    number = str(index).rjust(min(int(width or 0), 20), "0" if fill else " ")
    return start + number + rest[len(width) + 1 :]


def spatial_axes(header: Any) -> list[int]:
    """The axes of the file that lie in space; raises ValueError unless they are 2 or 3.

    One axis beside them may hold colours or the parts of a vector.
    """
    count = len(header["sizes"])
    kinds = [str(kind).lower() for kind in header.get("kinds", [""] * count)]
    directions = header.get("space directions")
    nowhere = [False] * count
    if directions is not None and len(directions) == count:
        rows = [np.nan if row is None else row for row in directions]
        nowhere = [not np.isfinite(np.asarray(row, float)).all() for row in rows]
    other = [axis for axis in range(count) if nowhere[axis] or kinds[axis] not in _SPATIAL]
    spatial = [axis for axis in range(count) if axis not in other]
    channels = [axis for axis in other if any(word in kinds[axis] for word in _CHANNELS)]
    if len(spatial) not in (2, 3) or len(other) > 1 or other != channels:
        named = f" ({', '.join(kinds[axis] or 'no kind' for axis in other)})" if other else ""
        raise ValueError(f"{count} axes{named}; expected 2 or 3")
    return spatial


def _axes(pixels: np.ndarray, header: Any) -> tuple[np.ndarray, list[int]]:
    """The pixels with their axis of colours last, and which axes of the file lie in space."""
    spatial = spatial_axes(header)
    for axis in set(range(pixels.ndim)) - set(spatial):
        pixels = np.moveaxis(pixels, axis, -1)
        if pixels.shape[-1] == 4 and "rgba" in str(header["kinds"][axis]).lower():
            pixels = pixels[..., :3]
        if len(spatial) == 2:
            pixels = pixels[:, :, None]
    return pixels, spatial


def _space(header: Any, remarks: list[str]) -> tuple[np.ndarray, bool]:
    """Signs of the header's axes of space, and whether these are the patient's."""
    lps = np.array([-1.0, -1.0, 1.0])
    if "space" not in header:
        if "space directions" in header:
            remarks.append("it states no space; left-posterior-superior is taken")
        return lps, False
    name = str(header["space"]).strip()
    short = name.lower().removesuffix("-time")
    if short in _NO_ANATOMY:
        remarks.append(
            f"its space is {name}, which does not say where the patient's left, back and head are"
        )
        return lps, False
    words = short.split("-")
    if len(words) == 1 and len(words[0]) in (3, 4):
        letters = words[0].upper().removesuffix("T") if len(words[0]) == 4 else words[0].upper()
    else:
        letters = "".join(_LETTERS.get(word, "?") for word in words)
    signs = [sign.get(letter) for sign, letter in zip(_SIGNS, letters, strict=False)]
    if len(letters) != 3 or None in signs:
        raise ValueError(
            f"its space '{name}' is not known: left-posterior-superior, right-anterior-superior "
            "and left-anterior-superior are"
        )
    return np.array(signs, float), True


def _directions(
    header: Any, spatial: list[int], signs: np.ndarray, remarks: list[str]
) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """The affine, with lengths of 1 where the header gives none, and the spacing or None."""
    affine = np.eye(4)
    axes = len(spatial)
    written = header.get("space directions")
    units = [str(unit) for unit in header.get("space units", [])]
    if written is not None:
        rows = np.array([written[axis] for axis in spatial], float)
        size = rows.shape[1]
        if size > 3:
            raise ValueError(f"its space has {size} dimensions; expected 2 or 3")
        factors = np.array([_factor(unit, remarks) for unit in units[:size]] or [1.0] * size)
        affine[:size, :axes] = (rows * factors).T
        origin = np.asarray(header.get("space origin", np.zeros(size)), float)
        affine[:size, 3] = np.where(np.isfinite(origin), origin, 0) * factors
        lengths = np.linalg.norm(affine[:3, :axes], axis=0)
    else:
        own = np.asarray(header.get("spacings", [np.nan] * len(header["sizes"])), float)[spatial]
        per_axis = [str(unit) for unit in header.get("units", [])]
        factors = np.array(
            [_factor(per_axis[axis], remarks) if per_axis else 1.0 for axis in spatial]
        )
        lengths = own * factors
        if "spacings" not in header:
            remarks.append("it states no spacing")
    if not stated.usable(lengths):
        if "spacings" in header or written is not None:
            remarks.append(f"its spacing is {stated.said(lengths)}: it is not known")
        known = np.isfinite(lengths) & (lengths > 0)
        if written is not None and not known.all():
            raise ValueError(f"its space directions have the lengths {stated.said(lengths)}")
        affine = np.diag([*signs, 1.0])
        return affine, None
    if written is None:
        affine[range(axes), range(axes)] = lengths
    spacing = (*(float(mm) for mm in lengths), 1.0, 1.0)[:3]
    return np.diag([*signs, 1.0]) @ affine, spacing


def _factor(unit: str, remarks: list[str]) -> float:
    name = unit.strip().strip('"')
    if name in ("", "???", "none", "nan", "pixel", "pixels"):
        return 1.0
    factor = stated.in_mm(name)
    if factor != 1:
        text = f"its lengths are in {name}; they are read as millimetres"
        if text not in remarks:
            remarks.append(text)
    return factor
