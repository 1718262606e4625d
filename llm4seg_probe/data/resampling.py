"""Pixels brought to another grid: of a wanted size, or of a wanted distance between pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from llm4seg_probe.errors import DataError

LINEAR = {2: "bilinear", 3: "trilinear"}
"""torch's name of linear interpolation, by the number of axes."""
NEAREST = "nearest-exact"


def resized(pixels: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Pixels (C, *grid) on a grid of that size; the same tensor where it has it already."""
    if tuple(pixels.shape[1:]) == tuple(size):
        return pixels
    return interpolate(pixels[None], tuple(size), mode=mode)[0]


def size_at(
    size: Sequence[int], spacing: Sequence[float] | None, wanted: Sequence[float]
) -> tuple[int, ...]:
    """Pixels per axis of an image of ``size`` pixels once they are ``wanted`` millimetres apart.

    Rounded, so that the distance comes out as near as a whole number of pixels allows; at least
    one. Raises DataError where ``spacing``, the distance now, is not known or has other axes.

    >>> size_at((100, 200), (0.5, 0.5), (1.0, 2.0))
    (50, 50)
    """
    if spacing is None:
        raise DataError(
            f"data.spacing is {list(wanted)}, but the file does not say how many millimetres "
            "apart its pixels are: write it as spacing_y and spacing_x (and spacing_z) in "
            "samples.csv, or set data.spacing to null"
        )
    if len(spacing) != len(size):
        raise DataError(
            f"the spacing {list(spacing)} has {len(spacing)} numbers for {len(size)} axes"
        )
    return tuple(
        max(1, round(length * step / new))
        for length, step, new in zip(size, spacing, wanted, strict=True)
    )
