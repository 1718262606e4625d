"""Measures of a layer's attention: its distance, its spread, and its targets.

attention: (B, heads, N, N), softmax probabilities from query (row) to key (column), tokens in
raster order; every row sums to 1. Results are (B, heads) in float64, means over the queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mean_distance(attention: Tensor, grid: Sequence[int]) -> Tensor:
    """Mean Euclidean distance from query to key, weighted by attention, in steps of the grid.

    ``grid``: (H, W) or (D, H, W), N its product. 0 for a head that looks only at the token itself.

    >>> mean_distance(torch.eye(4)[None, None], (2, 2)).item()
    0.0
    """
    return _mean_over_queries(attention, grid_distances(grid).to(attention.device))


def grid_distances(grid: Sequence[int]) -> Tensor:
    """Euclidean distance between any two tokens of a grid, in its steps: (N, N) float64."""
    axes = [torch.arange(size, dtype=torch.float64) for size in grid]
    places = torch.cartesian_prod(*axes).reshape(-1, len(grid))
    # Differences, not the faster product, which would blur small distances.
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")


def attention_entropy(attention: Tensor) -> Tensor:
    """Mean entropy of a query's attention in nats: 0 for one key, ln N for all alike.

    >>> round(attention_entropy(torch.full((1, 1, 4, 4), 0.25)).exp().item(), 6)
    4.0
    """
    terms: Tensor = torch.special.entr(attention.to(torch.float64))
    return terms.sum(-1).mean(-1)


def foreground_share(attention: Tensor, inside: Tensor) -> Tensor:
    """Share of the foreground queries' attention that goes to foreground keys: 0 to 1.

    inside: (B, N), boolean. Attention that knows nothing of the image gives the share of the
    foreground among the keys that a query may see. NaN for an image without foreground.
    """
    weights = attention.to(torch.float64)
    to_inside = weights.where(inside[:, None, None, :], 0).sum(-1)
    chosen = inside[:, None, :].expand_as(to_inside)
    return to_inside.where(chosen, 0).sum(-1) / chosen.sum(-1)


def first_share(attention: Tensor) -> Tensor:
    """Share of all attention that goes to the first token in raster order: 0 to 1.

    Language models park attention there. A causal mask alone sends much of it there, too:
    compare with :func:`uniform_attention`.

    >>> first_share(torch.full((1, 1, 4, 4), 0.25)).item()
    0.25
    """
    return attention[..., 0].to(torch.float64).mean(-1)


def sink_share(attention: Tensor) -> Tensor:
    """Share of all attention that goes to the one key that gets most of it: 1 / N to 1.

    1 is a head that looks nowhere else, whatever the query.

    >>> sink_share(torch.full((1, 1, 4, 4), 0.25)).item()
    0.25
    """
    return attention.to(torch.float64).mean(-2).amax(-1)


def raster_locality(attention: Tensor, reach: int) -> Tensor:
    """Share of attention within ``reach`` tokens of the query in raster order: 0 to 1.

    With the width of the grid as reach, what lies about one row away or nearer. Under a causal
    mask only the tokens before the query count: compare with :func:`uniform_attention`.

    >>> raster_locality(torch.eye(4)[None, None], 0).item()
    1.0
    """
    order = torch.arange(attention.shape[-1], device=attention.device)
    near = (order[:, None] - order[None, :]).abs() <= reach
    return _mean_over_queries(attention, near.double())


def uniform_attention(visible: Tensor) -> Tensor:
    """Attention to all visible keys alike, (1, 1, N, N) float64: what the mask alone makes.

    visible: (N, N) boolean, True where a query (row) sees a key (column); each sees some.

    >>> uniform_attention(torch.tensor([[True, False], [True, True]])).tolist()
    [[[[1.0, 0.0], [0.5, 0.5]]]]
    """
    seen = visible.to(torch.float64)
    return (seen / seen.sum(-1, keepdim=True))[None, None]


def attention_measures(
    attention: Tensor, visible: Tensor, grid: Sequence[int], inside: Tensor
) -> dict[str, Tensor]:
    """All measures of each head, each beside what uniform attention gives: (B, heads) each.

    visible: (N, N), inside: (B, N), both boolean. ``x_uniform`` is x under
    :func:`uniform_attention`; ``x_ratio`` is x in units of it: 1 for a head that does no more
    than its mask, NaN where that is 0. The entropy's ratio is between 0 and 1. Locality is
    counted over one row of the grid.
    """
    own = _measures(attention, grid, inside)
    images, heads = attention.shape[:2]
    alike = uniform_attention(visible).expand(images, 1, -1, -1)
    columns: dict[str, Tensor] = {}
    for name, expected in _measures(alike, grid, inside).items():
        columns[name] = own[name]
        columns[f"{name}_uniform"] = expected.expand(images, heads)
        ratio = own[name] / expected
        columns[f"{name}_ratio"] = ratio.where(expected != 0, torch.nan)
    return columns


def _measures(attention: Tensor, grid: Sequence[int], inside: Tensor) -> dict[str, Tensor]:
    return {
        "distance": mean_distance(attention, grid),
        "entropy": attention_entropy(attention),
        "foreground_share": foreground_share(attention, inside),
        "first_share": first_share(attention),
        "sink_share": sink_share(attention),
        "locality": raster_locality(attention, grid[-1]),
    }


def _mean_over_queries(attention: Tensor, weights: Tensor) -> Tensor:
    return (attention.to(torch.float64) * weights).sum(-1).mean(-1)
