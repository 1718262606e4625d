"""DICOM: a folder that holds one series, sorted by position, or one file that is one picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import nibabel
import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut

from llm4seg_probe.data import stated
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.bounds import as_error
from llm4seg_probe.reading.dicom import pixels_of, read_dicom

SUFFIXES = (".dcm", ".ima")
MODALITIES = {"CT": "ct", "MR": "mr"}
"""DICOM's names of a modality, and ours."""

_CONVERT = "export it again, or convert it to NIfTI"
_UNEVEN = 0.1
"""Share of the distance between slices by which neighbours may lie closer or wider."""
_SAME_PLACE_MM = 1e-3


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its suffix, or by the mark at byte 128 where it has none."""
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    if path.suffix.lower() in SUFFIXES:
        return True
    advice = "take it out of the folder, or name another folder as the data set"
    with as_error(path, DataError, advice=advice), path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def series_files(folder: Path) -> tuple[Path, ...]:
    """The DICOM files of a folder, by name; empty where it holds none."""
    return tuple(path for path in sorted(folder.iterdir()) if is_dicom(path))


def modality_in(path: Path) -> str:
    """``ct`` or ``mr`` as a file, or the first one of a folder, states it; empty for another."""
    return MODALITIES.get(modality_stated(path), "")


def modality_stated(path: Path) -> str:
    """DICOM's name of the modality that a file, or the first one of a folder, states; or empty."""
    files = series_files(path) if path.is_dir() else (path,)
    if not files or (not path.is_dir() and path.suffix.lower() not in SUFFIXES):
        return ""
    header = _read(files[0], specific_tags=["Modality"], stop_before_pixels=True)
    with as_error(files[0], DataError):
        return str(header.get("Modality") or "").strip().upper()


def patient_in(path: Path) -> str:
    """PatientID of a DICOM file, or of the first one of a folder; empty where there is none."""
    if path.is_dir():
        path = next(iter(series_files(path)), path)
    elif path.suffix.lower() not in SUFFIXES:
        return ""
    try:
        header = _read(path, stop_before_pixels=True, specific_tags=["PatientID"])
        with as_error(path, DataError):
            return str(header.get("PatientID") or "")
    except DataError:
        return ""


def read_picture(path: Path) -> tuple[np.ndarray, tuple[float, ...] | None]:
    """One file as a picture: (C, H, W), rescaled, and millimetres per row and column or None.

    An axial slice is turned to the display as a series is: rows from anterior to posterior,
    columns from the patient's right to left. What states no place, or another plane, is as it is
    stored. Raises DataError that names the file.
    """
    part = _read(path)
    pixels = _pixels(part, path)
    pixels = np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    with as_error(path, DataError):
        spacing = _usable(_in_plane(part))
        turn = turn_of(part)
    if turn.transposed and spacing is not None:
        spacing = spacing[::-1]
    return turn.apply(pixels), spacing


@dataclass(frozen=True)
class Turn:
    """How the pixels of one file are turned to be displayed as a volume is."""

    transposed: bool = False
    rows: bool = False
    columns: bool = False

    @property
    def axes(self) -> str:
        """The turn as directions (``data/turning.py``) of columns, rows and slices as stored."""
        left, back = "R" if self.columns else "L", "A" if self.rows else "P"
        return f"{back}{left}S" if self.transposed else f"{left}{back}S"

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., H, W) as they are displayed."""
        turned = pixels.swapaxes(-1, -2) if self.transposed else pixels
        turned = turned[..., ::-1, :] if self.rows else turned
        return np.ascontiguousarray(turned[..., ::-1] if self.columns else turned)

    def undo(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., H, W) as they are stored."""
        turned = pixels[..., ::-1] if self.columns else pixels
        turned = turned[..., ::-1, :] if self.rows else turned
        return np.ascontiguousarray(turned.swapaxes(-1, -2) if self.transposed else turned)


def turn_of_file(path: Path) -> Turn:
    """How one file is turned as it is read; raises DataError that names it."""
    part = _read(path, stop_before_pixels=True)
    with as_error(path, DataError):
        return turn_of(part)


def turn_of(part: pydicom.Dataset) -> Turn:
    """How an axial slice is turned; not at all where the file states no place, or another plane."""
    try:
        along, down = _directions(part)
    except (AttributeError, IndexError, TypeError, ValueError):
        return Turn()
    normal = np.cross(along, down)
    if along.shape != (3,) or np.argmax(np.abs(normal)) != 2:
        return Turn()
    # Displayed columns run towards the left (DICOM's x), rows towards the back (its y).
    transposed = bool(np.argmax(np.abs(along)) == 1)
    x, y = (down, along) if transposed else (along, down)
    return Turn(transposed, rows=bool(y[1] < 0), columns=bool(x[0] < 0))


