"""Pictures (PNG, JPEG, BMP, TIFF) as their files say that they are meant.

What a file declares decides, never the values that happen to be in it: bits, sign and decimals
give the scale, the orientation (EXIF, TIFF) and the photometric interpretation are applied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llm4seg_probe.reading.pictures import open_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_ORIENTATION, _BITS, _COMPRESSION, _PHOTOMETRIC = 274, 258, 259, 262
_DESCRIPTION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT, _SAMPLE_FORMAT = 270, 282, 283, 296, 339
_WHITE_IS_ZERO = 0
_SIGNED, _FLOAT = 2, 3
_JPEG_IN_TIFF = (6, 7, 34892)
"""TIFF's compressions that are JPEG, old, new and lossy DNG."""
_MM = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1e3, "meter": 1e3}
_MM |= {"micron": 1e-3, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micrometer": 1e-3, "\\u00b5m": 1e-3}
_MM |= {"nm": 1e-6, "nanometer": 1e-6, "inch": 25.4, "in": 25.4}
"""Millimetres in the units that ImageJ writes into the description of a TIFF."""
_OF_PRINT = (0, 1, 36, 72, 75, 90, 96, 100, 120, 144, 150, 180, 192, 200, 240, 288, 300, 350, 400,
             500, 600, 720, 1200, 2400)  # fmt: skip
"""Dots per inch that programs write of their own: they say nothing of the thing in the picture."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of a picture as it is shown, and what its file says of them."""

    pixels: np.ndarray
    """(C, H, W): one channel, or three of colours."""
    full: float | None
    """The number that stands for white, as the bits declare it; None where nothing does."""
    kind: str
    """``bits`` (unsigned), ``signed``, ``decimal`` numbers, or ``indices`` into a palette."""
    bits: int
    lossy: bool
    """Whether its pixels were compressed with loss, whatever the name of the file says."""
    turned: int
    """EXIF's or TIFF's orientation; 1 where the picture is stored as it is shown."""
    spacing: tuple[float, float] | None
    """Millimetres per row and column, where an ImageJ calibration states them."""
    resolution: str
    """A resolution that is no usual one of print or screen, in words; empty without."""


def read_picture(path: Path, *, mask: bool = False) -> Picture:
    """The picture in a file; ``mask`` gives labels: indices of a palette, numbers as stored.

    Of several pictures in one JPEG (a thumbnail, or a second view) the first is taken, as viewers
    do. Raises DataError that names the file, and why it cannot be read.
    """
    with open_picture(path) as opened:
        frames = getattr(opened, "n_frames", 1)
        if frames > 1 and opened.format != "MPO":
            raise ValueError(f"it holds {frames} pictures, one is expected")
        tags: Mapping[int, Any] = dict(getattr(opened, "tag_v2", {}))
        turned = int(tags.get(_ORIENTATION) or opened.getexif().get(_ORIENTATION) or 1)
        tiff = opened.format == "TIFF"
        bits, kind = _declared(opened, path, tags)
        lossy = opened.format in ("JPEG", "MPO") or tags.get(_COMPRESSION) in _JPEG_IN_TIFF
        if mask:
            _not_only_alpha(opened)
        pixels, palette = _decoded(opened, mask=mask)
    # Pillow turns TIFF by itself as it reads the pixels.
    pixels = pixels if tiff else _turned(pixels, turned)
    spacing, resolution = _resolution(tags, turned) if tiff else (None, "")
    found = Picture(
        pixels, None, kind, bits, lossy, turned if 1 <= turned <= 8 else 1, spacing, resolution
    )
    return _scaled(found, palette=palette, mask=mask, white_is_zero=_inverted(tags))


@dataclass(frozen=True, eq=False)
class Palette:
    """A picture whose numbers are indices into a palette, in both ways to read it."""

    indices: np.ndarray
    """(H, W)."""
    colours: np.ndarray
    """(3, H, W) of 8 bits, as viewers show it."""

    @property
    def is_grey(self) -> bool:
        """Whether its colours are greys, which a mask is read by; else it is by the indices.

        Programs that make files smaller put the greys of a mask into a palette in any order; the
        palettes of label masks (VOC) give each index a colour.
        """
        return bool((self.colours == self.colours[:1]).all())

    @property
    def is_ambiguous(self) -> bool:
        """Whether what is not index 0 is other pixels than what is bright, or not black."""
        dark = 127 if self.is_grey else 0
        return bool(((self.indices > 0) != (self.colours > dark).any(axis=0)).any())


def palette_of(path: Path) -> Palette | None:
    """The picture as it is stored where it has a palette, else None; raises DataError."""
    with open_picture(path) as opened:
        if opened.mode != "P":
            return None
        colours = np.moveaxis(np.asarray(opened.convert("RGB")), -1, 0)
        return Palette(np.asarray(opened), colours)


def transparent_share(path: Path) -> float:
    """Share of a picture's pixels that are not fully opaque; raises DataError."""
    with open_picture(path) as opened:
        if opened.mode not in _WITH_ALPHA:
            if "transparency" not in opened.info:  # of a palette, or one colour of PNG
                return 0.0
            opened = opened.convert("RGBA")
        alpha = np.asarray(opened.getchannel(len(opened.getbands()) - 1))
        return float((alpha < 255).mean())


def as_8_bit(picture: Picture, path: Path) -> np.ndarray:
    """Pixels as float32 on a scale of 0 to 255, by what the file declares.

    Whole numbers that are signed, or of 32 bits, have no full scale: they stay as they are.
    Raises ValueError for decimal numbers, which may run to 1 or to 255.
    """
    if picture.kind == "decimal":
        raise ValueError(
            "it holds decimal numbers, whose scale nothing in a picture states: store 8 or 16 "
            "bits, or say that it is no photograph (modality ct or mr)"
        )
    pixels: np.ndarray = picture.pixels.astype(np.float32)
    return pixels if picture.full in (None, 255) else pixels / np.float32(picture.full / 255)


def _declared(picture: Image.Image, path: Path, tags: Mapping[int, Any]) -> tuple[int, str]:
    """Bits per number, and what kind of number it is."""
    if picture.mode == "1":
        return 1, "bits"
    if picture.format == "PNG":
        with path.open("rb") as stream:
            return int(stream.read(25)[24]), "bits"
    if not tags:
        return 8, "bits"
    stated = tags.get(_BITS, (1,))
    bits = int(stated[0] if isinstance(stated, tuple) else stated)
    sample = tags.get(_SAMPLE_FORMAT, (1,))
    form = int(sample[0] if isinstance(sample, tuple) else sample)
    return bits, {_SIGNED: "signed", _FLOAT: "decimal"}.get(form, "bits")


def _decoded(picture: Image.Image, *, mask: bool) -> tuple[np.ndarray, bool]:
    """Pixels (C, H, W) as Pillow shows them, and whether they are indices into a palette."""
    mode = picture.mode
    if mode == "P":
        colours = np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0)
        if (colours == colours[:1]).all():
            return colours[:1], False
        return (np.asarray(picture)[None], True) if mask else (colours, False)
    if mode == "1":
        return np.asarray(picture).astype(np.uint8)[None], False
    if mode in ("L", "I", "F") or mode.startswith("I;16"):
        pixels = np.asarray(picture)
        return pixels.astype(pixels.dtype.newbyteorder("="))[None], False
    if mode == "LA":
        return np.asarray(picture.convert("L"))[None], False
    return np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0), False


