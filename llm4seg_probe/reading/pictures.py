"""Pictures: PNG, JPEG, BMP and TIFF, and none of the other formats that Pillow would guess."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import (  # noqa: F401
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
)

from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.bounds import as_error, pixels_fit

FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
"""Of Pillow's, whose plugins are imported here; others run programs (EPS) or nest formats."""
_BYTES = {"1": 1, "L": 1, "P": 1, "LA": 2, "I;16": 2, "I;16B": 2, "I;16L": 2, "RGB": 3}


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """A picture whose pixels may be decoded in the block; what fails there is told of the file.

    Raises DataError for a picture of another format, or more pixels than the bound.
    """
    with as_error(path, DataError), _our_own_bound(), Image.open(path, formats=FORMATS) as picture:
        channels = 1 if picture.mode in ("L", "I;16", "I;16B", "I;16L", "I", "F", "1") else 3
        width, height = picture.size
        # What is decoded, and what colours become on their way.
        item = max(_BYTES.get(picture.mode, 4) // channels, 1)
        pixels_fit(path, (height, width, channels), item)
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            # Pillow maps plain grey pixels into memory by the file's name, in the shape that the
            # picture has once it is turned: rows are then cut at the wrong place.
            picture.filename = ""
        yield picture


@contextmanager
def _our_own_bound() -> Iterator[None]:
    """Pillow has a bound too, which cannot be raised for one file alone."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
