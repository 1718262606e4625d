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

from llm4seg_probe.data import dicom, formats
from llm4seg_probe.data.metaimage import read_metaimage
from llm4seg_probe.storage import atomically

_RIGHT_ANTERIOR_SUPERIOR = np.array([[0, 1], [1, 1], [2, 1]])
_PLACE_IN_NRRD = (
    "space", "space dimension", "space directions", "space origin", "space units", "spacings",
    "thicknesses", "kinds", "centers", "measurement frame",
)  # fmt: skip


def suffix_for(image: Path) -> str:
    """Suffix of the file that holds a mask of this image."""
    suffix = formats.suffix_of(image)
    if image.is_dir():
        return ".nii.gz"
    if suffix is None or suffix in formats.PICTURES or suffix in dicom.SUFFIXES:
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
    volume = _opened(image)
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


def _opened(image: Path) -> nibabel.Nifti1Image:
    """A volume with its place in space, whatever its format."""
    if image.is_dir():
        return dicom.read_series(image)
    suffix = suffix_for(image)
    if suffix == ".nrrd":
        return formats.read_nrrd(image)
    return read_metaimage(image) if suffix == ".mha" else nibabel.load(image)


def _write_picture(labels: np.ndarray, image: Path, target: Path) -> None:
    with atomically(target) as partial:
        Image.fromarray(labels).save(partial)


def _write_numpy(labels: np.ndarray, image: Path, target: Path) -> None:
    _save_numpy(labels.reshape(np.load(image, mmap_mode="r", allow_pickle=False).shape), target)


def _save_numpy(pixels: np.ndarray, target: Path) -> None:
    with atomically(target) as partial:
        np.save(partial, pixels, allow_pickle=False)


def _write_nifti(labels: np.ndarray, image: Path, target: Path) -> None:
    volume = _opened(image)
    header = volume.header.copy()
    header.set_data_dtype(labels.dtype)
    header["cal_min"] = header["cal_max"] = 0  # the image's window would hide the labels
    pixels = undisplayed(labels, volume)
    _save_nifti(type(volume)(pixels, volume.affine, header), target)


def _save_nifti(volume: nibabel.Nifti1Image, target: Path) -> None:
    content = volume.to_bytes()
    packed = gzip.compress(content, mtime=0) if target.name.endswith(".gz") else content
    with atomically(target) as partial:
        partial.write_bytes(packed)


def _write_nrrd(labels: np.ndarray, image: Path, target: Path) -> None:
    header = nrrd.read_header(str(image))
    place = {key: header[key] for key in _PLACE_IN_NRRD if key in header}
    with atomically(target) as partial:
        nrrd.write(str(partial), undisplayed(labels, formats.read_nrrd(image)), place)


def _write_metaimage(labels: np.ndarray, image: Path, target: Path) -> None:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(image))
    reader.ReadImageInformation()
    axes = min(reader.GetDimension(), 3)
    pixels = undisplayed(labels, read_metaimage(image))
    if axes == 2:
        pixels = pixels[:, :, 0]
    # SimpleITK takes the last axis first.
    mask = SimpleITK.GetImageFromArray(np.ascontiguousarray(pixels.T))
    direction = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:axes, :axes]
    mask.SetSpacing(reader.GetSpacing()[:axes])
    mask.SetOrigin(reader.GetOrigin()[:axes])
    mask.SetDirection(direction.flatten().tolist())
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
