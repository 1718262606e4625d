"""NIfTI files: what the header announces is checked before a voxel is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel import imageglobals

from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.bounds import as_error, pixels_fit, quietly, refuse_more


@contextmanager
def without_log() -> Iterator[None]:
    """Run a block in which nibabel says nothing: it repairs headers in memory, and names no file.

    To take its handlers away, as nibabel's own suppressor does, leaves Python's last resort.
    """
    logger = imageglobals.logger
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def open_nifti(path: Path) -> Any:
    """A NIfTI image whose voxels nibabel may read. Raises DataError for one that cannot be read."""
    with as_error(path, DataError), quietly(), without_log():
        image = nibabel.load(path)
        if type(image) not in (nibabel.Nifti1Image, nibabel.Nifti2Image):
            raise ValueError(f"it is a {type(image).__name__}, no NIfTI file")
        header = image.header
        dtype = np.dtype(header.get_data_dtype())
        # Colours and complex numbers have names and messages of their own in data/nifti.py.
        if dtype.kind not in "biufc" and dtype.names is None:
            raise ValueError(f"its voxels are of type {dtype}; plain numbers are read")
        offset = float(header["vox_offset"])
        packed = path.name.lower().endswith(".gz")
        size = path.stat().st_size
        what = f"{path}: its voxels begin at byte {offset:.3g}"
        refuse_more("text", offset, what, DataError)
        slope, shift = header.get_slope_inter()
        scaled = (slope, shift) not in ((None, None), (1.0, 0.0))
        pixels_fit(
            path,
            image.shape,
            dtype.itemsize,
            held=size if packed else max(0, size - int(offset)),
            compressed=packed,
            scaled=scaled,
        )
    return image
