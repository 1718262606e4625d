"""Read images and masks of every supported file format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import aff2axcodes

from llm4seg_probe.data import (
    dicom_series,
    mask_values,
    metaimage_header,
    nrrd_volume,
    pictures,
    stated,
    turning,
)
from llm4seg_probe.data.metaimage_header import read_metaimage as read_metaimage
from llm4seg_probe.data.nifti import read_nifti
from llm4seg_probe.data.nrrd_volume import read_nrrd as read_nrrd
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.arrays import NUMBERS, read_npy
from llm4seg_probe.reading.bounds import as_error, quietly
from llm4seg_probe.reading.names import IRREGULAR, is_irregular, refuse_other_than_file

PICTURES = pictures.SUFFIXES
VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".npy", *dicom_series.SUFFIXES)
SUFFIXES = (*PICTURES, *VOLUMES)

Spacing = tuple[float, ...] | None


def suffix_of(path: Path) -> str | None:
    """The known suffix that a file's name ends in, or None."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def stem_of(path: Path) -> str:
    """The file's name without its known suffix: ``a.nii.gz`` gives ``a``."""
    return path.name[: len(path.name) - len(suffix_of(path) or "")]


def is_image(path: Path) -> bool:
    """Whether a path may be an image or mask: a file of a known suffix, or a DICOM series."""
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return bool(dicom_series.series_files(path))
    return suffix_of(path) is not None and path.is_file()


def files_of(path: Path) -> tuple[Path, ...]:
    """All files that an image is made of: itself, the slices of a series, the pixels of a header.

    >>> [path.name for path in files_of(Path("a.png"))]
    ['a.png']
    """
    if path.is_dir():
        return dicom_series.series_files(path)
    suffix = suffix_of(path)
    if suffix in (".mhd", ".mha"):
        return (path, *metaimage_header.pixel_files(path))
    if suffix == ".nrrd":
        return (path, *nrrd_volume.pixel_files(path))
    return (path,)


def read_image(
    path: Path,
    slice_index: int | None = None,
    modality: str = "photo",
    beside: Path | None = None,
) -> tuple[np.ndarray, Spacing]:
    """Pixels (C, H, W) or (C, D, H, W) as float32, and millimetres per axis or None.

    Of a ``photo``, pictures come on a scale of 0 to 255 by the bits that the file declares (16
    bits are divided by 257); of ``ct`` and ``mr``, and in volumes, the numbers stay as they are.
    ``slice_index`` takes one axial slice out of a volume. ``beside`` is the image that this is a
    further channel of: where either states no place in space (:func:`axes_beside`), this one is
    turned as that image is.
    """
    if suffix_of(path) in PICTURES:
        picture = read_picture(path)
        with _named(path):
            photo = modality not in ("ct", "mr")
            pixels = pictures.as_8_bit(picture, path) if photo else picture.pixels
            pixels = _picture_beside(pixels, path, beside)
        spacing: Spacing = picture.spacing
        if slice_index is not None:
            raise DataError(f"{path}: has no slice {slice_index}; it has 1, counted from 0")
    else:
        pixels, spacing = _read(path, slice_index, beside)
        if modality == "photo" and path.is_file() and suffix_of(path) in dicom_series.SUFFIXES:
            with _named(path):
                pixels = pixels * (255 / dicom_series.full_scale(path))
    pixels = np.asarray(pixels, np.float32)
    for what, wrong in (("infinite", np.isinf), ("not numbers (NaN)", np.isnan)):
        if (found := int(wrong(pixels).sum())) > 0:
            raise DataError(f"{path}: holds values that are {what}: {found} of {pixels.size}")
    return pixels, spacing


def read_labels(
    path: Path, slice_index: int | None = None, beside: Path | None = None
) -> np.ndarray:
    """Whole-number labels (H, W) or (D, H, W) of a mask file.

    In a picture with a palette of colours these are the indices into the palette. ``beside`` is
    the mask's image: where either states no place in space, the mask is turned as its image is.
    """
    if suffix_of(path) in PICTURES and slice_index is None:
        labels = mask_values.labels_of_picture(path, read_picture(path, mask=True))
        turned: np.ndarray = _picture_beside(labels[None], path, beside)[0]
        return turned
    pixels = mask_values.one_channel(path, _read(path, slice_index, beside)[0], lossy=False)
    return mask_values.whole_labels(path, pixels)


