"""From one set of features to another by the best linear map, in closed form and one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

RIDGES = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)
"""Penalties that are tried, each relative to the mean variance of a channel that a map starts from.
Features spread over so many decades that none of them fits all networks."""


_FOLDS = 4


@dataclass(frozen=True, eq=False)
class LinearMap:
    """weight (A, B), offset (B,), both float64: tokens (…, A) become tokens (…, B)."""

    weight: Tensor
    offset: Tensor

    @classmethod
    def identity(cls, channels: int) -> Self:
        """The map that changes nothing, not even a bit."""
        return cls(torch.eye(channels).double(), torch.zeros(channels).double())

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (…, A) as (…, B), computed in float64, in the dtype in which they came."""
        mapped = tokens.double() @ self.weight.to(tokens.device)
        return (mapped + self.offset.to(tokens.device)).to(tokens.dtype)


class MapFit:
    """Ridge regression with an intercept, from batches of paired tokens, in constant memory.

    The batches are dealt out to four folds in turn; the penalty that predicts left-out ones best is
    the one that the map is then made with, from all of them.
    """

    def __init__(self) -> None:
        self._folds: list[_CrossMoments | None] = [None] * _FOLDS
        self._batches = 0

    def add(self, start: Tensor, goal: Tensor) -> None:
        """Take paired tokens in: start (…, A) and goal (…, B), the k-th of each belonging together.

        Raises ValueError where their numbers differ.
        """
        x, y = start.flatten(0, -2).double(), goal.flatten(0, -2).double()
        if len(x) != len(y):
            raise ValueError(f"{len(x)} tokens cannot be paired with {len(y)}")
        both = torch.cat([x, y], 1)
        found = _CrossMoments(len(both), both.sum(0), both.T @ both, x.shape[1])
        fold = self._batches % len(self._folds)
        before = self._folds[fold]
        self._folds[fold] = found if before is None else before + found
        self._batches += 1

    def solved(self, ridges: Sequence[float] = RIDGES) -> LinearMap:
        """The map W, b that makes |x W + b − y|² + λ |W|² least, summed over the tokens.

        λ is one of ``ridges`` times the summed variance of x, averaged over its channels; the
        intercept has no penalty. Of a single batch nothing can be left out: the smallest is taken.
        Hoerl & Kennard, Technometrics 12, 1970. Raises ValueError when nothing was added.
        """
        folds = [moments for moments in self._folds if moments is not None]
        if not folds:
            raise ValueError("no tokens were added to fit a map on")
        whole = sum(folds[1:], folds[0])
        if len(folds) == 1:
            return whole.solved(min(ridges))
        return whole.solved(min(ridges, key=lambda ridge: _left_out(folds, ridge)))


@dataclass(frozen=True, eq=False)
class _CrossMoments:
    """Number, sum and products of tokens (x, y) side by side; the first ``inputs`` are x."""

    count: int
    total: Tensor
    products: Tensor
    inputs: int

    def __add__(self, other: _CrossMoments) -> _CrossMoments:
        return replace(
            self,
            count=self.count + other.count,
            total=self.total + other.total,
            products=self.products + other.products,
        )

    def solved(self, ridge: float) -> LinearMap:
        """The map for one penalty."""
        size, mean = self.inputs, self.total / self.count
        spread = self.products - self.count * torch.outer(mean, mean)
        within, across = spread[:size, :size], spread[:size, size:]
        # Where all tokens are alike what is left of their variance is rounding, or nothing at all:
        # any penalty above it gives the map to the mean.
        rounding = torch.finfo(within.dtype).eps * float(self.products[:size, :size].trace())
        penalty = max(ridge * float(within.trace()) / size, rounding) or 1.0
        eye = torch.eye(size, dtype=within.dtype, device=within.device)
        weight = torch.linalg.solve(within + penalty * eye, across)
        return LinearMap(weight, mean[size:] - mean[:size] @ weight)

    def missed(self, found: LinearMap) -> float:
        """Summed squared error of a map on these tokens."""
        turn = torch.cat([found.weight, -torch.eye(len(found.offset)).to(found.weight)])
        squares = (turn * (self.products @ turn)).sum()
        crossed = 2 * (self.total @ turn) @ found.offset
        return float(squares + crossed + self.count * found.offset.square().sum())


def _left_out(folds: Sequence[_CrossMoments], ridge: float) -> float:
    """Summed squared error on each fold of the map made from the others."""
    error = 0.0
    for fold in folds:
        others = [other for other in folds if other is not fold]
        error += fold.missed(sum(others[1:], others[0]).solved(ridge))
    return error


def explained(found: Tensor, wanted: Tensor, mean: Tensor) -> Tensor:
    """Share of each token matrix' squared distance from a mean that another one accounts for.

    found, wanted: (B, N, C); mean: (N, C) or (C,). Returns (B,) in float64: 1 where found equals
    wanted, 0 where it does as well as the mean, negative where worse, NaN where wanted is the mean.
    """
    missing = (found.double() - wanted.double()).square().flatten(1).sum(-1)
    spread = (wanted.double() - mean.double()).square().flatten(1).sum(-1)
    return 1 - missing / torch.where(spread > 0, spread, torch.nan)
