"""Oracles that know how a phantom was made, and nothing else: the best simple answer.

Each takes the image as :func:`llm4seg_probe.data.phantom_kinds` draws it, and the dial, and
returns a mask. What they reach is stated in ``phantoms.PHANTOMS`` and tested.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from llm4seg_probe.data.phantom_kinds import (
    COARSE_GRAIN,
    FINE_GRAIN,
    OBJECT_CONTRAST,
    UNIT_BALL,
)

SPECK = 10
"""Objects of fewer pixels are noise."""


def texture(image: np.ndarray, _dial: float) -> np.ndarray:
    """Local energy of the second derivative, which fine grain has far more of."""
    energy = ndimage.gaussian_filter(np.square(ndimage.laplace(image)), 1.5)
    # At the edge of a region the smoothed energy is halfway between the two levels.
    low, high = _energy(image.ndim, COARSE_GRAIN), _energy(image.ndim, FINE_GRAIN)
    return np.asarray(energy > (low + high) / 2)


def context(image: np.ndarray, _dial: float) -> np.ndarray:
    """The bright balls on the side of the brightest patch."""
    height, width = image.shape[-2:]
    top = ndimage.gaussian_filter(image, 1.0)[..., : height // 3, :]
    left = top[..., : width // 2].max() > top[..., width // 2 :].max()
    mask = image > OBJECT_CONTRAST / 2
    mask[..., : height // 2, :] = False
    mask[..., width // 2 :] &= not left
    mask[..., : width // 2] &= left
    return np.asarray(mask)


def shape(image: np.ndarray, _dial: float) -> np.ndarray:
    """Objects that fill the ball around them better than a box can."""
    objects, count = ndimage.label(image > OBJECT_CONTRAST / 2)
    box = 2**image.ndim / (UNIT_BALL[image.ndim] * image.ndim ** (image.ndim / 2))
    mask = np.zeros(image.shape, bool)
    for number in range(1, count + 1):
        places = np.argwhere(objects == number)
        reach = np.linalg.norm(places - places.mean(axis=0), axis=1).max()
        filled = len(places) / (UNIT_BALL[image.ndim] * reach**image.ndim + 1e-9)
        if len(places) >= SPECK and filled > np.sqrt(box):
            mask |= objects == number
    return mask


def noise(image: np.ndarray, contrast_to_noise: float) -> np.ndarray:
    """Half the known brightness, after smoothing; the largest region."""
    objects, _ = ndimage.label(ndimage.gaussian_filter(image, 2.0) > contrast_to_noise / 2)
    sizes = np.bincount(objects.ravel())
    sizes[0] = 0
    return np.asarray(objects == sizes.argmax())


def small(image: np.ndarray, _radius: float) -> np.ndarray:
    """Half the known brightness, pixel by pixel."""
    return np.asarray(image > OBJECT_CONTRAST / 2)


def _energy(axes: int, grain: float) -> float:
    """Mean square of the discrete Laplacian of unit-variance grain, from its spectrum."""
    frequency = 2 * np.pi * np.fft.fftfreq(64)
    power = [np.exp(-np.square(frequency * grain))] * axes
    spectrum = np.prod(np.meshgrid(*power, indexing="ij"), axis=0)
    laplacian = np.sum(np.meshgrid(*[2 * np.cos(frequency) - 2] * axes, indexing="ij"), axis=0)
    return float((spectrum * np.square(laplacian)).sum() / spectrum.sum())