def read_binary(
    path: Path, slice_index: int | None = None, beside: Path | None = None
) -> np.ndarray:
    """Foreground (H, W) or (D, H, W) as bool, of a mask with one class.

    Volumes: every label above 0. Pictures: 0/1, or a threshold at half the scale (127 of 255),
    which also clears the noise of JPEG masks and soft edges; other grey levels are refused.
    """
    if suffix_of(path) not in PICTURES or slice_index is not None:
        return read_labels(path, slice_index, beside) > 0
    foreground = mask_values.foreground_of_picture(path, read_picture(path, mask=True))
    turned: np.ndarray = _picture_beside(foreground[None], path, beside)[0]
    return turned


def read_pixels(path: Path, beside: Path | None = None) -> np.ndarray:
    """Pixels (C, H, W) or (C, D, H, W) of an image in the file's own type and scale."""
    if suffix_of(path) in PICTURES:
        return _picture_beside(read_picture(path).pixels, path, beside)
    return _read(path, None, beside)[0]


def axes_beside(path: Path, beside: Path | None) -> str:
    """Directions in which a mask's or a channel's axes are taken to run beside its image.

    Empty where they are its own: both files state their place in space. Else that is not known,
    and what both have is the order in which they are stored: the image's directions are taken.
    """
    if beside is None:
        return ""
    own, image = _axes_of(path), _axes_of(beside)
    return "" if (own.stated and image.stated) or own.axes == image.axes else image.axes


@dataclass(frozen=True)
class Axes:
    """Directions by which a file is turned to be displayed, and whether it states them."""

    axes: str
    stated: bool


_NOWHERE = Axes(turning.AS_STORED, stated=False)


def _axes_of(path: Path) -> Axes:
    if suffix_of(path) in PICTURES or suffix_of(path) == ".npy":
        return _NOWHERE
    with _named(path):
        return _stated_axes(path, _changed(path))


@lru_cache(maxsize=256)
def _stated_axes(path: Path, changed: tuple[int, ...]) -> Axes:
    return _volume(path, changed).axes


def _changed(path: Path) -> tuple[int, ...]:
    return tuple(file.stat().st_mtime_ns for file in files_of(path))


def _picture_beside(pixels: np.ndarray, path: Path, beside: Path | None) -> np.ndarray:
    """Pixels (C, H, W) of a picture, turned as its image is where that is no picture."""
    axes = axes_beside(path, beside)
    if not axes:
        return pixels
    return _flat(turning.displayed(turning.as_stored(pixels[:, None], _NOWHERE.axes), axes))


def _flat(pixels: np.ndarray) -> np.ndarray:
    """A volume (C, D, H, W) of one slice as a picture (C, H, W)."""
    return pixels[:, 0] if pixels.shape[1] == 1 else pixels


def read_picture(path: Path, *, mask: bool = False) -> pictures.Picture:
    """A picture with what its file says of it; raises DataError that names the file."""
    with _named(path):
        return pictures.read_picture(path, mask=mask)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is read into DataError that names it."""
    if not path.exists():
        refuse_other_than_file(path, DataError)
        raise DataError(f"{path}: no such file")
    if is_irregular(path):
        raise DataError(f"{path}: {IRREGULAR}")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    with as_error(path, DataError), quietly():
        yield


def _read(
    path: Path, slice_index: int | None, beside: Path | None = None
) -> tuple[np.ndarray, Spacing]:
    """Pixels (C, ...) of a volume in the file's own type, and spacing."""
    with _named(path):
        if suffix_of(path) in PICTURES:
            raise ValueError("a picture has no slices")
        volume = _volume(path, _changed(path))
    axes = axes_beside(path, beside)
    pixels, spacing = volume.pixels, volume.spacing
    if axes:
        pixels = turning.displayed(turning.as_stored(pixels, volume.axes.axes), axes)
        if spacing is not None:
            own = turning.lengths_as_stored(spacing, volume.axes.axes)
            spacing = turning.lengths_displayed(own, axes)
    if pixels.shape[1] == 1:
        pixels, spacing = _flat(pixels), spacing[1:] if spacing else None
    if slice_index is None:
        return pixels, spacing
    if pixels.ndim != 4 or not 0 <= slice_index < pixels.shape[1]:
        depth = pixels.shape[1] if pixels.ndim == 4 else 1
        raise DataError(f"{path}: has no slice {slice_index}; it has {depth}, counted from 0")
    return pixels[:, slice_index], spacing[1:] if spacing else None


