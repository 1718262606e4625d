"""Images that are nearly the same: perceptual hashes, and clusters of those that differ little.

The hash is the usual one from the discrete cosine transform, at 256 bits: the image, averaged
over its channels and over a grid of 32 cells per axis, is transformed, and each of the lowest
coefficients but the constant gives one bit, whether it lies above their median. Compression,
resizing, brightness and small crops change a few bits; two different images differ in about half
of them. Mirrored, turned or strongly cropped copies are not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.nn.functional import interpolate

from llm4seg_probe import progress
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.errors import DataError

BITS = 256
DISTANCE = 32
"""Near-duplicates differ in at most so many bits. Slices of different people of `spine` differ in
86 and more, phantoms of one kind in 34 and more."""
CELLS = 32
"""Cells per axis of the grid that an image is averaged over."""
_LOWEST = {2: (16, 16), 3: (4, 8, 8)}
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Cluster:
    """Images that are nearly the same, each as another one of them."""

    members: tuple[int, ...]
    closest: int
    """Bits in which the two most alike differ; 0 to ``BITS``."""


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """Hash of an image (C, H, W) or (C, D, H, W), as four words of 64 bits (4,) uint64."""
    axes = image.ndim - 1
    grey = torch.from_numpy(np.ascontiguousarray(image.mean(axis=0), dtype=np.float32))
    cells = interpolate(grey[None, None], (CELLS,) * axes, mode="area")[0, 0].numpy()
    lowest = tuple(slice(length) for length in _LOWEST[axes])
    # Without the constant, so that 255 bits carry the image and the last one is 0.
    found = dctn(cells.astype(np.float64), norm="ortho")[lowest].ravel()[1:]
    bits = np.append(found > np.median(found), False)
    return np.packbits(bits).view(np.uint64)


def near_duplicates(
    hashes: np.ndarray, units: Sequence[str], distance: int = DISTANCE
) -> list[Cluster]:
    """Clusters of hashes (N, 4) that differ in at most ``distance`` bits, largest first.

    Two images of one unit are never linked: a split keeps them together anyway, and slices of a
    volume are always alike. Links chain, so that the ends of a cluster may differ by more. Time
    grows with N², about a second at N = 10,000; memory with N.
    """
    check_distance(distance)
    count = len(hashes)
    code = np.unique(np.array(units, dtype=str), return_inverse=True)[1]
    label = np.arange(count)
    closest = np.full(count, BITS)
    for start in range(0, count, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, count)
        differing = _differing(hashes[start:stop], hashes[start:])
        differing[code[start:stop, None] == code[None, start:]] = BITS
        np.minimum(closest[start:stop], differing.min(axis=1), out=closest[start:stop])
        np.minimum(closest[start:], differing.min(axis=0), out=closest[start:])
        # What is linked already needs no second link: a set of copies would have N² of them.
        news = (differing <= distance) & (label[start:stop, None] != label[None, start:])
        rows, columns = np.nonzero(news)
        label = _linked(label, rows + start, columns + start)
    order = np.argsort(label, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if count else []
    found = [
        Cluster(tuple(int(i) for i in those), int(closest[those].min()))
        for those in members
        if len(those) > 1
    ]
    return sorted(found, key=lambda cluster: (-len(cluster.members), cluster.members))


def clusters_of(collection: Collection, distance: int = DISTANCE) -> tuple[tuple[str, ...], ...]:
    """Names of the images in each cluster of near-duplicates across units, largest first.

    Raises DataError for a file that cannot be read.
    """
    hashes, samples = [], []
    for sample in progress.track(collection.samples, "Looking for near-duplicates"):
        image = collection.read(sample).image
        if np.ptp(image) > 0:
            hashes.append(perceptual_hash(image))
            samples.append(sample)
    if not hashes:
        return ()
    found = near_duplicates(np.stack(hashes), [sample.unit for sample in samples], distance)
    return tuple(tuple(samples[i].image for i in cluster.members) for cluster in found)


def kept_together(collection: Collection, clusters: Sequence[Sequence[str]]) -> Collection:
    """The collection with the units that a cluster joins made one, which no split parts.

    Its fingerprint stays what it was, so that a split of it is one of the original.
    """
    units = sorted({sample.unit for sample in collection.samples})
    number = {unit: i for i, unit in enumerate(units)}
    label = np.arange(len(units))
    for cluster in clusters:
        inside = np.array([number[collection.sample(image).unit] for image in cluster])
        label = _linked(label, inside[:-1], inside[1:])
    joined = dict(zip(units, (units[i] for i in _first(label)), strict=True))
    samples = tuple(replace(s, together=joined[s.unit]) for s in collection.samples)
    return replace(collection, samples=samples)


def check_distance(distance: int) -> None:
    """Raise DataError for a distance that would link unlike images."""
    if not 0 <= distance < BITS // 2:
        raise DataError(
            f"near-duplicates differ in at most {distance} of {BITS} bits: choose 0 to "
            f"{BITS // 2 - 1}; different images differ in about half"
        )


def _differing(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Differing bits of each pair of hashes, (R, C) int16."""
    total = np.zeros((len(rows), len(columns)), np.int16)
    for word in range(rows.shape[1]):
        total += np.bitwise_count(rows[:, None, word] ^ columns[None, :, word])
    return total


def _linked(label: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Labels (N,) of the components after further links between items."""
    count = len(label)
    # Each item is tied to the first of its label, so that old components stay whole.
    rows = np.concatenate([np.arange(count), here])
    columns = np.concatenate([_first(label), there])
    links = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1])


def _first(label: np.ndarray) -> np.ndarray:
    """For each item, the first item that has its label, (N,)."""
    _, index, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.asarray(index[inverse])
