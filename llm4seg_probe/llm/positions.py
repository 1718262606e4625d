"""Where a token is, as the rotation of queries and keys that tells the layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Position = Literal["reference", "rope", "axial-rope", "none"]
Rotation = tuple[Tensor, Tensor]


def rotation(
    position: Position,
    grid: Sequence[int],
    frequencies: Tensor,
    scaling: float,
    dtype: torch.dtype,
) -> Rotation:
    """Cosine and sine by which transformers rotates each token's queries and keys.

    grid: (H, W) or (D, H, W), N tokens in raster order (row-major). frequencies: (head_dim / 2,)
    radians per step. Computed in float32, returned in ``dtype``, each (1, N, head_dim), or
    (1, N, 1) where all head dimensions share one angle.

    ``reference`` is what the published code passes: sin n and cos n of the raster index n in
    radians, in each other's place. ``rope`` is the model's own encoding of n. ``axial-rope``
    keeps the model's frequencies and gives the axes turns (pair 0 turns with the first axis,
    pair 1 with the second, …), so that each axis has its share of the whole spectrum.
    """
    count, device = math.prod(grid), frequencies.device
    index = torch.arange(count, device=device)
    if position == "reference":
        angle = index.float()[None, :, None]
        return angle.sin().to(dtype), angle.cos().to(dtype)
    if position == "none":
        still = torch.zeros(1, count, 1, device=device)
        return still.cos().to(dtype), still.to(dtype)
    axes = [index] if position == "rope" else _coordinates(index, grid)
    pairs = torch.arange(len(frequencies), device=device) % len(axes)
    steps = torch.stack(axes, dim=1).float()[:, pairs]
    angle = (steps * frequencies.float()).repeat(1, 2)[None]
    return (angle.cos() * scaling).to(dtype), (angle.sin() * scaling).to(dtype)


def _coordinates(index: Tensor, grid: Sequence[int]) -> list[Tensor]:
    """Coordinate of each token along each axis of the grid, first axis first."""
    coordinates = []
    for axis, length in enumerate(grid):
        stride = math.prod(grid[axis + 1 :])
        coordinates.append(index // stride % length)
    return coordinates


def window_mask(count: int, window: int, causal: bool, device: torch.device) -> Tensor:
    """Which tokens see which under a sliding window: (1, 1, N, N) bool, True where seen.

    A token sees those less than ``window`` places from it in raster order: before it, and, where
    attention is not causal, after it.
    """
    index = torch.arange(count, device=device)
    distance = index[:, None] - index[None, :]
    seen = distance.abs() < window
    return (seen & (distance >= 0) if causal else seen)[None, None]
