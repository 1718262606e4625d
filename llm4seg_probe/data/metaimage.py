"""MetaImage volumes (.mha, and .mhd with its pixel file), through SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np


def read_metaimage(path: Path) -> nibabel.Nifti1Image:
    """A MetaImage with its place in space, as a NIfTI image in memory, channels last.

    Raises ValueError with SimpleITK's reason.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO")
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        # The last line is the reason; those before it are places in ITK's own source.
        raise ValueError(str(error).strip().splitlines()[-1]) from error
    return _as_nifti(image, SimpleITK.GetArrayFromImage(image))


def pixel_files(path: Path) -> tuple[Path, ...]:
    """The files beside an ``.mhd`` header that hold its pixels; none for an ``.mha``."""
    beside = []
    for line in path.read_bytes()[:65536].splitlines():
        key, equals, value = line.partition(b"=")
        if equals and key.strip() == b"ElementDataFile":
            beside = [path.parent / Path(value.strip().decode("utf-8", "replace")).name]
            break
    return tuple(file for file in beside if file.is_file() and file != path)


def _as_nifti(image: Any, pixels: np.ndarray) -> nibabel.Nifti1Image:
    # SimpleITK gives the last axis first, and the components of a pixel behind all axes.
    axes = image.GetDimension()
    pixels = pixels.transpose(*range(axes - 1, -1, -1), *range(axes, pixels.ndim))
    if axes == 2:
        pixels = pixels[:, :, None]
    if axes == 4 and image.GetNumberOfComponentsPerPixel() > 1:
        raise ValueError("it has 4 axes and several components per pixel")
    space = min(axes, 3)
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (axes, axes))[:space, :space]
    affine[:space, :space] = direction * np.array(image.GetSpacing()[:space])
    affine[:space, 3] = image.GetOrigin()[:space]
    # ITK's axes grow towards the left and the back, NIfTI's towards the right and the front.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    if pixels.dtype in (np.int64, np.uint64):
        pixels = pixels.astype(np.int32)
    return nibabel.Nifti1Image(pixels, affine)
