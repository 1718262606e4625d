"""Similarity of two representations of the same tokens, whatever their bases.

Both are (B, N, ·): N tokens seen twice, in B separate comparisons. Results are (B,) in float64,
NaN where a representation does not vary or holds a value that is not finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm4seg_probe.measures.tokens import as_tokens


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Debiased linear centred kernel alignment: 1 for the same up to rotation and scale.

    x: (B, N, P), y: (B, N, Q), at least four tokens. About 0 for independent representations
    however many channels they have (it may lie a little below), where the biased estimate goes
    to 1 with P/N. Kornblith et al., ICML 2019; debiased after Song et al., JMLR 2012.

    The N × N kernels are never built: all is in terms of the P × Q products.
    """
    x, y = _check(x, y, fewest=4)
    x, y = _centred(x), _centred(y)
    both, own_x, own_y = _dependence(x, y), _dependence(x, x), _dependence(y, y)
    varies = (own_x > 0) & (own_y > 0)
    return (both / (own_x * own_y).sqrt()).where(varies, torch.nan)


def _dependence(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased estimate of HSIC for linear kernels K = XXᵀ, L = YYᵀ, up to 1 / (N(N - 3))."""
    n = x.shape[1]
    own_x, own_y = x.square().sum(-1), y.square().sum(-1)  # the diagonals, which are left out
    rows_x = (x @ x.sum(1)[..., None]).squeeze(-1) - own_x
    rows_y = (y @ y.sum(1)[..., None]).squeeze(-1) - own_y
    trace = (x.mT @ y).square().sum((-2, -1)) - (own_x * own_y).sum(-1)
    totals = rows_x.sum(-1) * rows_y.sum(-1) / ((n - 1) * (n - 2))
    return trace + totals - 2 / (n - 2) * (rows_x * rows_y).sum(-1)


def procrustes_similarity(x: Tensor, y: Tensor) -> Tensor:
    """How well a rotation and a scale map one onto the other: 0 to 1, 1 for perfectly.

    x: (B, N, P), y: (B, N, Q). The nuclear norm of XᵀY after centring and scaling both to
    Frobenius norm 1; the squared Procrustes distance is 2 - 2 of it. It is not debiased:
    independent representations with many channels for their tokens are far from 0.
    Williams et al., NeurIPS 2021.

    >>> points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]]])
    >>> round(procrustes_similarity(points, 3 * points.flip(-1)).item(), 6)
    1.0
    """
    x, y = _check(x, y, fewest=2)
    x, y = _scaled(_centred(x)), _scaled(_centred(y))
    product = x.mT @ y
    finite = torch.isfinite(product).flatten(1).all(-1)
    sigma: Tensor = torch.linalg.svdvals(product.where(finite[:, None, None], 0))
    return sigma.sum(-1).where(finite, torch.nan)


def mean_cosine(x: Tensor, y: Tensor) -> Tensor:
    """Mean over tokens of the cosine between a token and itself: -1 to 1.

    x, y: (B, N, C), in the same basis, not centred: how far a layer turns the tokens that it
    is given. Tokens that are zero in either are left out.

    >>> before = torch.tensor([[[1.0, 0.0], [2.0, 0.0]]])
    >>> mean_cosine(before, torch.tensor([[[0.0, 1.0], [3.0, 0.0]]])).item()
    0.5
    """
    x, y = _check(x, y, fewest=1)
    if x.shape != y.shape:
        raise ValueError(
            f"a cosine takes representations in one basis, not of {x.shape[-1]} and "
            f"{y.shape[-1]} channels"
        )
    x, y = x.to(torch.float64), y.to(torch.float64)
    lengths = _norms(x, -1) * _norms(y, -1)
    return ((x * y).sum(-1) / lengths).where(lengths != 0, torch.nan).nanmean(-1)


def _centred(tokens: Tensor) -> Tensor:
    """Tokens without their mean; exactly zero where what is left is only rounding."""
    tokens = tokens.to(torch.float64)
    centred = tokens - tokens.mean(1, keepdim=True)
    # The mean of N equal numbers is off by up to about N roundings of their size.
    rounding = torch.finfo(torch.float64).eps * tokens.shape[1]
    size = tokens.abs().amax((1, 2), keepdim=True)
    varies = centred.abs().amax((1, 2), keepdim=True) > rounding * size
    return centred.where(varies | ~torch.isfinite(size), 0.0)


def _scaled(tokens: Tensor) -> Tensor:
    return tokens / _norms(tokens, (-2, -1))[:, None, None]


def _norms(tokens: Tensor, axes: int | tuple[int, int]) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(tokens, dim=axes)
    return found


def _check(x: Tensor, y: Tensor, fewest: int) -> tuple[Tensor, Tensor]:
    x, y = as_tokens(x), as_tokens(y)
    if x.shape[:2] != y.shape[:2]:
        raise ValueError(
            f"representations of {tuple(x.shape[:2])} and {tuple(y.shape[:2])} tokens: they must "
            "be of the same ones"
        )
    if x.shape[1] < fewest:
        raise ValueError(f"{x.shape[1]} tokens are too few: this takes at least {fewest}")
    return x, y