def _scaled(picture: Picture, *, palette: bool, mask: bool, white_is_zero: bool) -> Picture:
    """The picture with the number that stands for white, and white turned up where it is 0."""
    pixels, bits = picture.pixels, picture.bits
    if palette:
        return replace(picture, kind="indices")
    if picture.kind == "signed" and pixels.dtype == np.uint8:
        return replace(picture, pixels=pixels.view(np.int8))
    if picture.kind != "bits" or pixels.dtype == np.float32:
        return picture
    if pixels.dtype == np.uint8:
        if bits == 1 and pixels.max(initial=0) <= 1:
            return replace(picture, full=1.0)
        if mask and bits in (2, 4) and len(pixels) == 1:
            # Pillow spreads 2 and 4 bits over 0 to 255; the numbers of a mask are those stored.
            full = 2**bits - 1
            return replace(picture, pixels=pixels // (255 // full), full=float(full))
        return replace(picture, full=255.0)
    if bits > 16:
        return picture
    full = 2**bits - 1
    pixels = pixels.astype(np.uint16)
    if white_is_zero:  # Pillow turns it for 8 bits and fewer
        pixels = np.asarray(full - pixels, dtype=np.uint16)
    return replace(picture, pixels=pixels, full=float(full))


def _inverted(tags: Mapping[int, Any]) -> bool:
    return tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (C, H, W) as they are shown, by EXIF's orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(1, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[:, ::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray(pixels)


def _not_only_alpha(picture: Image.Image) -> None:
    """Raise ValueError where the colours say nothing, and the transparency does."""
    if picture.mode not in _WITH_ALPHA:
        return
    *colours, alpha = picture.split()
    low, high = alpha.getextrema()
    if low != high and all(len(set(colour.getextrema())) == 1 for colour in colours):
        raise ValueError(
            "its colour is the same everywhere and only the transparency differs: the mask seems "
            "to be in the alpha channel; export it as grey levels"
        )


def _resolution(tags: Mapping[int, Any], turned: int) -> tuple[tuple[float, float] | None, str]:
    """Spacing where ImageJ calibrated the picture, else a resolution that is worth a word."""
    try:
        per_unit = [float(tags[tag]) for tag in (_Y_RESOLUTION, _X_RESOLUTION)]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None, ""
    if not all(0 < number < float("inf") for number in per_unit):
        return None, ""
    if turned in (5, 6, 7, 8):
        per_unit.reverse()
    description = str(tags.get(_DESCRIPTION, ""))
    unit = re.search(r"^unit=(.+)$", description, re.MULTILINE)
    if description.startswith("ImageJ=") and unit:
        mm = _MM.get(unit[1].strip().lower())
        if mm is not None:
            return (mm / per_unit[0], mm / per_unit[1]), ""
        return None, f"{per_unit[1]:g} pixels per {unit[1].strip()}"
    centimetres = int(tags.get(_UNIT, 2) or 2) == 3
    if int(tags.get(_UNIT, 2) or 2) == 1:
        return None, ""
    dots = per_unit[1] * (2.54 if centimetres else 1)
    if any(abs(dots - usual) < 0.5 for usual in _OF_PRINT):
        return None, ""
    name = "cm" if centimetres else "inch"
    mm = (10 if centimetres else 25.4) / per_unit[1]
    return None, f"{per_unit[1]:g} pixels per {name} ({mm:.3g} mm each)"
