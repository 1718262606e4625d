"""From the numbers in a mask file to labels, or to foreground: what they can mean, or a refusal.

A picture of one class holds 0 and 1, 0 and white, or grey levels of soft edges, which are cut at
half the scale. Labels, numbered objects and 255 for "not judged" look alike to a threshold; they
are told by their flat areas of grey, and refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llm4seg_probe.data.pictures import Picture
from llm4seg_probe.errors import DataError

NEARLY_WHOLE = 1e-4
"""How far from a whole number a label may lie that a file's own scale factor made."""
_LARGEST = 2**31
_JPEG_NOISE = 8
_NEAR_END = 1 / 16
"""Share of the scale within which a grey level counts as black or as white."""
_BLACK_OR_WHITE, _WHITE_OF_BRIGHT, _FLAT = 0.5, 0.25, 0.25
"""Least share of pixels that are black or white, and of those not black that are white, where
edges are soft; largest share of grey pixels that lie in flat areas."""
_LEVELS_OF_SOFT = 8


def one_channel(path: Path, pixels: np.ndarray, *, lossy: bool) -> np.ndarray:
    """The one channel of a mask; a colour mask passes when its channels are the same."""
    # JPEG keeps colour and brightness apart, so that equal channels come back nearly equal.
    allowed = _JPEG_NOISE if lossy else 0
    if len(pixels) > 1 and np.ptp(pixels.astype(np.float32), axis=0).max(initial=0) > allowed:
        raise DataError(
            f"{path}: a mask has one channel; this one has {pixels.shape[0]} that differ "
            "(a coloured overlay?)"
        )
    return np.asarray(pixels[0])


def whole_labels(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Whole numbers of an array; those that a scale factor left within 1e-4 of one are rounded.

    Raises DataError for fractions, for what is no number, infinite, or beyond 32 bits.
    """
    if np.issubdtype(pixels.dtype, np.integer) or pixels.dtype == bool:
        return pixels if pixels.dtype != bool else pixels.astype(np.uint8)
    for what, found in (("not a number (NaN)", np.isnan(pixels)), ("infinite", np.isinf(pixels))):
        if found.any():
            raise DataError(
                f"{path}: a mask holds whole numbers; {int(found.sum())} of its voxels are {what}"
            )
    labels = np.rint(pixels)
    odd = np.abs(labels - pixels) > NEARLY_WHOLE
    if odd.any():
        raise DataError(
            f"{path}: a mask holds whole numbers, this one has {float(pixels[odd].flat[0])}"
        )
    if np.abs(labels).max(initial=0) >= _LARGEST:
        raise DataError(f"{path}: holds the label {float(labels.max()):g}, which is no label")
    return np.asarray(labels, dtype=np.int64)


def rounded(pixels: np.ndarray) -> bool:
    """Whether labels are not quite whole in the file, and are rounded as they are read."""
    if np.issubdtype(pixels.dtype, np.integer) or pixels.dtype == bool:
        return False
    return bool(np.isfinite(pixels).all() and (np.rint(pixels) != pixels).any())


def labels_of_picture(path: Path, picture: Picture) -> np.ndarray:
    """Labels (H, W) of a picture; raises DataError for JPEG, which does not keep them."""
    if picture.lossy:
        raise DataError(
            f"{path}: its labels were stored with loss (JPEG), which mixes them at every edge: "
            "store label masks as PNG, from their source"
        )
    return whole_labels(path, one_channel(path, picture.pixels, lossy=False))


def foreground_of_picture(path: Path, picture: Picture) -> np.ndarray:
    """Foreground (H, W) of a picture of one class. Raises DataError for values of several."""
    pixels = one_channel(path, picture.pixels, lossy=picture.lossy)
    if not np.isfinite(pixels).all():
        return whole_labels(path, pixels) > 0  # raises
    highest = pixels.max(initial=0)
    if highest <= 1 and not picture.lossy:
        return whole_labels(path, pixels) > 0
    full = picture.full or (255.0 if highest <= 255 else 65535.0)
    if highest == 255 and not picture.lossy and np.isin(pixels, (0, 255)).all():
        return pixels > 0  # 0 and 255 of a program that writes 16 bits
    if pixels.min(initial=0) < 0:
        raise DataError(f"{path}: a mask of one class holds 0 and 1, this one has negative values")
    half = (full - 1) / 2
    if highest <= half and not (picture.lossy and highest <= _JPEG_NOISE):
        raise DataError(f"{path}: {_ONE_CLASS}; this one goes up to {highest:g}. {_NAME_THEM}")
    why = "" if picture.lossy else _why_not_soft(pixels, full, picture.kind == "indices")
    if why:
        raise DataError(f"{path}: {_ONE_CLASS}; this one {why}. {_NAME_THEM}")
    return np.asarray(pixels > half)


_ONE_CLASS = "a mask of one class holds 0 and 1, or 0 and 255"
_NAME_THEM = (
    "Name its classes (data.classes) if these are labels; write numbered objects, and pixels that "
    "are not judged, as 0 or 255"
)


def _why_not_soft(pixels: np.ndarray, full: float, indices: bool) -> str:
    """Why grey levels are no soft edges; empty where they may be, or where there are none."""
    counted, numbers = np.unique(pixels, return_counts=True)
    between = (counted != 0) & (counted != full)
    if counted.size <= 2 and (not between.any() or (counted[0] == 0 and not indices)):
        return ""
    levels = counted[between]
    shown = ", ".join(f"{value:g}" for value in counted[:6]) + (", …" if counted.size > 6 else "")
    if indices:
        return f"has a palette and the indices {shown}"
    dark, bright = counted <= full * _NEAR_END, counted >= full * (1 - _NEAR_END)
    black, white = numbers[dark].sum(), numbers[bright].sum()
    middle = pixels.size - black - white
    if black + white < _BLACK_OR_WHITE * pixels.size or white < _WHITE_OF_BRIGHT * (white + middle):
        return f"holds grey levels all over ({shown})"
    if (levels <= full * _NEAR_END).all():
        return f"holds {shown}"
    # Noise of JPEG lies at both ends; low numbers alone are labels.
    noisy = bool((bright & between).any())
    grey = (pixels > full * _NEAR_END) & (pixels < full * (1 - _NEAR_END))
    labels = counted[0] == 0 and levels.size < _LEVELS_OF_SOFT  # 1 beside a rim of 254
    low = (pixels > 0) & (pixels <= full * _NEAR_END)
    grey = grey if noisy and not labels else grey | low
    flat = _in_flat_areas(pixels) & grey
    few = levels.size < _LEVELS_OF_SOFT or white < 4 * middle
    if few and flat.sum() > max(_FLAT * grey.sum(), 3):
        return f"has flat areas of grey ({shown})"
    return ""


def _in_flat_areas(pixels: np.ndarray) -> np.ndarray:
    """Pixels with an equal neighbour in both directions; along a soft edge there is one at most."""
    down = np.diff(pixels.astype(np.float64), axis=0) == 0
    along = np.diff(pixels.astype(np.float64), axis=1) == 0
    vertical = np.pad(down, ((1, 0), (0, 0))) | np.pad(down, ((0, 1), (0, 0)))
    horizontal = np.pad(along, ((0, 0), (1, 0))) | np.pad(along, ((0, 0), (0, 1)))
    return np.asarray(vertical & horizontal)
