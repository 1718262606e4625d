"""Scores of a predicted mask against the true one, per image and class.

Masks are boolean, (B, K, H, W) or (B, K, D, H, W), K classes without the background. Every score
is (B, K) in float64. None is ever missing, since empty masks are scored by one rule:

| foreground in | overlap and surface Dice | distance | ``empty`` |
| --- | --- | --- | --- |
| both | as defined | as defined | ``""`` |
| neither | 1 | 0 | ``"both"`` |
| the prediction alone | 0 | the image's diagonal | ``"mask"`` |
| the mask alone | 0 | the image's diagonal | ``"prediction"`` |
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree
from torch import Tensor

_EMPTY = {(False, False): "both", (True, False): "mask", (False, True): "prediction"}


def segmentation_scores(
    prediction: Tensor,
    target: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    nsd_tolerance: float = 2.0,
) -> dict[str, Tensor | list[list[str]]]:
    """All scores of ``scores.csv`` by their names; ``empty`` is a list of B lists of K texts.

    prediction, target: (B, K, H, W) or (B, K, D, H, W), boolean. ``spacing`` is the distance
    between pixels along each axis of the grid in millimetres, None for pixels; ``hd95``,
    ``nsd_tolerance`` and the diagonal are in its unit, ``area`` (of the target) in its square,
    or its cube in 3D.
    """
    _check(prediction, target, spacing)
    return {
        **overlap_scores(prediction, target),
        **surface_scores(prediction, target, spacing=spacing, nsd_tolerance=nsd_tolerance),
        "area": _count(target) * math.prod(spacing or [1.0]),
        "empty": empty_masks(prediction, target),
        "iou_reference": iou_reference(prediction, target),
    }


def overlap_scores(prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Intersection over union, Dice, precision and recall: (B, K) each, between 0 and 1.

    >>> a, b = torch.tensor([[[[True, True]]]]), torch.tensor([[[[True, False]]]])
    >>> {name: score.item() for name, score in overlap_scores(a, b).items()}
    {'iou': 0.5, 'dice': 0.6666666666666666, 'precision': 0.5, 'recall': 1.0}
    """
    common = _count(prediction & target)
    predicted, true = _count(prediction), _count(target)
    neither = (predicted + true) == 0
    fractions = {
        "iou": (common, predicted + true - common),
        "dice": (2 * common, predicted + true),
        "precision": (common, predicted),
        "recall": (common, true),
    }
    return {
        name: torch.where(neither, 1.0, part / whole.clamp_min(1))
        for name, (part, whole) in fractions.items()
    }


def iou_reference(prediction: Tensor, target: Tensor) -> Tensor:
    """Intersection over union as the published code of LLM4Seg averages it: (B, K).

    (common + 1e-5) / (union + 1e-5) of each image, where the code's threshold is a probability
    of 0.5. A single false pixel on an empty mask gives 1e-5, not 0.
    """
    smooth = 1e-5
    return (_count(prediction & target) + smooth) / (_count(prediction | target) + smooth)


def empty_masks(prediction: Tensor, target: Tensor) -> list[list[str]]:
    """Which of the two masks is empty: ``""``, ``"both"``, ``"mask"`` or ``"prediction"``."""
    pairs = torch.stack([_count(prediction) > 0, _count(target) > 0], -1).tolist()
    return [[_EMPTY.get((predicted, true), "") for predicted, true in row] for row in pairs]


def surface_scores(
    prediction: Tensor,
    target: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    nsd_tolerance: float = 2.0,
) -> dict[str, Tensor]:
    """``hd95`` and ``nsd``, by MONAI's definitions: (B, K) each.

    The edge of a mask is what a binary erosion takes away; each edge pixel has a distance to the
    nearest one of the other edge. ``hd95`` is the larger of the two directed 95th percentiles
    (linear interpolation); ``nsd`` is the share of all edge pixels of both masks whose distance
    is at most ``nsd_tolerance``. Distances are taken in float64, then ranked and compared in
    float32 as MONAI does: the places of a percentile are rounded too.
    """
    _check(prediction, target, spacing)
    shape = prediction.shape
    steps = np.ones(len(shape) - 2) if spacing is None else np.asarray(spacing, dtype=float)
    diagonal = float(np.linalg.norm(steps * np.asarray(shape[2:])))
    hd95 = np.zeros(shape[:2])
    nsd = np.ones(shape[:2])
    predicted, true = prediction.cpu().numpy(), target.cpu().numpy()
    for place in np.ndindex(*shape[:2]):
        a, b = _edge(predicted[place], steps), _edge(true[place], steps)
        if len(a) and len(b):
            directed = [_distances(a, b), _distances(b, a)]
            hd95[place] = max(torch.quantile(distances, 0.95).item() for distances in directed)
            nsd[place] = (torch.cat(directed) <= nsd_tolerance).double().mean().item()
        elif len(a) or len(b):
            hd95[place], nsd[place] = diagonal, 0.0
    found = {"hd95": hd95, "nsd": nsd}
    return {name: torch.from_numpy(score).to(prediction.device) for name, score in found.items()}


def _edge(mask: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Places of a mask's edge pixels, (E, axes), in the unit of the steps."""
    filled = np.argwhere(mask)
    if len(filled) == 0:
        return np.empty(filled.shape)
    low, high = filled.min(0), filled.max(0) + 1
    inside = mask[tuple(slice(*bounds) for bounds in zip(low, high, strict=True))]
    places: np.ndarray = (np.argwhere(inside & ~binary_erosion(inside)) + low) * steps
    return places


def _distances(edge: np.ndarray, other: np.ndarray) -> Tensor:
    """From each pixel of an edge to the nearest of the other: (E,) float32."""
    return torch.from_numpy(KDTree(other).query(edge)[0]).float()


def _count(masks: Tensor) -> Tensor:
    return masks.flatten(2).sum(-1, dtype=torch.float64)


def _check(prediction: Tensor, target: Tensor, spacing: Sequence[float] | None) -> None:
    if prediction.dtype != torch.bool or target.dtype != torch.bool:
        raise ValueError(f"masks are boolean, not {prediction.dtype} and {target.dtype}")
    if prediction.shape != target.shape:
        raise ValueError(
            f"the prediction has the shape {tuple(prediction.shape)}, the mask "
            f"{tuple(target.shape)}: they must be the same"
        )
    if spacing is not None and len(spacing) != prediction.ndim - 2:
        raise ValueError(f"spacing has {len(spacing)} numbers for {prediction.ndim - 2} axes")
