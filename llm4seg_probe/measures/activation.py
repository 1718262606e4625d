"""Activation maps: how strongly each place of a layer responds, and whether that is the mask.

A map is one number per token, min-max normalised within its image; resized (bilinear) to the mask
it can be compared with it pixel by pixel. The published reduction, the channel mean of |x|, has no
sign of its own: a map that is dark on the foreground and bright around it is ``inverted``, and a
low IoU of it says nothing about what the layer knows.

Every measure is (B,) in float64. An image without foreground gives NaN in all of them, one that is
nothing but foreground gives NaN in all but the IoU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from llm4seg_probe.errors import UserError, unknown
from llm4seg_probe.measures.tokens import as_tokens, foreground_pixels

Reduction = Literal["mean_abs", "l2", "mean", "pca1"]
Threshold = float | Literal["otsu", "oracle"]

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def _first_component(tokens: Tensor) -> Tensor:
    """Scores on the first principal component, turned so that they rise with the mean of |x|."""
    centred = tokens - tokens.mean(1, keepdim=True)
    gram = centred.mT @ centred if tokens.shape[1] > tokens.shape[2] else centred @ centred.mT
    vector = torch.linalg.eigh(gram).eigenvectors[..., -1:]
    scores = (centred @ vector if tokens.shape[1] > tokens.shape[2] else vector).squeeze(-1)
    strength = tokens.abs().mean(-1)
    agreement = (scores * (strength - strength.mean(-1, keepdim=True))).sum(-1, keepdim=True)
    return torch.where(agreement < 0, -scores, scores)


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean_abs": lambda tokens: tokens.abs().mean(-1),
    "l2": lambda tokens: tokens.square().sum(-1).sqrt(),
    "mean": lambda tokens: tokens.mean(-1),
    "pca1": _first_component,
}
"""How a token's channels become one number: (B, N, C) -> (B, N)."""


def activation_map(
    tokens: Tensor, grid: Sequence[int], reduction: Reduction = "mean_abs"
) -> Tensor:
    """Reduce each token to one number, scaled to between 0 and 1 within each image.

    Parameters
    ----------
    tokens : Tensor of shape (B, N, C)
        Tokens in raster order, as ``recording["after"]`` gives them.
    grid : sequence of int
        (H, W) or (D, H, W), whose product is N, as ``recording.grid("after")`` gives it.
    reduction : {"mean_abs", "l2", "mean", "pca1"}
        ``mean_abs`` is the channel mean of the absolute values (the published one), ``l2`` the
        norm, ``mean`` the signed mean, ``pca1`` the score on the first principal component over the
        image's tokens, its sign chosen so that it rises with ``mean_abs``.

    Returns
    -------
    Tensor of shape (B, H, W), of volumes (B, D, H, W), float64
        0 throughout where all tokens are equal; NaN for an image with a value that is not finite.

    Raises
    ------
    UserError
        For an unknown reduction.

    Examples
    --------
    >>> activation_map(torch.tensor([[[1.0], [-3.0], [2.0], [1.0]]]), (2, 2)).tolist()
    [[[0.0, 1.0], [0.5, 0.0]]]
    """
    if reduction not in REDUCTIONS:
        raise UserError(unknown("reduction", reduction, REDUCTIONS))
    tokens = as_tokens(tokens)
    if tokens.shape[1] != math.prod(grid):
        raise ValueError(f"{tokens.shape[1]} tokens do not fill a grid of {tuple(grid)}")
    finite = torch.isfinite(tokens).flatten(1).all(-1)[:, None]
    strength = REDUCTIONS[reduction](tokens.to(torch.float64).where(finite[..., None], 0))
    low, high = strength.amin(-1, keepdim=True), strength.amax(-1, keepdim=True)
    span = high - low
    normalised = (strength - low) / span.where(span > 0, 1)
    return normalised.where(finite, torch.nan).reshape(len(tokens), *grid)


