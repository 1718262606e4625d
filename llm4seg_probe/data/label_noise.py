"""Wrong training masks: a stated share of them eroded, dilated, shifted or dropped.

Which masks, and which way a shifted one goes, is drawn from the address (seed, image): the same in
all arms of a seed, in every epoch, and after an interruption. How far depends on the object itself,
by the radius of the disc (in 3D the ball) of its size, so that small and large ones are as wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, shift
from torch import Tensor

from llm4seg_probe.randomness import address

Kind = Literal["eroded", "dilated", "shifted", "dropped"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_RIM, _SHIFT = 0.25, 0.5
"""Shares of the object's radius: by which its border moves, and by which it is shifted."""


def wrong_masks(images: Sequence[str], share: float, seed: int) -> dict[str, Kind]:
    """The images whose masks are to be wrong, and how: exactly the share, rounded, a quarter each.

    Only images with foreground are to be given: without any there is nothing to be wrong about. A
    smaller share is within a larger one, and a mask is wrong in the same way in both.

    >>> Counter(wrong_masks([f"image {i}" for i in range(40)], 0.2, 0).values())["dropped"]
    2
    """
    order = sorted(images, key=lambda image: (address(seed, "label_noise", image), image))
    return {
        image: KINDS[place % len(KINDS)]
        for place, image in enumerate(order[: round(share * len(order))])
    }


def made_wrong(mask: Tensor, kind: Kind, seed: int, image: str) -> Tensor:
    """A mask (K, *grid) of 0 and 1 as it is wrong, of the same kind of numbers.

    eroded, dilated
        The border of each class moves by a quarter of its radius, by one pixel at least; an erosion
        leaves the innermost pixels. Classes that do not overlap do not overlap afterwards: they
        grow into the background alone, the first of two into what both would take.
    shifted
        All classes together, by half the radius of what they cover, in a direction drawn for the
        image; what leaves the image is gone.
    dropped
        No foreground is left.
    """
    planes = mask.numpy() > 0.5
    if kind == "dropped":
        changed = np.zeros_like(planes)
    elif kind == "shifted":
        changed = _shifted(planes, seed, image)
    elif kind == "eroded":
        changed = np.stack([_eroded(plane) for plane in planes])
    else:
        changed = _dilated(planes)
    return torch.from_numpy(changed).to(mask.dtype)


def noise_told(kinds: Mapping[str, Kind], foreground: int, share: float, seed: int) -> str:
    """What was made wrong, in one sentence."""
    count = Counter(kinds.values())
    ways = ", ".join(f"{count[kind]} {kind}" for kind in KINDS)
    return (
        f"{len(kinds)} of {foreground} training masks with foreground are made wrong: {ways} "
        f"(data.label_noise: {share:g}, drawn by seed {seed})."
    )


def _radius(plane: np.ndarray) -> float:
    """Radius of the disc, or ball, of as many pixels."""
    count = float(plane.sum())
    return math.sqrt(count / math.pi) if plane.ndim == 2 else math.cbrt(0.75 * count / math.pi)


def _rim(plane: np.ndarray) -> float:
    return max(1.0, _RIM * _radius(plane))


def _eroded(plane: np.ndarray) -> np.ndarray:
    if not plane.any() or plane.all():  # nothing, or no border within the image
        return plane
    depth = distance_transform_edt(plane)
    kept: np.ndarray = depth > min(_rim(plane), depth.max() - 1e-6)
    return kept


def _dilated(planes: np.ndarray) -> np.ndarray:
    grown = [
        plane | (distance_transform_edt(~plane) <= _rim(plane)) if plane.any() else plane
        for plane in planes
    ]
    if planes.sum(0).max() > 1:  # classes that overlap may go on to
        return np.stack(grown)
    taken = planes.any(0)
    found = []
    for plane, larger in zip(planes, grown, strict=True):
        added = larger & ~taken
        found.append(plane | added)
        taken = taken | added
    return np.stack(found)


def _shifted(planes: np.ndarray, seed: int, image: str) -> np.ndarray:
    draw = np.random.default_rng(address(seed, "label_noise", "direction", image))
    way = draw.normal(size=planes.ndim - 1)
    far = max(1.0, _SHIFT * _radius(np.any(planes, axis=0)))
    step = np.rint(way / np.linalg.norm(way) * far)
    if not step.any():  # of one pixel along a diagonal
        step[np.abs(way).argmax()] = np.sign(way[np.abs(way).argmax()])
    moved: np.ndarray = shift(planes.astype(np.uint8), (0, *step), order=0) > 0
    return moved
