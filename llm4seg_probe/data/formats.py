"""Reading image and mask files: PNG, JPEG, BMP, TIFF, NIfTI, NRRD, MetaImage, DICOM, NumPy.

A folder of DICOM files is one volume, wherever the path of an image may stand.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import nibabel
import nrrd
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from PIL import Image

from llm4seg_probe.data import dicom
from llm4seg_probe.data.metaimage import pixel_files, read_metaimage
from llm4seg_probe.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".npy", *dicom.SUFFIXES)
SUFFIXES = (*PICTURES, *VOLUMES)

Spacing = tuple[float, ...] | None

_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    SyntaxError,
    zlib.error,
    nrrd.NRRDError,
    ImageFileError,
    HeaderDataError,
    Image.DecompressionBombError,
)


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
        return bool(dicom.series_files(path))
    return suffix_of(path) is not None and path.is_file()


def files_of(path: Path) -> tuple[Path, ...]:
    """All files that an image is made of: itself, the slices of a series, the pixels of a header.

    >>> [path.name for path in files_of(Path("a.png"))]
    ['a.png']
    """
    if path.is_dir():
        return dicom.series_files(path)
    if suffix_of(path) == ".mhd":
        return (path, *pixel_files(path))
    return (path,)


def read_image(path: Path, slice_index: int | None = None) -> tuple[np.ndarray, Spacing]:
    """Pixels (C, H, W) or (C, D, H, W) as float32, and millimetres per axis or None.

    Pictures come on a scale of 0 to 255 (16-bit ones are divided by 257), volumes in their own
    units. ``slice_index`` takes one axial slice out of a volume.
    """
    found, spacing = _read(path, slice_index)
    pixels: np.ndarray = found.astype(np.float32)
    if found.dtype == np.uint16 and suffix_of(path) in PICTURES:
        pixels /= 257
    if not np.isfinite(pixels).all():
        raise DataError(f"{path}: holds values that are not numbers (NaN or infinite)")
    return pixels, spacing


def read_labels(path: Path, slice_index: int | None = None) -> np.ndarray:
    """Whole-number labels (H, W) or (D, H, W) of a mask file.

    In a picture with a palette of colours these are the indices into the palette.
    """
    pixels = _grey(path, _read(path, slice_index, _mask_pixels)[0])
    if np.issubdtype(pixels.dtype, np.integer):
        return pixels
    labels = np.rint(pixels)
    if not np.array_equal(labels, pixels):
        raise DataError(f"{path}: a mask holds whole numbers, this one has {_first_odd(pixels)}")
    return np.asarray(labels, dtype=np.int64)


def read_binary(path: Path, slice_index: int | None = None) -> np.ndarray:
    """Foreground (H, W) or (D, H, W) as bool, of a mask with one class.

    Volumes: every label above 0. Pictures: 0/1, or a threshold at half the scale (127 of 255),
    which also clears the noise of JPEG masks.
    """
    if suffix_of(path) not in PICTURES:
        return read_labels(path, slice_index) > 0
    pixels = _grey(path, _read(path, slice_index, _mask_pixels)[0])
    half = 32767 if pixels.dtype == np.uint16 else 127
    highest = int(pixels.max())
    if suffix_of(path) in (".jpg", ".jpeg") or highest > half:
        return np.asarray(pixels > half)
    if highest > 1:
        raise DataError(
            f"{path}: a mask of one class holds 0 and 1, or 0 and 255; this one goes up to "
            f"{highest}. Name its classes (data.classes) if these are labels"
        )
    return pixels > 0


def read_pixels(path: Path) -> np.ndarray:
    """Pixels (C, H, W) or (C, D, H, W) of an image in the file's own type and scale."""
    return _read(path, None)[0]


