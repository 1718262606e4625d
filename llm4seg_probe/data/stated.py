"""Statements of a volume's file beside its affine, carried with the image in memory.

An image in memory is a NIfTI image whose affine is in millimetres. What a NIfTI header has no
place for stands in its ``extra``: whether the file states a spacing and a place at all, and remarks
for `data check`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes

MM = {
    "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0,
    "cm": 10.0, "centimeter": 10.0, "centimeters": 10.0, "centimetre": 10.0, "centimetres": 10.0,
    "dm": 100.0, "m": 1e3, "meter": 1e3, "meters": 1e3, "metre": 1e3, "metres": 1e3,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
    "micrometers": 1e-3, "micrometre": 1e-3, "micrometres": 1e-3, "nm": 1e-6, "nanometer": 1e-6,
    "nanometers": 1e-6, "nanometre": 1e-6, "nanometres": 1e-6, "in": 25.4, "inch": 25.4,
    "inches": 25.4,
}  # fmt: skip
"""Millimetres in a unit of length, by the names that headers use."""

_REMARKS, _SPACING, _PLACED = "llm4seg_remarks", "llm4seg_spacing", "llm4seg_placed"


def in_mm(unit: str) -> float:
    """Millimetres in a unit of length; raises ValueError for one that is not known."""
    name = unit.strip().strip('"').lower()
    if name not in MM:
        raise ValueError(f"its lengths are in '{unit.strip()}', which is no known unit of length")
    return MM[name]


def volume(
    pixels: Any,
    affine: np.ndarray,
    *,
    spacing: Sequence[float] | None,
    placed: bool = True,
    remarks: Sequence[str] = (),
    header: Any = None,
) -> nibabel.Nifti1Image:
    """An image in memory: its voxels, its affine, and what the file states.

    ``spacing`` are millimetres along the first three axes, None where the file states none;
    ``placed`` is whether it states how the axes run.
    """
    if header is None and pixels.dtype in (np.int64, np.uint64):
        low, high = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        if pixels.size and (pixels.min() < low or pixels.max() > high):
            raise ValueError("it holds whole numbers beyond 32 bits")
        pixels = pixels.astype(np.int32)
    found = nibabel.Nifti1Image(pixels, affine, header)
    if not _is_square(affine):
        text = "its axes are not at right angles (a gantry tilt?); voxels are taken as if they were"
        remarks = (*remarks, text)
    found.extra[_REMARKS] = tuple(remarks)
    found.extra[_SPACING] = None if spacing is None else tuple(float(mm) for mm in spacing)
    found.extra[_PLACED] = placed
    return found


def _is_square(affine: np.ndarray) -> bool:
    """Whether the axes stand at right angles to each other, within half a degree."""
    axes = np.asarray(affine, float)[:3, :3]
    with np.errstate(invalid="ignore", divide="ignore"):
        axes = axes / np.linalg.norm(axes, axis=0)
    beside = np.abs(axes.T @ axes - np.eye(3))
    return not bool((beside > 0.01).any())


def remarks_of(image: nibabel.Nifti1Image) -> tuple[str, ...]:
    """What was odd about the header, in sentences without the file's name."""
    return tuple(image.extra.get(_REMARKS, ()))


def is_placed(image: nibabel.Nifti1Image) -> bool:
    """Whether the file states how its axes run in space."""
    return bool(image.extra.get(_PLACED, True))


def spacing_of(image: nibabel.Nifti1Image) -> tuple[float, ...] | None:
    """Millimetres along the image's own first three axes; None where they are not known."""
    if _SPACING in image.extra:
        stated: tuple[float, ...] | None = image.extra[_SPACING]
        return stated
    return tuple(float(mm) for mm in image.header.get_zooms()[:3])


def usable(lengths: Iterable[float]) -> bool:
    """Whether lengths are a spacing: finite and above zero, each."""
    return all(np.isfinite(mm) and mm > 0 for mm in lengths)


def with_lengths(affine: np.ndarray, lengths: Sequence[float]) -> np.ndarray:
    """The affine with columns of these lengths, directions and origin kept."""
    scaled = np.array(affine, dtype=float)
    scaled[:3, :3] *= np.asarray(lengths, float) / voxel_sizes(affine)
    return scaled


def said(lengths: Iterable[float]) -> str:
    """Lengths in one text, ``0.7 x 0.7 x 2``."""
    return " x ".join(f"{length:.4g}" for length in lengths)