def resized_maps(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, *grid) on another grid (B, *size), bilinear (trilinear in 3D) between centres.

    Rounded to 12 decimals: beyond the outermost centres values repeat, and must stay equal.
    """
    if tuple(maps.shape[1:]) == tuple(size):
        return maps
    mode = _INTERPOLATION[len(size)]
    return functional.interpolate(maps[:, None], tuple(size), mode=mode)[:, 0].round(decimals=12)


def activation_iou(
    tokens: Tensor,
    masks: Tensor,
    *,
    grid: Sequence[int],
    threshold: Threshold = "otsu",
    reduction: Reduction = "mean_abs",
) -> Tensor:
    """Compute the intersection over union of the thresholded activation map with the mask.

    Parameters
    ----------
    tokens : Tensor of shape (B, N, C)
        Tokens in raster order.
    masks : Tensor of shape (B, H, W) or (B, K, H, W), of volumes (B, D, H, W) or (B, K, D, H, W)
        Foreground where above 0.5; classes are taken together. The map is resized to the mask
        before it is thresholded.
    grid : sequence of int
        Grid of the tokens, whose product is N.
    threshold : {"otsu", "oracle"} or float
        Otsu's level of each image, or one level between 0 and 1 for all images. ``oracle`` is the
        level that is best for this very mask: an upper bound, and no result.
    reduction : {"mean_abs", "l2", "mean", "pca1"}
        See :func:`activation_map`.

    Returns
    -------
    Tensor of shape (B,), float64
        Between 0 and 1; NaN for an image without foreground.

    Raises
    ------
    UserError
        For an unknown reduction or threshold.

    Examples
    --------
    >>> mask = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    >>> activation_iou(torch.tensor([[[5.0], [1.0], [1.0], [1.0]]]), mask, grid=(2, 2)).item()
    1.0
    """
    pixels = foreground_pixels(masks, len(grid))
    if len(pixels) != len(tokens):
        raise ValueError(
            f"{len(tokens)} token matrices and {len(pixels)} masks: one mask for each image"
        )
    maps = resized_maps(activation_map(tokens, grid, reduction), pixels.shape[1:])
    return map_iou(maps, pixels, threshold)


def map_measures(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """The measures of a map that need no threshold, by their names in ``maps.csv``: (B,) each.

    maps: (B, *size) between 0 and 1; masks: (B, *size), boolean.
    """
    return {
        "auroc": map_auroc(maps, masks),
        "contrast": map_contrast(maps, masks),
        "noise": map_noise(maps, masks),
        "sharpness": map_sharpness(maps, masks),
    }


def map_iou(maps: Tensor, masks: Tensor, threshold: Threshold = "otsu") -> Tensor:
    """Intersection over union of the pixels above a threshold with the mask: (B,), 0 to 1.

    ``otsu``: see :func:`otsu_levels`. A number is a level that holds for all images. ``oracle``
    is the level that is best for this very mask: an upper bound, and no result.
    """
    if isinstance(threshold, str) and threshold not in ("otsu", "oracle"):
        raise UserError(
            unknown("threshold", threshold, ["otsu", "oracle"]) + ", or a level between 0 and 1"
        )
    values, inside = maps.flatten(1), masks.flatten(1)
    if threshold == "oracle":
        found = _best_iou(values, inside)
    else:
        above = values > (otsu_levels(maps)[:, None] if threshold == "otsu" else threshold)
        found = (above & inside).sum(-1).double() / (above | inside).sum(-1)
    return found.where(inside.any(-1) & ~values.isnan().any(-1), torch.nan)


def otsu_levels(maps: Tensor) -> Tensor:
    """The level of each map above which its foreground lies, by Otsu's rule: (B,).

    Of all cuts between two different values of the map, the one with the largest variance
    between the two classes; exact, without a histogram. Nothing lies above that of a constant
    map. Otsu, IEEE Trans. SMC 1979.

    >>> otsu_levels(torch.tensor([[0.0, 0.1, 0.9, 1.0]], dtype=torch.float64)).item()
    0.1
    """
    values = maps.flatten(1)
    ordered = values.gather(-1, _order(values))
    n, below = ordered.shape[-1], _counts(ordered)
    sums = ordered.cumsum(-1)
    upper_mean = (sums[:, -1:] - sums) / (n - below).clamp_min(1)
    variance = below * (n - below) * (sums / below - upper_mean).square()
    best = variance.where(_is_cut(ordered), -1).argmax(-1, keepdim=True)
    return ordered.gather(-1, best).squeeze(-1)


def _best_iou(values: Tensor, inside: Tensor) -> Tensor:
    """The largest IoU over all levels; pixels of one value are above a level together."""
    order = _order(values)
    ordered = values.gather(-1, order)
    missed = inside.gather(-1, order).double().cumsum(-1)
    total = missed[:, -1:]
    above = values.shape[-1] - _counts(ordered)
    iou = ((total - missed) / (above + missed)).where(_is_cut(ordered), 0)
    all_above = total.squeeze(-1) / values.shape[-1]
    return torch.maximum(iou.amax(-1), all_above)


def map_auroc(maps: Tensor, masks: Tensor) -> Tensor:
    """Probability that a foreground pixel of the image outshines a background pixel: (B,).

    Ties count half. 0.5 is chance, below 0.5 the map is inverted.
    """
    values = maps.flatten(1)
    order = _order(values)
    is_cut = _is_cut(values.gather(-1, order))
    inside = masks.flatten(1).gather(-1, order)
    # Counts below each cut; between cuts, inside a tie, those of the last one.
    positives, negatives = (
        part.double().cumsum(-1).where(is_cut, 0).cummax(-1).values for part in (inside, ~inside)
    )
    start = positives.new_zeros(len(values), 1)
    steps = positives.diff(dim=-1, prepend=start)
    below = (negatives + torch.cat([start, negatives[:, :-1]], -1)) / 2
    area = (steps * below).sum(-1) / (positives[:, -1] * negatives[:, -1])
    return area.where(~values.isnan().any(-1), torch.nan)


def _order(values: Tensor) -> Tensor:
    """Indices that sort each row upwards; numpy's sort takes a tenth of the time of torch's."""
    return torch.from_numpy(np.argsort(values.cpu().numpy(), axis=-1)).to(values.device)


def _is_cut(ordered: Tensor) -> Tensor:
    """Whether the next of the ascending values is another one; after the last there is none."""
    last = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    return torch.cat([ordered[:, 1:] > ordered[:, :-1], last], -1)


def _counts(values: Tensor) -> Tensor:
    return torch.arange(1, values.shape[-1] + 1, dtype=torch.float64, device=values.device)


def inverted(maps: Tensor, masks: Tensor) -> Tensor:
    """Whether the map is brighter outside the mask than inside: AUROC below 0.5. (B,), boolean."""
    return map_auroc(maps, masks) < 0.5


def map_contrast(maps: Tensor, masks: Tensor) -> Tensor:
    """Cohen's d between foreground and background: difference of means in pooled SDs. (B,).

    NaN where the map varies in neither.
    """
    (inner, inner_squares, n), (outer, outer_squares, m) = _moments(maps, masks)
    pooled = ((inner_squares + outer_squares) / (n + m - 2)).sqrt()
    return ((inner - outer) / pooled).where((pooled > 0) & (n > 0) & (m > 0), torch.nan)


def map_noise(maps: Tensor, masks: Tensor) -> Tensor:
    """Standard deviation of the map over the background, in shares of its range: (B,), 0 to 0.5."""
    (_, _, n), (_, squares, m) = _moments(maps, masks)
    return (squares / m).sqrt().where((n > 0) & (m > 0), torch.nan)


def map_sharpness(maps: Tensor, masks: Tensor) -> Tensor:
    """How far the map falls per pixel from the inside of the mask's boundary to its outside: (B,).

    The mean over all pairs of neighbours along an axis of which one lies in the mask: 1 for a map
    equal to the mask, 0 for one that does not change there, negative where it rises outwards. A
    map from a coarser grid is resized, and cannot fall by more than the ratio of the grids.
    """
    drops = torch.zeros(len(maps), dtype=torch.float64, device=maps.device)
    pairs = torch.zeros_like(drops)
    for axis in range(1, maps.ndim):
        step = masks.double().diff(dim=axis)
        drops += (maps.diff(dim=axis) * step).flatten(1).sum(-1)
        pairs += step.abs().flatten(1).sum(-1)
    return drops / pairs


def _moments(maps: Tensor, masks: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Mean, sum of squared deviations, and count, inside the mask and outside it."""
    values, inside = maps.flatten(1), masks.flatten(1)
    found = []
    for part in (inside, ~inside):
        count = part.sum(-1).double()
        mean = values.where(part, 0).sum(-1) / count
        squares = (values - mean[:, None]).square().where(part, 0).sum(-1)
        found.append((mean, squares, count))
    return found