def _read(
    path: Path,
    slice_index: int | None,
    decode: Callable[[Image.Image], np.ndarray] | None = None,
) -> tuple[np.ndarray, Spacing]:
    """Pixels (C, ...) in the file's own type, and spacing; ``decode`` is for pictures."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        if suffix_of(path) in PICTURES:
            pixels, spacing = _picture(path, decode or _image_pixels), None
        else:
            pixels, spacing = _volume(path, path.stat().st_mtime_ns)
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not readable ({reason})") from error
    if slice_index is None:
        return pixels, spacing
    if pixels.ndim != 4 or not 0 <= slice_index < pixels.shape[1]:
        depth = pixels.shape[1] if pixels.ndim == 4 else 1
        raise DataError(f"{path}: has no slice {slice_index}; it has {depth}, counted from 0")
    return pixels[:, slice_index], spacing[1:] if spacing else None


def _picture(path: Path, decode: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    with Image.open(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise ValueError(f"it holds {frames} pictures, one is expected")
        pixels = decode(picture)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype == np.int32 and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)
    return pixels if pixels.ndim == 3 else pixels[None]


def _image_pixels(picture: Image.Image) -> np.ndarray:
    """What the picture shows: (H, W), or (3, H, W) where it has colours; transparency left out."""
    if picture.mode == "P":
        return _palette(picture)
    if picture.mode in ("1", "L", "I;16", "I;16B", "I;16L", "I", "F"):
        return np.asarray(picture)
    if picture.mode == "LA":
        return np.asarray(picture.convert("L"))
    return np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)


def _mask_pixels(picture: Image.Image) -> np.ndarray:
    """As an image, but indices where there is a palette of colours: those are labels."""
    shown = _image_pixels(picture)
    return np.asarray(picture) if picture.mode == "P" and shown.ndim == 3 else shown


def _palette(picture: Image.Image) -> np.ndarray:
    """Colours of a palette picture; a grey palette gives one channel."""
    colours = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
    grey = (colours == colours[:1]).all()
    return np.asarray(colours[0] if grey else colours)


@lru_cache(maxsize=2)
def _volume(path: Path, _changed: int) -> tuple[np.ndarray, Spacing]:
    """A volume (C, D, H, W), or (C, H, W) of one slice. The last image and its mask are kept."""
    suffix = suffix_of(path)
    if suffix in dicom.SUFFIXES and path.is_file():
        pixels, spacing = dicom.read_picture(path)
    elif suffix == ".npy":
        pixels, spacing = np.load(path, allow_pickle=False), None
        if pixels.ndim not in (2, 3):
            raise ValueError(f"{pixels.ndim} axes; expected (H, W) or (D, H, W)")
        pixels = pixels[None]
    else:
        pixels, spacing = displayed(_opened(path))
    if pixels.size == 0:
        raise ValueError("it has no pixels")
    if pixels.ndim == 4 and pixels.shape[1] == 1:
        pixels, spacing = pixels[:, 0], spacing[1:] if spacing else None
    pixels.setflags(write=False)
    return pixels, spacing


def _opened(path: Path) -> nibabel.Nifti1Image:
    if path.is_dir():
        return dicom.read_series(path)
    suffix = suffix_of(path)
    if suffix == ".nrrd":
        return read_nrrd(path)
    if suffix in (".mha", ".mhd"):
        return read_metaimage(path)
    return nibabel.load(path)


def displayed(volume: nibabel.Nifti1Image) -> tuple[np.ndarray, tuple[float, ...]]:
    """Pixels (C, D, H, W) in display order, and spacing (D, H, W) in millimetres.

    Slices from the feet up, rows from anterior to posterior, columns from the patient's right to
    left, whatever the order in the file.
    """
    if len(volume.shape) == 2:
        volume = nibabel.Nifti1Image(np.asanyarray(volume.dataobj)[..., None], volume.affine)
    if len(volume.shape) not in (3, 4):
        raise ValueError(f"{len(volume.shape)} axes; expected 2, 3, or 4 with channels last")
    # Canonical is right, anterior, superior; the display runs the other way in the first two.
    canonical = nibabel.as_closest_canonical(volume)
    pixels = np.asanyarray(canonical.dataobj)[::-1, ::-1]
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    x, y, z = (float(length) for length in canonical.header.get_zooms()[:3])
    return np.ascontiguousarray(pixels.transpose(3, 2, 1, 0)), (z, y, x)


def read_nrrd(path: Path) -> nibabel.Nifti1Image:
    """An NRRD volume with its place in space, as a NIfTI image in memory."""
    pixels, header = nrrd.read(str(path))
    if pixels.ndim not in (2, 3):
        raise ValueError(f"{pixels.ndim} axes; expected 2 or 3")
    affine = np.eye(4)
    directions = header.get("space directions")
    if directions is not None and np.shape(directions) == (3, 3):
        affine[:3, :3] = np.asarray(directions, dtype=float).T
        affine[:3, 3] = np.asarray(header.get("space origin", np.zeros(3)), dtype=float)
    else:
        spacings = np.asarray(header.get("spacings", np.ones(pixels.ndim)), dtype=float)
        affine[range(pixels.ndim), range(pixels.ndim)] = spacings
    if str(header.get("space", "left-posterior-superior")).startswith("left-posterior"):
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    if pixels.dtype in (np.int64, np.uint64):
        pixels = pixels.astype(np.int32)
    return nibabel.Nifti1Image(pixels, affine)


def _grey(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The one channel of a mask; a colour mask passes when its channels are the same."""
    # JPEG keeps colour and brightness apart, so that equal channels come back nearly equal.
    allowed = 8 if suffix_of(path) in (".jpg", ".jpeg") else 0
    if np.ptp(pixels.astype(np.float32), axis=0).max(initial=0) > allowed:
        raise DataError(
            f"{path}: a mask has one channel; this one has {pixels.shape[0]} that differ "
            "(a coloured overlay?)"
        )
    return np.asarray(pixels[0])


def _first_odd(pixels: np.ndarray) -> float:
    return float(pixels[np.rint(pixels) != pixels].flat[0])
