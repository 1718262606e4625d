"""Where an attribution lies against a mask, and how far its sum is from what it explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_POOL: dict[int, Callable[[Tensor, Any], Tensor]] = {
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}


def inside_share(maps: Tensor, masks: Tensor) -> Tensor:
    """Share of a map's absolute value that lies inside the mask: (B,), 0 to 1, in float64.

    maps: (B, *grid), signed; masks: (B, *size), 0 or 1, the same or a finer grid. A position
    counts by the part of it that the mask covers, so that a constant map has the mask's share of
    the area. NaN where the map is zero everywhere.

    >>> inside_share(torch.tensor([[[3.0, -1.0]]]), torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])).item()
    0.75
    """
    sizes = maps.abs().double()
    inside = _POOL[maps.ndim - 1](masks.double()[:, None], tuple(maps.shape[1:]))[:, 0]
    return (sizes * inside).flatten(1).sum(1) / sizes.flatten(1).sum(1)


def completeness_gap(total: Tensor, difference: Tensor) -> Tensor:
    """How far attributions are from adding up, relative to what they explain: (B,), float64.

    total: (B,), sum of the attributions; difference: (B,), f(x) − f(baseline). 0: they add up to
    it; −0.3: three tenths are missing. NaN where there is no difference to explain.

    >>> completeness_gap(torch.tensor([1.5]), torch.tensor([2.0])).item()
    -0.25
    """
    wanted = difference.double()
    return (total.double() - wanted) / wanted.abs().where(wanted != 0, math.nan)


def spread(maps: Tensor, size: Sequence[int]) -> Tensor:
    """The value of each position shared equally by its pixels: (B, *grid) to (B, *size).

    Sums are kept. A pixel belongs to the position that holds its centre.

    >>> spread(torch.tensor([[[4.0, 8.0]]]), (2, 4)).tolist()
    [[[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]]
    """
    grid = maps.shape[1:]
    positions = torch.arange(grid.numel(), dtype=torch.float64).reshape(1, 1, *grid)
    owner = functional.interpolate(positions, tuple(size), mode="nearest-exact").long().flatten()
    owner = owner.to(maps.device)
    shared = maps.flatten(1) / torch.bincount(owner, minlength=grid.numel())
    return shared[:, owner].reshape(-1, *size)


def patches(grid: Sequence[int], window: Sequence[int]) -> Tensor:
    """Number of the window in which each position of a grid lies: (*grid), from 0.

    Windows stand side by side from the first position on; the last of an axis may be smaller.

    >>> patches((1, 5), (1, 2)).tolist()
    [[0, 0, 1, 1, 2]]
    """
    number = torch.zeros(tuple(grid), dtype=torch.int64)
    for axis, (length, side) in enumerate(zip(grid, window, strict=True)):
        along = (torch.arange(length) // side).reshape(
            [-1 if i == axis else 1 for i in range(len(grid))]
        )
        number = number * math.ceil(length / side) + along
    return number
