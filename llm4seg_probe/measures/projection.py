"""Token matrices with some of their own singular directions left out."""

from __future__ import annotations

import torch
from torch import Tensor


def low_rank(tokens: Tensor, rank: int) -> Tensor:
    """Each token matrix with its ``rank`` largest singular values alone: the nearest of that rank.

    tokens: (B, N, C), not centred; the decomposition is in float64. Returns the same shape and
    dtype; from rank min(N, C) on, the matrix itself up to rounding. Raises ValueError for a
    negative rank. Eckart & Young, Psychometrika 1, 1936.

    >>> low_rank(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None], 2)[0].diagonal().round()
    tensor([3., 2., 0.])
    """
    if rank < 0:
        raise ValueError(f"a rank is not negative: {rank}")
    return _kept(tokens, torch.arange(min(tokens.shape[1:])) < rank)


def without_direction(tokens: Tensor, number: int) -> Tensor:
    """Each token matrix without one of its singular directions, counted from 1, the largest.

    tokens: (B, N, C), not centred; the decomposition is in float64. Returns the same shape and
    dtype; the matrix itself, up to rounding, where it has fewer directions. Raises ValueError
    for a number below 1.

    >>> without_direction(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None], 1)[0].diagonal().round()
    tensor([0., 2., 1.])
    """
    if number < 1:
        raise ValueError(f"directions are counted from 1: {number}")
    return _kept(tokens, torch.arange(1, min(tokens.shape[1:]) + 1) != number)


def _kept(tokens: Tensor, kept: Tensor) -> Tensor:
    left, sigma, right = torch.linalg.svd(tokens.double(), full_matrices=False)
    projected: Tensor = (left * (sigma * kept.to(sigma.device))[:, None]) @ right
    return projected.to(tokens.dtype)
