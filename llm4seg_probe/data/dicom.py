"""DICOM: a folder that holds one series, sorted by position, or one file that is one picture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import nibabel
import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_rescale

from llm4seg_probe.errors import DataError

SUFFIXES = (".dcm", ".ima")
MODALITIES = {"CT": "ct", "MR": "mr"}
"""DICOM's names of a modality, and ours."""

BROKEN = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
)
"""What pydicom raises for files that it cannot read."""

_UNEVEN = 0.1
"""Share of the distance between slices by which neighbours may lie closer or wider."""
_SAME_PLACE_MM = 1e-3


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its suffix, or by the mark at byte 128 where it has none."""
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def series_files(folder: Path) -> tuple[Path, ...]:
    """The DICOM files of a folder, by name; empty where it holds none."""
    return tuple(path for path in sorted(folder.iterdir()) if is_dicom(path))


def modality_in(path: Path) -> str:
    """``ct`` or ``mr`` as a file, or the first one of a folder, states it; empty for another."""
    files = series_files(path) if path.is_dir() else (path,)
    if not files:
        return ""
    header = _read(files[0], specific_tags=["Modality"], stop_before_pixels=True)
    return MODALITIES.get(str(header.get("Modality", "")), "")


def read_picture(path: Path) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """One file as it is stored: (C, H, W), rescaled, and millimetres per row and column or None.

    Bright is high in every file (MONOCHROME1 is turned). Raises DataError that names the file.
    """
    part = _read(path)
    pixels = _pixels(part, path)
    pixels = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    spacing = part.get("PixelSpacing") or part.get("ImagerPixelSpacing")
    return pixels, tuple(float(mm) for mm in spacing) if spacing else None


def read_series(folder: Path) -> nibabel.Nifti1Image:
    """The volume of a folder that holds one series, rescaled, as a NIfTI image in memory.

    Slices are sorted by their position along the normal of their plane. Raises DataError: no
    DICOM file, several series, slices of different sizes or directions, two at one place, or a
    missing one, which is named by its neighbours.
    """
    files = series_files(folder)
    if not files:
        raise DataError(f"{folder}: holds no DICOM file")
    slices = [(path, _read(path)) for path in files]
    _one_series(folder, slices)
    try:
        rows, columns = _directions(slices[0][1])
        normal = np.cross(rows, columns)
        slices.sort(key=lambda part: float(normal @ _place(part[1])))
        _evenly_spaced(folder, slices, normal)
        row_mm, column_mm = (float(mm) for mm in slices[0][1].PixelSpacing)
        first, last = _place(slices[0][1]), _place(slices[-1][1])
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{folder}: its slices do not say where they lie ({error})") from error
    # The first axis runs along a row of the picture, the second down its columns.
    volume = np.stack([_pixels(part, path).T for path, part in slices], axis=-1)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * column_mm, columns * row_mm
    thickness = float(slices[0][1].get("SliceThickness") or 1.0)
    affine[:3, 2] = (last - first) / (len(slices) - 1) if len(slices) > 1 else normal * thickness
    affine[:3, 3] = first
    # DICOM's axes grow towards the left and the back, NIfTI's towards the right and the front.
    return nibabel.Nifti1Image(volume, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _read(path: Path, **options: Any) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(path, **options)
    except BROKEN as error:
        raise DataError(f"{path}: not readable as DICOM ({_reason(error)})") from error


def _pixels(part: pydicom.Dataset, path: Path) -> np.ndarray:
    frames = int(part.get("NumberOfFrames") or 1)
    if frames > 1:
        raise DataError(
            f"{path}: holds {frames} frames; single-frame files are read. Convert it to NIfTI"
        )
    try:
        pixels: np.ndarray = part.pixel_array
        if pixels.ndim == 3:
            return pixels
        if part.get("PhotometricInterpretation") == "MONOCHROME1":
            pixels = (2 ** int(part.BitsStored) - 1) - pixels.astype(np.int64)
        return np.asarray(apply_rescale(pixels, part), dtype=np.float32)
    except BROKEN as error:
        raise DataError(f"{path}: its pixels are not readable ({_reason(error)})") from error


def _one_series(folder: Path, slices: list[tuple[Path, pydicom.Dataset]]) -> None:
    path, first = slices[0]
    for other, part in slices[1:]:
        if part.get("SeriesInstanceUID") != first.get("SeriesInstanceUID"):
            raise DataError(
                f"{folder}: {path.name} and {other.name} are of two series; give each series a "
                "folder of its own"
            )
        sizes = [(int(p.get("Rows", 0)), int(p.get("Columns", 0))) for p in (first, part)]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"{other}: the slice is {sizes[1][0]} x {sizes[1][1]}, that of {path.name} "
                f"{sizes[0][0]} x {sizes[0][1]}"
            )
        towards = [np.array(p.get("ImageOrientationPatient") or (), float) for p in (first, part)]
        if towards[0].shape != towards[1].shape or not np.allclose(
            towards[0], towards[1], atol=1e-3
        ):
            raise DataError(f"{other}: lies in another direction than {path.name}")


def _evenly_spaced(
    folder: Path, slices: list[tuple[Path, pydicom.Dataset]], normal: np.ndarray
) -> None:
    places = [(path, float(normal @ _place(part))) for path, part in slices]
    gaps = [(b - a, one.name, other.name) for (one, a), (other, b) in pairwise(places)]
    if not gaps:
        return
    step = median_low(gap for gap, _, _ in gaps)
    for gap, one, other in gaps:
        if gap < _SAME_PLACE_MM:
            raise DataError(f"{folder}: {one} and {other} lie at one place; which one counts?")
        steps = round(gap / step)
        if steps < 1 or abs(gap / step - steps) > _UNEVEN:
            raise DataError(
                f"{folder}: {one} and {other} are {gap:g} mm apart, the others {step:g}; a volume "
                "has slices at even distances"
            )
        if steps > 1:
            slices_are = "a slice is" if steps == 2 else f"{steps - 1} slices are"
            raise DataError(
                f"{folder}: {slices_are} missing between {one} and {other} "
                f"({gap:g} mm apart, the others {step:g})"
            )


def _directions(part: pydicom.Dataset) -> tuple[np.ndarray, np.ndarray]:
    cosines = np.array(part.ImageOrientationPatient, float)
    return cosines[:3], cosines[3:]


def _place(part: pydicom.Dataset) -> np.ndarray:
    return np.array(part.ImagePositionPatient, float)


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
