"""Effective receptive fields: how far around one position the mass lies, and on which side.

A field is (B, *grid), not negative: how much each position of the input moves one output. Its
centre is the position of that output, one index per axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def distances(size: Sequence[int], centre: Sequence[int]) -> Tensor:
    """Euclidean distance of each position from the centre, in positions: (*size), float64.

    >>> distances((1, 4), (0, 1)).tolist()
    [[1.0, 0.0, 1.0, 2.0]]
    """
    squares = torch.zeros(tuple(size), dtype=torch.float64)
    for axis, (length, middle) in enumerate(zip(size, centre, strict=True)):
        along = (torch.arange(length, dtype=torch.float64) - middle).square()
        squares = squares + along.reshape([-1 if i == axis else 1 for i in range(len(size))])
    return squares.sqrt()


def field_radius(field: Tensor, centre: Sequence[int], share: float) -> Tensor:
    """Radius of the smallest disc (ball) that holds a share of the field's mass: (B,), float64.

    In positions, 0 where the centre alone holds it. NaN for a field without mass. Positions of
    equal distance count together.

    >>> field_radius(torch.tensor([[[1.0, 2.0, 1.0]]]), (0, 1), 0.5).item()
    0.0
    """
    away = distances(field.shape[1:], centre).flatten()
    radii, ring = torch.unique(away, return_inverse=True)
    mass = torch.zeros(len(field), len(radii), dtype=torch.float64)
    mass.index_add_(1, ring, field.flatten(1).double())
    held = mass.cumsum(1) / mass.sum(1, keepdim=True)
    # A share that is reached but for rounding is reached.
    found: Tensor = radii[(held >= share - 1e-9).double().argmax(1)]
    return found.where(mass.sum(1) > 0, math.nan)


def raster_sides(field: Tensor, centre: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Mass before and after the centre in raster order, as shares, and their asymmetry: (B,) each.

    The asymmetry compares the mean field on both sides, since they need not have equally many
    positions: (before − after) / (before + after), 1 when nothing comes after the centre, as
    under a causal mask, 0 when both sides weigh the same. float64; NaN without mass, and for the
    asymmetry without mass beside the centre.

    >>> [side.item() for side in raster_sides(torch.tensor([[[1.0, 2.0, 0.0]]]), (0, 1))]
    [0.3333333333333333, 0.0, 1.0]
    """
    flat = field.flatten(1).double()
    place = _raster(field.shape[1:], centre)
    before, after = flat[:, :place].sum(1), flat[:, place + 1 :].sum(1)
    total = flat.sum(1)
    means = before / max(place, 1), after / max(flat.shape[1] - place - 1, 1)
    asymmetry = (means[0] - means[1]) / (means[0] + means[1])
    return before / total, after / total, asymmetry


def radial_profile(field: Tensor, centre: Sequence[int]) -> Tensor:
    """Mean field in rings of one position's width around the centre: (B, R), float64.

    Ring r holds the positions whose distance rounds to r; R − 1 is the largest distance.

    >>> radial_profile(torch.tensor([[[0.0, 4.0, 2.0, 1.0]]]), (0, 1)).tolist()
    [[4.0, 1.0, 1.0]]
    """
    rings = distances(field.shape[1:], centre).round().long().flatten()
    sums = torch.zeros(len(field), int(rings.max()) + 1, dtype=torch.float64)
    sums.index_add_(1, rings, field.flatten(1).double())
    # A ring may hold no position, in a grid of one row with a far centre for one.
    return sums / torch.bincount(rings).clamp_min(1)


def _raster(size: Sequence[int], centre: Sequence[int]) -> int:
    place = 0
    for length, index in zip(size, centre, strict=True):
        place = place * length + index
    return place