@dataclass(frozen=True, eq=False)
class _Volume:
    """Pixels (C, D, H, W) in display order, millimetres (D, H, W) or None, and how it is turned."""

    pixels: np.ndarray
    spacing: Spacing
    axes: Axes


@lru_cache(maxsize=2)
def _volume(path: Path, _changed: tuple[int, ...]) -> _Volume:
    """A volume as it is displayed by itself. The last image and its mask are kept."""
    suffix = suffix_of(path)
    if suffix in dicom_series.SUFFIXES and path.is_file():
        pixels, spacing = dicom_series.read_picture(path)
        pixels, spacing = pixels[:, None], (1.0, *spacing) if spacing else None
        axes = Axes(dicom_series.turn_of_file(path).axes, dicom_series.has_place(path))
    elif suffix == ".npy":
        pixels, spacing, axes = _numpy(path), None, _NOWHERE
    else:
        volume = opened(path)
        pixels, spacing = displayed(volume)
        axes = Axes("".join(aff2axcodes(volume.affine)), stated.is_placed(volume))
    if pixels.size == 0:
        raise ValueError("it has no pixels")
    if pixels.dtype.kind not in "biuf":
        kind = "complex numbers: store the magnitude" if pixels.dtype.kind == "c" else "no numbers"
        raise ValueError(f"it holds {kind}")
    pixels.setflags(write=False)
    return _Volume(pixels, spacing, axes)


def _numpy(path: Path) -> np.ndarray:
    """Pixels (1, D, H, W) of a NumPy file."""
    pixels = read_npy(path, DataError, kinds=f"{NUMBERS}c")
    if pixels.ndim not in (2, 3):
        raise ValueError(f"{pixels.ndim} axes; expected (H, W) or (D, H, W)")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4) and min(pixels.shape[:2]) >= 16:
        raise ValueError(
            f"{pixels.shape[0]} x {pixels.shape[1]} x {pixels.shape[2]} looks like colours: "
            "NumPy files are (H, W) or (D, H, W); store colours as PNG or TIFF"
        )
    return pixels[None] if pixels.ndim == 3 else pixels[None, None]


def opened(path: Path) -> nibabel.Nifti1Image:
    """A volume with its place in space in millimetres, and what its file states (``stated``)."""
    if path.is_dir():
        return dicom_series.read_series(path)
    suffix = suffix_of(path)
    if suffix == ".nrrd":
        return read_nrrd(path)
    if suffix in (".mha", ".mhd"):
        return read_metaimage(path)
    if suffix in dicom_series.SUFFIXES:
        return dicom_series.read_slice(path)
    return read_nifti(path)


def displayed(volume: nibabel.Nifti1Image) -> tuple[np.ndarray, Spacing]:
    """Pixels (C, D, H, W) in display order, and spacing (D, H, W) in millimetres or None.

    Slices from the feet up, rows from anterior to posterior, columns from the patient's right to
    left, whatever the order in the file.
    """
    spacing = stated.spacing_of(volume)
    if len(volume.shape) == 2:
        volume = nibabel.Nifti1Image(np.asanyarray(volume.dataobj)[..., None], volume.affine)
    if len(volume.shape) not in (3, 4):
        raise ValueError(f"{len(volume.shape)} axes; expected 2, 3, or 4 with channels last")
    axes = "".join(aff2axcodes(volume.affine))
    pixels = np.asanyarray(volume.dataobj)
    pixels = turning.displayed(pixels[..., None] if pixels.ndim == 3 else pixels, axes)
    return pixels, None if spacing is None else turning.lengths_displayed(spacing, axes)
