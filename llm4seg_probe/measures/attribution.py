"""Attributions against masks, and their completeness."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
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


def rank_similarity(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's correlation of the absolute values of two maps: (B,), -1 to 1, in float64.

    maps, others: (B, *grid), signed. 1: both order the positions alike, whatever their scale and
    signs; about 0 for unrelated maps. Equal values share their mean rank. NaN where one of the
    two is the same everywhere, or holds a value that is no number.

    As in Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018.

    >>> first = torch.tensor([[[1.0, -2.0, 3.0]]])
    >>> rank_similarity(first, first.square()).item()
    1.0
    """
    if maps.shape != others.shape:
        raise ValueError(
            f"maps of the shapes {tuple(maps.shape)} and {tuple(others.shape)}: they must be on "
            "one grid"
        )
    ranks = [
        rankdata(
            each.detach().abs().flatten(1).double().cpu().numpy(), axis=1, nan_policy="propagate"
        )
        for each in (maps, others)
    ]
    x, y = (each - each.mean(1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    return torch.from_numpy(found)
