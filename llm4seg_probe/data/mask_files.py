"""Writing what was computed of an image on the image's own grid, in its own format.

| image | written as |
| --- | --- |
| PNG, JPEG, BMP, TIFF, one DICOM picture | PNG of the same size |
| NIfTI, NRRD, MetaImage | the same, with shape, axes and place in space of the file itself |
| a folder with a DICOM series | NIfTI, in the order and place of its slices |
| NumPy | NumPy |
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
from nibabel.orientations import apply_orientation, io_orientation, ornt_transform
from PIL import Image

from llm4seg_probe.data import (
    dicom_series,
    formats,
)
from llm4seg_probe.data.nrrd_volume import spatial_axes
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.arrays import read_npy
from llm4seg_probe.reading.metaimage import read_metaimage_file
from llm4seg_probe.reading.nifti import open_nifti, without_log
from llm4seg_probe.reading.nrrd import read_nrrd_header
from llm4seg_probe.storage import atomically

_RIGHT_ANTERIOR_SUPERIOR = np.array([[0, 1], [1, 1], [2, 1]])
_PER_AXIS = ("space directions", "spacings", "thicknesses", "kinds", "centers")
_PLACE_IN_NRRD = (
    "space", "space dimension", "space directions", "space origin", "space units", "spacings",
    "thicknesses", "kinds", "centers", "measurement frame",
)  # fmt: skip


def suffix_for(image: Path) -> str:
    """Suffix of the file that holds a mask of this image."""
    suffix = formats.suffix_of(image)
    if image.is_dir():
        return ".nii.gz"
    if suffix is None or suffix in formats.PICTURES or suffix in dicom_series.SUFFIXES:
        return ".png"
    return ".mha" if suffix == ".mhd" else suffix


def write_mask(labels: np.ndarray, image: Path, target: Path) -> None:
    """Write whole numbers (H, W) or (D, H, W), as ``image`` is read, in the image's own grid.

    ``target`` ends in :func:`suffix_for` the image. Numbers up to 65535 are kept as they are.
    """
    kept = labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
    _WRITERS[suffix_for(image)](kept, image, target)


def write_probabilities(probabilities: np.ndarray, image: Path, target: Path) -> None:
    """Write probabilities (K, H, W) or (K, D, H, W): ``.nii.gz`` for volumes, else ``.npy``.

    A NIfTI file lies where the image lies, with the classes as its last axis where there are
    several; NumPy has the axes as they are here.
    """
    if target.suffix == ".npy":
        _save_numpy(probabilities.astype(np.float32), target)
        return
    volume = formats.opened(image)
    classes = [undisplayed(plane.astype(np.float32), volume) for plane in probabilities]
    pixels = classes[0] if len(classes) == 1 else np.stack(classes, axis=-1)
    _save_nifti(nibabel.Nifti1Image(pixels, volume.affine), target)


def has_place(image: Path) -> bool:
    """Whether a file of this format says where in space its pixels lie."""
    return suffix_for(image) not in (".png", ".npy")


def undisplayed(pixels: np.ndarray, volume: nibabel.Nifti1Image) -> np.ndarray:
    """Pixels (D, H, W), or (H, W) of one slice, in the order of the volume's own axes.

    The inverse of :func:`llm4seg_probe.data.formats.displayed` for one channel.
    """
    stacked = pixels if pixels.ndim == 3 else pixels[None]
    canonical = stacked.transpose(2, 1, 0)[::-1, ::-1]
    back = ornt_transform(_RIGHT_ANTERIOR_SUPERIOR, io_orientation(volume.affine))
    turned: np.ndarray = apply_orientation(canonical, back)
    return np.ascontiguousarray(turned.reshape(volume.shape[:3]))


def _write_picture(labels: np.ndarray, image: Path, target: Path) -> None:
    """On the grid that is shown: a JPEG that EXIF turns gives a mask that stands upright."""
    if formats.suffix_of(image) in dicom_series.SUFFIXES:
        labels = dicom_series.turn_of_file(image).undo(labels)
    with atomically(target) as partial:
        Image.fromarray(labels).save(partial)


def _write_numpy(labels: np.ndarray, image: Path, target: Path) -> None:
    _save_numpy(labels.reshape(read_npy(image, DataError).shape), target)


def _save_numpy(pixels: np.ndarray, target: Path) -> None:
    with atomically(target) as partial:
        np.save(partial, pixels, allow_pickle=False)


def _write_nifti(labels: np.ndarray, image: Path, target: Path) -> None:
    volume = formats.opened(image)
    with without_log():
        own = volume if image.is_dir() else open_nifti(image)  # with the unit of its file
    header = own.header.copy()
    header.set_data_dtype(labels.dtype)
    header["cal_min"] = header["cal_max"] = 0  # the image's window would hide the labels
    pixels = undisplayed(labels, volume)
    _save_nifti(type(own)(pixels, own.affine, header), target)


def _save_nifti(volume: nibabel.Nifti1Image, target: Path) -> None:
    content = volume.to_bytes()
    packed = gzip.compress(content, mtime=0) if target.name.endswith(".gz") else content
    with atomically(target) as partial:
        partial.write_bytes(packed)


def _write_nrrd(labels: np.ndarray, image: Path, target: Path) -> None:
    header = read_nrrd_header(image)
    place = {key: header[key] for key in _PLACE_IN_NRRD if key in header}
    volume = formats.read_nrrd(image)
    pixels = undisplayed(labels, volume)
    if len(volume.shape) > 3:  # colours: the mask has the axes that lie in space
        spatial = spatial_axes(header)
        pixels = pixels.reshape([pixels.shape[axis] for axis in range(len(spatial))])
        for key in _PER_AXIS:
            if key in place:
                place[key] = [place[key][axis] for axis in spatial]
        if "space directions" in place:
            place["space directions"] = np.array(place["space directions"], float)
    with atomically(target) as partial:
        nrrd.write(str(partial), pixels, place)


def _write_metaimage(labels: np.ndarray, image: Path, target: Path) -> None:
    import SimpleITK

    source = read_metaimage_file(image)
    axes = min(source.axes, 3)
    pixels = undisplayed(labels, formats.read_metaimage(image))
    if axes == 2:
        pixels = pixels[:, :, 0]
    # SimpleITK takes the last axis first.
    mask = SimpleITK.GetImageFromArray(np.ascontiguousarray(pixels.T))
    mask.SetSpacing(source.spacing[:axes])
    mask.SetOrigin(source.origin[:axes])
    mask.SetDirection(source.direction[:axes, :axes].flatten().tolist())
    with atomically(target) as partial:
        SimpleITK.WriteImage(mask, str(partial), useCompression=True)


_WRITERS: dict[str, Callable[[np.ndarray, Path, Path], Any]] = {
    ".png": _write_picture,
    ".npy": _write_numpy,
    ".nii": _write_nifti,
    ".nii.gz": _write_nifti,
    ".nrrd": _write_nrrd,
    ".mha": _write_metaimage,
}
