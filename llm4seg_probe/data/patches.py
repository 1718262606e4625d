"""Cut patches of large images for training; memory-map what does not fit in RAM."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from llm4seg_probe.config import DataConfig
from llm4seg_probe.randomness import generator
from llm4seg_probe.storage import cache_folder


def on_disk(tensor: Tensor) -> Tensor:
    """The same values, read from disk where they are looked at.

    The file lies in the cache folder without a name, so that its space is free again with the
    tensor, or when the process ends in any way. Raises OSError where the disk is full.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="mapped-") as file:
        file.write(tensor.contiguous().flatten().numpy().data)
        file.flush()
        mapped = torch.from_file(file.name, size=tensor.numel(), dtype=tensor.dtype)
    return mapped.view(tensor.shape)


LARGEST_LIST = 10_000
"""Foreground pixels of a class that are kept to choose centres from, evenly along the class."""

Places = tuple[Tensor, ...]
"""Flat indices of foreground pixels by class, the classes without any left out."""


class View(Protocol):
    """What a data set shows of an image: how often in an epoch, what of it is kept, and which part.

    Images are (C, *grid), masks (K, *grid) in float32.
    """

    @property
    def per_image(self) -> int:
        """Items of one image in an epoch."""

    @property
    def beyond(self) -> Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] | None:
        """How that is kept which does not fit in memory; None: not at all."""

    def prepared(self, image: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """What is kept of an image and its mask."""

    def seen(self, kept: tuple[Tensor, ...], epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """Image and mask of the item ``index`` of an epoch, from what is kept."""


class Whole:
    """The image as it is."""

    per_image = 1
    beyond = None

    def prepared(self, image: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Both as they are."""
        return image, mask

    def seen(self, kept: tuple[Tensor, ...], epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """Both as they are."""
        image, mask = kept
        return image, mask


@dataclass(frozen=True)
class CentralPatch:
    """One patch that stands for the image, on its foreground: what probes see."""

    size: tuple[int, ...]
    per_image = 1
    beyond = None

    def prepared(self, image: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The patch of both; the rest of the image is not kept."""
        image, mask = padded_pair(image, mask, self.size)
        start = central_start(mask, self.size)
        return cut(image, start, self.size).clone(), cut(mask, start, self.size).clone()

    def seen(self, kept: tuple[Tensor, ...], epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """The patch."""
        image, mask = kept
        return image, mask


@dataclass(frozen=True)
class RandomPatches:
    """Patches drawn from the address (seed, "patch", epoch, index): what training sees."""

    size: tuple[int, ...]
    per_image: int
    foreground_share: float
    seed: int

    def beyond(self, kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """In files, of which a patch reads its part."""
        return tuple(map(on_disk, kept))

    def prepared(self, image: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Both, padded, the mask as bool; then where each class has its foreground."""
        image, mask = padded_pair(image, mask, self.size)
        return image, mask > 0.5, *foreground_places(mask)

    def seen(self, kept: tuple[Tensor, ...], epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """One patch of both, in memory of its own."""
        image, mask, *places = kept
        source = generator(self.seed, "patch", epoch, index)
        grid = tuple(image.shape[1:])
        start = random_start(grid, self.size, tuple(places), self.foreground_share, source)
        patch = cut(image, start, self.size).clone(memory_format=torch.contiguous_format)
        return patch, cut(mask, start, self.size).float()


def view_of(config: DataConfig, seed: int | None) -> View:
    """What a configuration shows of each image: in training with a seed, in probes without."""
    if config.sampling == "whole":
        return Whole()
    if seed is None:
        return CentralPatch(config.image_size)
    return RandomPatches(config.image_size, config.patches_per_image, config.foreground_share, seed)


def foreground_places(mask: Tensor) -> Places:
    """Where a patch may be centred on the foreground of a mask (K, *grid).

    Of a class with more than ``LARGEST_LIST`` pixels every n-th is kept.
    """
    found = (torch.nonzero(plane.flatten() > 0.5)[:, 0] for plane in mask)
    return tuple(
        where[:: -(-len(where) // LARGEST_LIST)].clone() for where in found if len(where) > 0
    )


def random_start(
    grid: Sequence[int],
    size: Sequence[int],
    places: Places,
    foreground_share: float,
    source: torch.Generator,
) -> tuple[int, ...]:
    """Lower corner of one patch of ``size`` in an image of ``grid``, both (axes,) in pixels.

    With the probability ``foreground_share`` the patch is centred on a foreground pixel, as far
    as the border allows: of a class drawn first, so that small classes count as much as large
    ones. Otherwise, and in an image without foreground, it lies anywhere.
    """
    on_foreground = torch.rand((), generator=source).item() < foreground_share
    if on_foreground and places:
        own = places[_draw(len(places), source)]
        centre = torch.unravel_index(own[_draw(len(own), source)], tuple(grid))
        return start_around([int(place) for place in centre], grid, size)
    return tuple(
        _draw(max(length - side, 0) + 1, source) for length, side in zip(grid, size, strict=True)
    )


def central_start(mask: Tensor, size: Sequence[int]) -> tuple[int, ...]:
    """Lower corner of the one patch that stands for an image with its mask (K, *grid).

    It is centred on the foreground pixel, of any class, that is nearest to their centre of mass;
    without foreground, on the middle of the image.
    """
    grid = tuple(mask.shape[1:])
    places = torch.nonzero((mask > 0.5).any(0)).double()
    if len(places) == 0:
        return start_around([length // 2 for length in grid], grid, size)
    nearest = (places - places.mean(0)).square().sum(1).argmin()
    return start_around([int(place) for place in places[nearest]], grid, size)


def start_around(
    centre: Sequence[int], grid: Sequence[int], size: Sequence[int]
) -> tuple[int, ...]:
    """Lower corner of the patch around a pixel, moved so that it does not leave the image.

    >>> start_around((5, 0), (20, 20), (4, 8))
    (3, 0)
    """
    return tuple(
        min(max(place - side // 2, 0), max(length - side, 0))
        for place, length, side in zip(centre, grid, size, strict=True)
    )


def cut(pixels: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    """The patch (C, *size) of pixels (C, *grid) that begins at a corner."""
    window = tuple(slice(low, low + side) for low, side in zip(start, size, strict=True))
    return pixels[(slice(None), *window)]


def padded_pair(image: Tensor, mask: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Both with at least ``size`` pixels per axis: the image's lowest value and no foreground."""
    return padded(image, size), padded(mask, size, value=0.0)


def padded(pixels: Tensor, size: Sequence[int], value: float | None = None) -> Tensor:
    """Pixels (C, *grid), with ``value`` on both sides of each axis that is shorter than ``size``.

    By default their lowest value: air in CT, the dark background of MR and of most pictures.
    """
    added = [max(side - length, 0) for length, side in zip(pixels.shape[1:], size, strict=True)]
    if not any(added):
        return pixels
    # torch counts axes from the last. The smaller half comes first, as in :func:`unpadded`.
    sides = [amount for lack in reversed(added) for amount in (lack // 2, lack - lack // 2)]
    return pad(pixels, sides, value=pixels.min().item() if value is None else value)


def unpadded(pixels: Tensor, grid: Sequence[int]) -> Tensor:
    """The middle (C, *grid) of pixels that :func:`padded` has made larger."""
    start = [(length - side) // 2 for length, side in zip(pixels.shape[1:], grid, strict=True)]
    return cut(pixels, start, grid)


def _draw(count: int, source: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=source))
