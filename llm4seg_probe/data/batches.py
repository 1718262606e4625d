"""From a collection to tensors: one image at a time for a loader, or batches in order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from llm4seg_probe import progress
from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.augmentation import Augmentation
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.transforms import Preprocess
from llm4seg_probe.errors import DataError
from llm4seg_probe.randomness import address, generator

MEMORY_LIMIT = 2**29
"""Bytes of preprocessed images that a data set keeps in memory; a larger one reads each time."""

Item = tuple[Tensor, Tensor, int]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images with their masks, at the size that the network sees."""

    images: Tensor
    """(B, C, H, W) or (B, C, D, H, W) float32."""
    masks: Tensor
    """(B, K, H, W) or (B, K, D, H, W) float32, 0 or 1."""
    names: tuple[str, ...]
    groups: tuple[str, ...]


class ImageDataset(Dataset[Item]):
    """Images of one side of a split, preprocessed once, augmented anew in each epoch.

    Item ``i`` is (image, mask, i). With ``augment_seed`` its augmentation is drawn from the
    address (seed, epoch, i), so that it depends neither on the number of workers nor on what was
    drawn before; without, there is none.
    """

    def __init__(
        self,
        collection: Collection,
        ids: tuple[str, ...],
        data_config: DataConfig,
        augment_seed: int | None,
    ) -> None:
        self.samples = tuple(collection.sample(image) for image in ids)
        self._collection = collection
        self._preprocess = Preprocess(data_config)
        self._seed = augment_seed
        self._augment = None if augment_seed is None else Augmentation.of(data_config)
        # Shared, so that workers which outlive an epoch see the next one.
        epoch: Any = torch.zeros((), dtype=torch.int64)
        self._epoch: Tensor = epoch.share_memory_()
        self._kept: list[tuple[Tensor, Tensor]] = []
        if self.samples and self._bytes_of_all() <= MEMORY_LIMIT:
            indices = range(len(self.samples))
            self._kept = [self._read(i) for i in progress.track(indices, "Reading images")]

    def __len__(self) -> int:
        return len(self.samples)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose augmentations are drawn, from 0."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Item:
        image, mask = self._kept[index] if self._kept else self._read(index)
        if self._augment is not None and self._seed is not None:
            place = address(self._seed, "augmentation", int(self._epoch), index)
            image, mask = self._augment(image, mask, place)
        return image, mask, index

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self.samples[index]
        raw = self._collection.read(sample)
        try:
            return self._preprocess(raw), self._preprocess.mask(raw)
        except DataError as error:
            raise DataError(f"{sample.image_file}: {error}") from error

    def _bytes_of_all(self) -> int:
        config = self._preprocess.config
        channels = config.channels + len(self._collection.classes)
        return 4 * channels * math.prod(config.image_size) * len(self.samples)


class EpochSampler(Sampler[int]):
    """A new order in each epoch, drawn from the address (seed, "order", epoch).

    The same for every number of workers, and after an interruption.
    """

    def __init__(self, n: int, seed: int) -> None:
        self._n = n
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self._n, generator=generator(self._seed, "order", self._epoch))
        return iter(order.tolist())


def batches(dataset: ImageDataset, size: int) -> Iterator[Batch]:
    """The data set in its own order, ``size`` images at a time, the last batch perhaps smaller."""
    for start in range(0, len(dataset), size):
        chosen = range(start, min(start + size, len(dataset)))
        items = [dataset[i] for i in chosen]
        yield Batch(
            images=torch.stack([image for image, _, _ in items]),
            masks=torch.stack([mask for _, mask, _ in items]),
            names=tuple(dataset.samples[i].image for i in chosen),
            groups=tuple(dataset.samples[i].group for i in chosen),
        )
