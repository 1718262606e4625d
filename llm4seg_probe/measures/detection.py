"""Objects as points: their centres, maps of centres, peaks of such maps, and how many are found.

Centres are given in pixels from the middle of the first one, (N, axes). A score of a set is given
as one number per image whose mean is the score, as in :mod:`llm4seg_probe.measures.classification`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import max_pool2d, max_pool3d

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms per image over which the FROC score is the mean sensitivity (LUNA16)."""


def centres_of(mask: np.ndarray) -> np.ndarray:
    """Centroids of the connected components of a boolean mask (*grid), neighbours by corners too.

    >>> centres_of(np.array([[True, True, False, False], [False, False, False, True]])).tolist()
    [[0.0, 0.5], [1.0, 3.0]]
    """
    parts, count = ndimage.label(mask, np.ones([3] * mask.ndim))
    if not count:
        return np.empty((0, mask.ndim))
    return np.asarray(ndimage.center_of_mass(mask, parts, range(1, count + 1)), dtype=float)


def centre_map(centres: np.ndarray, size: Sequence[int], sd: float) -> np.ndarray:
    """Map (*size) of Gaussians of that SD in pixels: 1 at the pixel of a centre, their largest."""
    found = np.zeros(tuple(size), np.float32)
    axes = np.indices(tuple(size), dtype=np.float32)
    for centre in np.rint(centres):
        squares = sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True))
        found = np.maximum(found, np.exp(-np.asarray(squares) / (2 * sd**2)))
    return found


def peaks(heat: Tensor, radius: int, most: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, axes) and heights (N,) of a map's (*grid) peaks, the highest first.

    A peak is the highest of the pixels that are ``radius`` or less away along each axis, the first
    of several that are equal; ``most`` are kept. A map without any difference has none. Give
    log-odds rather than probabilities: near 1 these are equal where those are not.
    """
    pool = max_pool2d if heat.ndim == 2 else max_pool3d
    highest = pool(heat[None, None].float(), 2 * radius + 1, 1, radius)[0, 0]
    places = torch.nonzero((heat >= highest) & (heat > heat.min()))
    heights = heat[tuple(places.T)]
    order = torch.argsort(heights, descending=True, stable=True)
    kept: list[np.ndarray] = []
    levels: list[float] = []
    for place, height in zip(places[order].tolist(), heights[order].tolist(), strict=True):
        if len(kept) == most:
            break
        here = np.array(place, dtype=float)
        if all(np.abs(here - other).max() > radius for other in kept):
            kept.append(here)
            levels.append(height)
    return np.array(kept).reshape(-1, heat.ndim), np.array(levels)


def hits(found: np.ndarray, centres: np.ndarray, distance: float) -> np.ndarray:
    """Which of the found places (N, axes), the surest first, hit a centre: (N,) boolean.

    One to one, and greedy: each place in its order takes the nearest centre that is within the
    distance and not taken yet; one that finds none is a false alarm. Whether a place hits thus does
    not depend on less sure ones, and so not on the threshold.

    >>> hits(np.array([[0.0], [1.0], [9.0]]), np.array([[0.4], [5.0]]), 2.0).tolist()
    [True, False, False]
    """
    free = np.ones(len(centres), bool)
    right = np.zeros(len(found), bool)
    for number, place in enumerate(found):
        far = np.linalg.norm(centres - place, axis=1)
        near = np.flatnonzero(free & (far <= distance))
        if len(near):
            free[near[far[near].argmin()]] = False
            right[number] = True
    return right


def detection_scores(
    heights: Sequence[np.ndarray], right: Sequence[np.ndarray], objects: Sequence[int]
) -> dict[str, np.ndarray]:
    """Scores of a set of images by their names in ``scores.csv``, (images,) each.

    heights, right: of each image's peaks, (N,), and whether they hit. objects: how many there are
    in each. ``object_sensitivity`` is the share of all objects that is found at the lowest
    threshold with at most 1 false alarm per image in the mean; ``object_froc`` its mean over
    ``RATES``. Both are missing (NaN) where there is no object at all.
    """
    by_rate = {
        rate: _found_at(heights, right, objects, threshold_at(heights, right, rate))
        for rate in RATES
    }
    return {
        "object_sensitivity": by_rate[1.0],
        "object_froc": np.mean(list(by_rate.values()), axis=0),
    }


def threshold_at(heights: Sequence[np.ndarray], right: Sequence[np.ndarray], rate: float) -> float:
    """Lowest height from which on there are at most ``rate`` false alarms per image.

    Infinite where already the highest are too many.
    """
    every = np.concatenate([*heights, np.empty(0)])
    wrong = ~np.concatenate([*right, np.empty(0, bool)])
    levels = np.unique(every)[::-1]
    alarms = np.array([(wrong & (every >= level)).sum() for level in levels])
    allowed = levels[alarms <= rate * len(heights)]
    return float(allowed[-1]) if len(allowed) else np.inf


def _found_at(
    heights: Sequence[np.ndarray],
    right: Sequence[np.ndarray],
    objects: Sequence[int],
    threshold: float,
) -> np.ndarray:
    """Objects found in each image, such that the mean is the share of all objects."""
    total = sum(objects)
    if not total:
        return np.full(len(objects), np.nan)
    found = [
        (is_right & (height >= threshold)).sum()
        for height, is_right in zip(heights, right, strict=True)
    ]
    return np.array(found, float) * len(objects) / total