def full_scale(path: Path) -> float:
    """The stored number that is white in a picture without a unit of its own; 255 otherwise."""
    part = _read(path, stop_before_pixels=True)
    with as_error(path, DataError):
        bits = int(part.get("BitsStored") or 8)
        if part.get("PhotometricInterpretation") == "PALETTE COLOR":
            return 255.0
        if bits == 8 or int(part.get("PixelRepresentation") or 0) or _is_rescaled(part):
            return 255.0
        return float(2**bits - 1)


def read_slice(path: Path) -> nibabel.Nifti1Image:
    """One file as a volume of one slice, with its place in space. Raises DataError without one."""
    part = _read(path)
    with as_error(path, DataError, "does not say where it lies", _CONVERT):
        return _volume([(path, part)], _place(part), _place(part))


def remarks_in(path: Path) -> tuple[str, ...]:
    """What is odd about a file's unit or spacing, in sentences without its name."""
    part = _read(path, stop_before_pixels=True)
    with as_error(path, DataError):
        return tuple(_remarks(part))


def _remarks(part: pydicom.Dataset) -> list[str]:
    found = []
    spacing = _in_plane(part)
    if spacing and _usable(spacing) is None:
        found.append(f"its pixel spacing is {stated.said(spacing)}: not known")
    untold = part.get("RescaleIntercept") in (None, "") and not part.get("ModalityLUTSequence")
    if part.get("Modality") == "CT" and untold:
        found.append(
            "it is CT without RescaleSlope and RescaleIntercept: the stored numbers are taken for "
            "Hounsfield units"
        )
    return found


def _in_plane(part: pydicom.Dataset) -> tuple[float, ...]:
    """Millimetres per row and column as the file states them; empty where it states none."""
    written = part.get("PixelSpacing") or part.get("ImagerPixelSpacing")
    if written in (None, ""):
        return ()
    return tuple(float(mm) for mm in np.atleast_1d(np.asarray(written, float)))


def _usable(spacing: tuple[float, ...]) -> tuple[float, ...] | None:
    return spacing if len(spacing) == 2 and stated.usable(spacing) else None


def has_place(path: Path) -> bool:
    """Whether a file says where in space it lies."""
    part = _read(path, stop_before_pixels=True)
    with as_error(path, DataError):
        return bool(part.get("ImageOrientationPatient")) and bool(part.get("ImagePositionPatient"))


def read_series(folder: Path) -> nibabel.Nifti1Image:
    """The volume of a folder that holds one series, rescaled, as a NIfTI image in memory.

    Slices are sorted by their position along the normal of their plane. Raises DataError: no
    DICOM file, several series, slices of different sizes, spacings or directions, two at one place,
    or a missing one, which is named by its neighbours.
    """
    files = series_files(folder)
    if not files:
        raise DataError(f"{folder}: holds no DICOM file")
    slices = [(path, _read(path)) for path in files]
    for path, part in slices:
        _one_frame(part, path)
    for path, part in slices:
        with as_error(path, DataError, "does not say where it lies", _CONVERT):
            _directions(part), _place(part)
    with as_error(folder, DataError, "its slices do not say where they lie", _CONVERT):
        _one_series(folder, slices)
        normal = np.cross(*_directions(slices[0][1]))
        slices.sort(key=lambda part: float(normal @ _place(part[1])))
        _evenly_spaced(folder, slices, normal)
        return _volume(slices, _place(slices[0][1]), _place(slices[-1][1]))


def _volume(
    slices: list[tuple[Path, pydicom.Dataset]], first: np.ndarray, last: np.ndarray
) -> nibabel.Nifti1Image:
    """Slices in their order as one image in memory, colours as a fourth axis."""
    part = slices[0][1]
    rows, columns = _directions(part)
    normal = np.cross(rows, columns)
    known = _usable(_in_plane(part))
    row_mm, column_mm = known or (1.0, 1.0)
    remarks = _remarks(part)
    if not part.get("PixelSpacing"):
        instead = "ImagerPixelSpacing, at the detector, is taken" if known else "it is not known"
        remarks.append(f"its PixelSpacing is missing or empty: {instead}")
    # The first axis runs along a row of the picture, the second down its columns.
    volume = np.stack([_pixels(part, path).swapaxes(0, 1) for path, part in slices], axis=2)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = rows * column_mm, columns * row_mm
    thickness = float(part.get("SliceThickness") or 1.0)
    affine[:3, 2] = (last - first) / (len(slices) - 1) if len(slices) > 1 else normal * thickness
    affine[:3, 3] = first
    # DICOM's axes grow towards the left and the back, NIfTI's towards the right and the front.
    spacing = (column_mm, row_mm, float(np.linalg.norm(affine[:3, 2])))
    return stated.volume(
        volume,
        np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine,
        spacing=spacing if known else None,
        remarks=remarks,
    )


def _read(path: Path, **options: Any) -> pydicom.Dataset:
    return read_dicom(path, **options)


