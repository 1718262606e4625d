"""Token matrices with some of their own singular directions left out."""

from __future__ import annotations

import torch
from torch import Tensor

from llm4seg_probe.measures.tokens import as_tokens


def largest_directions(tokens: Tensor, rank: int) -> Tensor:
    """Each token matrix with its ``rank`` largest singular values alone: the nearest of that rank.

    tokens: (B, N, C), not centred; the decomposition is in float64. Returns the same shape and
    dtype; from rank min(N, C) on, the matrix itself up to rounding. Raises ValueError for a
    negative rank. Eckart & Young, Psychometrika 1, 1936.

    >>> largest_directions(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None], 2)[0].diagonal().round()
    tensor([3., 2., 0.])
    """
    if rank < 0:
        raise ValueError(f"a rank is not negative: {rank}")
    tokens = as_tokens(tokens)
    return _kept(tokens, torch.arange(min(tokens.shape[1:])) < rank)


def direction_removed(tokens: Tensor, number: int) -> Tensor:
    """Each token matrix without one of its singular directions, counted from 1, the largest.

    tokens: (B, N, C), not centred; the decomposition is in float64. Returns the same shape and
    dtype; the matrix itself, up to rounding, where it has fewer directions. Raises ValueError
    for a number below 1.

    >>> direction_removed(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None], 1)[0].diagonal().round()
    tensor([0., 2., 1.])
    """
    if number < 1:
        raise ValueError(f"directions are counted from 1: {number}")
    tokens = as_tokens(tokens)
    return _kept(tokens, torch.arange(1, min(tokens.shape[1:]) + 1) != number)


def _kept(tokens: Tensor, kept: Tensor) -> Tensor:
    left, sigma, right = torch.linalg.svd(tokens.double(), full_matrices=False)
    projected: Tensor = (left * (sigma * kept.to(sigma.device))[:, None]) @ right
    return projected.to(tokens.dtype)
