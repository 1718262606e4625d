"""Images without masks: the files of a folder, as they are given for prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import RawImage
from llm4seg_probe.data.folders import IMAGES, by_stem
from llm4seg_probe.data.layout import DESCRIPTION, modality_of, read_description
from llm4seg_probe.errors import DataError


def images_in(place: Path) -> dict[str, Path]:
    """Images by name: one file, the files of a folder or of its ``images/``, or a DICOM series.

    In natural order, masks beside them left alone. Raises DataError that names the place.
    """
    if not place.exists():
        raise DataError(f"no such file or folder: {place}")
    if formats.is_image(place):
        return {place.resolve().name if place.is_dir() else formats.stem_of(place): place}
    if place.is_file():
        raise DataError(f"{place}: is no image of a known format ({', '.join(formats.SUFFIXES)})")
    folder = place / IMAGES if (place / IMAGES).is_dir() else place
    found = by_stem(folder)
    if not found:
        raise DataError(f"{folder}: no images ({', '.join(formats.SUFFIXES)}) in this folder")
    return found


def read_new(
    path: Path, place: Path, modality: str | None = None, otherwise: str | None = None
) -> RawImage:
    """An image on its own grid, with a mask of no classes.

    What it is (ct, mr or photo) is ``modality``; without, what ``dataset.json`` in the folder
    ``place`` or the file itself says, and ``otherwise`` where neither does. Raises DataError that
    names the file where nothing says it.
    """
    pixels, spacing = formats.read_image(path)
    stated = str(read_description(place).get("modality", "")) if place.is_dir() else ""
    known = modality_of(modality or stated, path, str(path))
    if known == "unknown" and otherwise is not None:
        known = otherwise
    if known == "unknown":
        raise DataError(
            f"{path}: does not say whether it is ct, mr or photo: add --modality, or write it as "
            f"'modality' into {DESCRIPTION} in its folder"
        )
    return RawImage(pixels, np.zeros((0, *pixels.shape[1:]), bool), spacing, known)
