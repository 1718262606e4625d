"""From one set of features to another by the best linear map, in closed form and one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

RIDGE = 1e-3
"""Penalty of the map's squared weights, relative to the mean variance of a channel it starts from:
small enough that a channel of usual size keeps 99.9 % of its weight."""


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
    """Ridge regression with an intercept, from batches of paired tokens, in constant memory."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: tuple[Tensor, Tensor] | None = None
        self._moments: tuple[Tensor, Tensor] | None = None

    def add(self, start: Tensor, goal: Tensor) -> None:
        """Take paired tokens in: start (…, A) and goal (…, B), the k-th of each belonging together.

        Raises ValueError where their numbers differ.
        """
        x, y = start.flatten(0, -2).double(), goal.flatten(0, -2).double()
        if len(x) != len(y):
            raise ValueError(f"{len(x)} tokens cannot be paired with {len(y)}")
        sums, moments = (x.sum(0), y.sum(0)), (x.T @ x, x.T @ y)
        if self._sums is not None and self._moments is not None:
            sums = self._sums[0] + sums[0], self._sums[1] + sums[1]
            moments = self._moments[0] + moments[0], self._moments[1] + moments[1]
        self._sums, self._moments, self._count = sums, moments, self._count + len(x)

    def solved(self, ridge: float = RIDGE) -> LinearMap:
        """The map W, b that makes |x W + b − y|² + λ |W|² least, summed over the tokens.

        λ is ``ridge`` times the summed variance of x, averaged over its channels; the intercept
        has no penalty. Hoerl & Kennard, Technometrics 12, 1970. Raises ValueError when nothing
        was added.
        """
        if self._sums is None or self._moments is None:
            raise ValueError("no tokens were added to fit a map on")
        mean_x, mean_y = (total / self._count for total in self._sums)
        within = self._moments[0] - self._count * torch.outer(mean_x, mean_x)
        across = self._moments[1] - self._count * torch.outer(mean_x, mean_y)
        # Where all tokens are alike what is left of their variance is rounding, or nothing at all:
        # any penalty above it gives the map to the mean.
        rounding = torch.finfo(within.dtype).eps * float(self._moments[0].trace())
        penalty = max(ridge * float(within.trace()) / len(within), rounding) or 1.0
        eye = torch.eye(len(within), dtype=within.dtype, device=within.device)
        weight = torch.linalg.solve(within + penalty * eye, across)
        return LinearMap(weight, mean_y - mean_x @ weight)


def explained(found: Tensor, wanted: Tensor, mean: Tensor) -> Tensor:
    """Share of each token matrix' squared distance from a mean that another one accounts for.

    found, wanted: (B, N, C); mean: (N, C) or (C,). Returns (B,) in float64: 1 where found equals
    wanted, 0 where it does as well as the mean, negative where worse, NaN where wanted is the mean.
    """
    missing = (found.double() - wanted.double()).square().flatten(1).sum(-1)
    spread = (wanted.double() - mean.double()).square().flatten(1).sum(-1)
    return 1 - missing / torch.where(spread > 0, spread, torch.nan)
