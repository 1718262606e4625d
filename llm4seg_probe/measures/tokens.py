"""Checks that every measure of tokens makes of its argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def as_tokens(tokens: Any) -> Tensor:
    """Tokens (B, N, C) as a tensor, NumPy arrays too; raises ValueError for another shape.

    >>> tuple(as_tokens([[[1.0, 2.0]]]).shape)
    (1, 1, 2)
    """
    found = tokens if isinstance(tokens, Tensor) else torch.as_tensor(tokens)
    if found.ndim != 3:
        raise ValueError(
            f"tokens are (B, N, C), these are {tuple(found.shape)}"
            + (": flatten the grid, features.flatten(2).mT" if found.ndim > 3 else "")
        )
    if found.is_complex():
        raise ValueError("tokens are real numbers, these are complex")
    return found


_POOL: dict[int, Callable[[Tensor, Any], Tensor]] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}


def foreground_pixels(masks: Any, dimensions: int) -> Tensor:
    """Pixels that belong to any class: (B, *size), boolean.

    masks: (B, *size) or (B, K, *size) with ``dimensions`` axes in ``size``; true, or above 0.5;
    NumPy arrays too.
    """
    masks = torch.as_tensor(masks)
    if masks.ndim not in (dimensions + 1, dimensions + 2):
        raise ValueError(
            f"masks of the shape {tuple(masks.shape)} do not fit a grid of {dimensions} axes: "
            "give (B, *size) or (B, K, *size)"
        )
    inside: Tensor = masks if masks.dtype == torch.bool else masks > 0.5
    return inside if masks.ndim == dimensions + 1 else inside.any(1)


def foreground_tokens(masks: Tensor, grid: Sequence[int]) -> Tensor:
    """Tokens of which at least half lies in the mask: (B, N), boolean, in raster order.

    masks as in :func:`foreground_pixels`; N is the product of ``grid``.

    >>> foreground_tokens(torch.tensor([[[1, 1, 0, 1], [1, 1, 0, 0]]]), (1, 2)).tolist()
    [[True, False]]
    """
    pixels = foreground_pixels(masks, len(grid)).double()
    return _POOL[len(grid)](pixels[:, None], tuple(grid)).flatten(1) >= 0.5
