"""The kinds of phantoms: pure functions of a generator and a size, in 2D and 3D.

Each returns an image in units of its own (background about 0, SD of the grain about 1) and its
mask. Nothing but what the kind is about tells foreground from background.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from llm4seg_probe.errors import DataError

Size = tuple[int, ...]
Drawn = tuple[np.ndarray, np.ndarray]

COARSE_GRAIN, FINE_GRAIN = 2.0, 0.7
"""Gaussian widths in pixels of the two textures, which agree in mean and variance."""
OBJECT_CONTRAST, OBJECT_NOISE = 4.0, 0.5
"""Brightness and noise where objects are meant to be seen without effort."""
MARKER_CONTRAST = 8.0
"""The marker of ``context`` is brighter than any object."""
UNIT_BALL = {2: np.pi, 3: 4 / 3 * np.pi}
"""Volume of the ball of radius 1, by the number of axes."""
PLACING_TRIES = 2000
CONTEXT_DISTANCE = 0.3
"""Least distance of the marker to any object, as a share of the image's height."""


def texture(draw: np.random.Generator, size: Size, _dial: float) -> Drawn:
    """Regions with a finer grain than the rest: the answer lies within a few pixels."""
    mask = np.zeros(size, bool)
    for centre, radius in _places(draw, size, 3, 0.10 * min(size), 0.18 * min(size)):
        mask |= _ellipsoid(draw, size, centre, radius)
    return np.where(mask, _grain(draw, size, FINE_GRAIN), _grain(draw, size, COARSE_GRAIN)), mask


def context(draw: np.random.Generator, size: Size, _dial: float) -> Drawn:
    """Equal balls left and right; foreground are those on the side of a marker far away."""
    return context_with_marker(draw, size, left=bool(draw.integers(2)))


def context_with_marker(draw: np.random.Generator, size: Size, left: bool) -> Drawn:
    """The ``context`` phantom with its marker on the given side.

    The other side's marker gives the same pixels at the balls and the opposite answer there.
    """
    height, width = size[-2:]
    image = OBJECT_NOISE * draw.standard_normal(size)
    radius = max(2.0, 0.07 * min(height, width))
    balls = np.zeros(size, bool)
    for first in (0, width // 2):
        part = (*size[:-2], round(0.45 * height), width // 2)
        corner = np.array([0] * (len(size) - 2) + [height - part[-2], first])
        for centre, _ in _places(draw, part, 2, radius, radius):
            balls |= _distance(size, centre + corner) <= radius
    image[balls] += OBJECT_CONTRAST
    columns = np.arange(width)
    side = columns < width // 2 if left else columns >= width // 2
    breadth = max(2, round(0.12 * min(height, width)))
    place: tuple[slice, ...] = (slice(1, 1 + breadth),)
    place += (slice(1, 1 + breadth) if left else slice(width - 1 - breadth, width - 1),)
    image[(slice(None),) * (len(size) - 2) + place] += MARKER_CONTRAST
    return image, balls & side


def shape(draw: np.random.Generator, size: Size, _dial: float) -> Drawn:
    """Balls among boxes of the same volume, brightness and grain: only the outline tells."""
    return _balls_among_boxes(draw, size, balls=True)


def presence(draw: np.random.Generator, size: Size, _dial: float) -> Drawn:
    """As ``shape`` in half of the images, and boxes alone in the others."""
    return _balls_among_boxes(draw, size, balls=bool(draw.integers(2)))


def _balls_among_boxes(draw: np.random.Generator, size: Size, balls: bool) -> Drawn:
    image = OBJECT_NOISE * draw.standard_normal(size)
    mask = np.zeros(size, bool)
    places = _places(draw, size, 4, 0.13 * min(size), 0.17 * min(size))
    for number, (centre, reach) in enumerate(places):
        half_box = reach / np.sqrt(len(size))
        if number % 2 or not balls:
            found = _box(draw, size, centre, half_box)
        else:
            # The radius of the ball that has the box's volume.
            radius = 2 * half_box / UNIT_BALL[len(size)] ** (1 / len(size))
            found = _distance(size, centre) <= radius
            mask |= found
        image[found] += OBJECT_CONTRAST
    return image, mask


def noise(draw: np.random.Generator, size: Size, contrast_to_noise: float) -> Drawn:
    """One bright region in white noise of SD 1; the dial is its brightness."""
    ((centre, radius),) = _places(draw, size, 1, 0.15 * min(size), 0.25 * min(size))
    mask = _ellipsoid(draw, size, centre, radius)
    return draw.standard_normal(size) + contrast_to_noise * mask, mask


def small(draw: np.random.Generator, size: Size, radius: float) -> Drawn:
    """A few balls of the dial's radius in pixels, easily seen: what is lost is lost by size."""
    image = OBJECT_NOISE * draw.standard_normal(size)
    mask = np.zeros(size, bool)
    for centre, _ in _places(draw, size, 4, radius, radius):
        mask |= _distance(size, np.round(centre)) <= radius
    return image + OBJECT_CONTRAST * mask, mask


def _places(
    draw: np.random.Generator, size: Size, count: int, smallest: float, largest: float
) -> list[tuple[np.ndarray, float]]:
    """Centres and radii in pixels of objects that touch neither each other nor the border."""
    found: list[tuple[np.ndarray, float]] = []
    for attempt in range(PLACING_TRIES):
        if len(found) == count:
            return found
        if attempt % 50 == 49:
            found.clear()  # The first ones may leave no room for the last.
        reach = float(draw.uniform(smallest, largest))
        highest = np.array(size) - reach - 2
        centre = draw.uniform(reach + 1, np.maximum(highest, reach + 1))
        if (highest < reach + 1).any():
            continue
        if all(np.linalg.norm(centre - other) > reach + taken + 2 for other, taken in found):
            found.append((centre, reach))
    raise DataError(
        f"no room for {count} objects of radius {largest:.1f} in {list(size)} pixels: make them "
        "smaller, or the image larger"
    )


def _distance(size: Size, centre: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.square(_offsets(size, centre)).sum(axis=0)))


def _offsets(size: Size, centre: np.ndarray) -> np.ndarray:
    grid = np.indices(size, dtype=np.float64)
    return np.asarray(grid - np.reshape(centre, (-1, *[1] * len(size))))


def _ellipsoid(
    draw: np.random.Generator, size: Size, centre: np.ndarray, radius: float
) -> np.ndarray:
    """An ellipsoid inside the ball of that radius, turned at random."""
    axes = radius * draw.uniform(0.7, 1.0, len(size))
    turned = np.tensordot(_rotation(draw, len(size)), _offsets(size, centre), axes=1)
    scaled = turned / np.reshape(axes, (-1, *[1] * len(size)))
    return np.asarray(np.square(scaled).sum(axis=0) <= 1)


def _box(draw: np.random.Generator, size: Size, centre: np.ndarray, half: float) -> np.ndarray:
    turned = np.tensordot(_rotation(draw, len(size)), _offsets(size, centre), axes=1)
    return np.asarray(np.abs(turned).max(axis=0) <= half)


def _rotation(draw: np.random.Generator, axes: int) -> np.ndarray:
    return np.linalg.qr(draw.standard_normal((axes, axes)))[0]


def _grain(draw: np.random.Generator, size: Size, width: float) -> np.ndarray:
    smooth = ndimage.gaussian_filter(draw.standard_normal(size), width, mode="wrap")
    return np.asarray((smooth - smooth.mean()) / smooth.std())
