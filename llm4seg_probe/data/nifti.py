"""NIfTI volumes as their header states them: unit, voxel size, sform, qform, element type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError

from llm4seg_probe.data import stated
from llm4seg_probe.reading.nifti import open_nifti, without_log

_UNITS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
"""Millimetres by the code of the spatial unit: unknown (taken as mm), metre, mm, micron."""
_ALIKE = 0.01
"""Share by which the voxel sizes of pixdim and sform may differ."""
_COLOURS = ("R", "G", "B")


def read_nifti(path: Path) -> nibabel.Nifti1Image:
    """A NIfTI volume in millimetres; colours are a fourth axis.

    Voxel sizes are those of pixdim, as SimpleITK and nnU-Net take them; the axes run as the sform
    says, else the qform. Raises ValueError for an unknown unit, an affine that cannot be, and
    complex numbers.
    """
    with without_log():  # a header of NIfTI-2 becomes one of NIfTI-1 in memory
        return _read(path)


def _read(path: Path) -> nibabel.Nifti1Image:
    loaded = open_nifti(path)
    raw = _as_written(loaded)
    remarks: list[str] = []
    factor = _unit(raw, remarks)
    affine, placed = _directions(loaded.header, raw, remarks)
    spacing = _voxel_size(raw, affine if placed else None, factor, remarks)
    affine = stated.with_lengths(affine, spacing or (1.0, 1.0, 1.0))
    affine[:3, 3] *= factor
    if not np.isfinite(affine).all():
        raise ValueError("its place in space holds values that are not numbers")
    header = loaded.header.copy()
    header.set_xyzt_units("mm")
    pixels: Any = loaded.dataobj
    kind = pixels.dtype
    if kind.names is not None:
        pixels, header = _colours(np.asanyarray(pixels)), None
    elif kind.kind == "c":
        raise ValueError("it holds complex numbers: store the magnitude")
    return stated.volume(
        pixels, affine, spacing=spacing, placed=placed, remarks=remarks, header=header
    )


def _as_written(loaded: Any) -> Any:
    """The header with the values that stand in the file."""
    with loaded.file_map["image"].get_prepare_fileobj("rb") as stream:
        return type(loaded.header).from_fileobj(stream, check=False)


def _unit(raw: Any, remarks: list[str]) -> float:
    code = int(raw["xyzt_units"]) & 7
    if code not in _UNITS:
        raise ValueError(f"its lengths are in the unit {code}, which NIfTI does not know")
    if code in (1, 3):
        name = {1: "metres", 3: "microns"}[code]
        remarks.append(f"its lengths are in {name}; they are read as millimetres")
    return _UNITS[code]


def _directions(header: Any, raw: Any, remarks: list[str]) -> tuple[np.ndarray, bool]:
    """An affine whose columns run as the axes do, and whether the file states it."""
    found: dict[str, np.ndarray] = {}
    coded = [name for name in ("sform", "qform") if int(raw[f"{name}_code"]) > 0]
    for name in coded:
        try:
            affine = header.get_sform() if name == "sform" else _qform(header, raw)
        except (HeaderDataError, ValueError):
            affine = np.zeros((4, 4))
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        singular = not np.isfinite(affine).all() or not lengths.all()
        if singular or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
            remarks.append(f"its {name} is no place in space (a column is zero or not a number)")
            continue
        found[name] = np.asarray(affine, float)
    if coded and not found:
        raise ValueError(f"its {' and '.join(coded)} cannot be inverted: write the header again")
    if len(found) == 2:
        one, other = ("".join(aff2axcodes(found[name])) for name in ("sform", "qform"))
        if one != other:
            remarks.append(
                f"its sform says that the axes run {one}, its qform {other}; the sform is taken"
            )
    for affine in found.values():
        return affine, True
    return np.asarray(header.get_base_affine(), float), False


def _qform(header: Any, raw: Any) -> np.ndarray:
    """The qform, with sizes of 1 where pixdim has none: its directions rest on the quaternion."""
    own = header.copy()
    sizes = np.array(raw["pixdim"][1:4], float)
    own["pixdim"][1:4] = np.where(np.isfinite(sizes) & (sizes != 0), np.abs(sizes), 1)
    return np.asarray(own.get_qform(), float)


def _voxel_size(
    raw: Any, affine: np.ndarray | None, factor: float, remarks: list[str]
) -> tuple[float, ...] | None:
    """Millimetres per axis by pixdim, else by the sform, or None; differences are remarked."""
    axes = max(1, min(3, int(raw["dim"][0])))
    sizes = np.array(raw["pixdim"][1:4], float)
    sizes[axes:] = np.where(np.isfinite(sizes[axes:]) & (sizes[axes:] > 0), sizes[axes:], 1)
    sform = int(raw["sform_code"]) > 0 and affine is not None
    own = voxel_sizes(affine) if sform and affine is not None else None
    if (sizes < 0).any():
        remarks.append(f"its voxel size is negative ({stated.said(sizes)}); the sign is left out")
        sizes = np.abs(sizes)
    if not stated.usable(sizes):
        if own is None or not stated.usable(own):
            remarks.append(f"its voxel size is {stated.said(sizes)}: its spacing is not known")
            return None
        remarks.append(
            f"its voxel size is {stated.said(sizes)} in pixdim; that of the sform, "
            f"{stated.said(own)}, is taken"
        )
        return tuple(float(size) * factor for size in own)
    if own is not None and (np.abs(own / sizes - 1) > _ALIKE).any():
        remarks.append(
            f"its voxel size is {stated.said(sizes)} in pixdim, but {stated.said(own)} in the "
            "sform; that of pixdim is taken, as SimpleITK and nnU-Net do"
        )
    return tuple(float(size) * factor for size in sizes)


def _colours(pixels: np.ndarray) -> np.ndarray:
    """Elements of red, green and blue (and transparency, left out) as a fourth axis."""
    fields = pixels.dtype.names or ()
    if tuple(fields[:3]) != _COLOURS or pixels.ndim > 3:
        raise ValueError(f"its voxels have the parts {', '.join(fields)}; colours or one number")
    return np.stack([pixels[name] for name in _COLOURS], axis=-1)