def _one_frame(part: pydicom.Dataset, path: Path) -> None:
    with as_error(path, DataError, "its pixels are not readable"):
        frames = int(part.get("NumberOfFrames") or 1)
    if frames > 1:
        raise DataError(
            f"{path}: holds {frames} frames; single-frame files are read. Convert it to NIfTI"
        )


def _pixels(part: pydicom.Dataset, path: Path) -> np.ndarray:
    """What the file shows: (H, W), or (H, W, 3) in colour, in the unit that it states."""
    _one_frame(part, path)
    with as_error(path, DataError, "its pixels are not readable"):
        shown_as = str(part.get("PhotometricInterpretation", ""))
        pixels: np.ndarray = pixels_of(part, path)
        if shown_as == "PALETTE COLOR":
            return _palette(pixels, part)
        if pixels.ndim == 3:
            if shown_as in ("ARGB", "CMYK", "HSV"):
                raise ValueError(f"its colours are {shown_as}: store RGB")
            return pixels
        if shown_as == "MONOCHROME1" and not _is_rescaled(part):
            # White is low. With a unit (HU) that is a matter of display, and nothing is turned.
            ends = int(part.BitsStored)
            low = -(2 ** (ends - 1)) if int(part.get("PixelRepresentation") or 0) else 0
            pixels = (2 * low + 2**ends - 1) - pixels.astype(np.int64)
        return _in_its_unit(pixels, part)


def _in_its_unit(pixels: np.ndarray, part: pydicom.Dataset) -> np.ndarray:
    """Stored numbers as those of the modality, by its table, or slope and intercept."""
    if part.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(pixels, part), dtype=np.float32)
    slope, intercept = part.get("RescaleSlope"), part.get("RescaleIntercept")
    by = 1.0 if slope in (None, "") else float(slope)
    plus = 0.0 if intercept in (None, "") else float(intercept)
    if by == 0 or not np.isfinite([by, plus]).all():
        raise ValueError(f"its RescaleSlope is {by:g}, its RescaleIntercept {plus:g}")
    return np.asarray(pixels * by + plus, dtype=np.float32)


def _is_rescaled(part: pydicom.Dataset) -> bool:
    """Whether stored numbers become those of a unit: HU, or by a slope, an intercept or a table."""
    slope, intercept = part.get("RescaleSlope"), part.get("RescaleIntercept")
    changed = (slope not in (None, "") and float(slope) != 1) or (
        intercept not in (None, "") and float(intercept) != 0
    )
    return changed or part.get("RescaleType") == "HU" or bool(part.get("ModalityLUTSequence"))


def _palette(pixels: np.ndarray, part: pydicom.Dataset) -> np.ndarray:
    """Colours (H, W, 3) of 8 bits by the file's own lookup tables."""
    colours = apply_color_lut(pixels, part)
    bits = int(part.RedPaletteColorLookupTableDescriptor[2])
    return np.asarray(colours[..., :3] // 257 if bits == 16 else colours[..., :3]).astype(np.uint8)


def _one_series(folder: Path, slices: list[tuple[Path, pydicom.Dataset]]) -> None:
    path, first = slices[0]
    for other, part in slices[1:]:
        if part.get("SeriesInstanceUID") != first.get("SeriesInstanceUID"):
            raise DataError(
                f"{folder}: {path.name} and {other.name} are of two series; give each series a "
                "folder of its own"
            )
        # The IDs themselves are not shown: they may be names.
        patients = {str(p.get("PatientID") or "").strip() for p in (first, part)} - {""}
        if len(patients) > 1:
            raise DataError(
                f"{folder}: {path.name} and {other.name} are of two patients by their PatientID, "
                "though of one series; put each patient's slices in a folder of their own"
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
        pixels = [np.array(p.get("PixelSpacing") or (), float) for p in (first, part)]
        if pixels[0].shape != pixels[1].shape or not np.allclose(pixels[0], pixels[1], rtol=1e-3):
            said = [" x ".join(f"{side:g}" for side in own) or "not stated" for own in pixels]
            raise DataError(
                f"{other}: its PixelSpacing is {said[1]}, that of {path.name} {said[0]}: export "
                "the series again, or leave that slice out"
            )


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
    cosines = _numbers(part, "ImageOrientationPatient", 6)
    return cosines[:3], cosines[3:]


def _place(part: pydicom.Dataset) -> np.ndarray:
    return _numbers(part, "ImagePositionPatient", 3)


def _numbers(part: pydicom.Dataset, tag: str, count: int) -> np.ndarray:
    """The numbers of a tag; raises ValueError that names it where they are not there."""
    written = part.get(tag)
    if written in (None, "") or len(written) == 0:
        raise ValueError(f"its {tag} is missing or empty")
    found = np.array(written, float)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ValueError(f"its {tag} is not {count} numbers")
    return found
