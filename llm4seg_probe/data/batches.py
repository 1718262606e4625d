"""From a collection to tensors: one image at a time for a loader, or batches in order.

Where ``data.sampling`` is ``patches``, training sees ``patches_per_image`` patches of each image
in an epoch, drawn anew; a probe sees one patch of each image, always the same, that is centred on
the foreground (on the middle of an image without any); a score sees the whole image, over which a
window slides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from llm4seg_probe import progress
from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.augmentation import Augmentation
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.label_noise import Kind, made_wrong, noise_told, wrong_masks
from llm4seg_probe.data.patches import view_of
from llm4seg_probe.data.preprocess import Preprocess
from llm4seg_probe.errors import DataError
from llm4seg_probe.randomness import address, generator

MEMORY_LIMIT = 2**29
"""Bytes of preprocessed images that a data set keeps in memory."""

Item = tuple[Tensor, Tensor, int]
PartsT = TypeVar("PartsT", bound=tuple[Tensor, ...])


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images with their masks, at the size that the network sees."""

    images: Tensor
    """(B, C, H, W) or (B, C, D, H, W) float32."""
    masks: Tensor
    """(B, K, H, W) or (B, K, D, H, W) float32, 0 or 1."""
    names: tuple[str, ...]
    groups: tuple[str, ...]


class _Kept(Generic[PartsT]):
    """What is read of each image, read once: of the first images, as many as fit in memory.

    The others are ``beyond`` memory where that is given, else they are read each time.
    """

    def __init__(
        self,
        count: int,
        read: Callable[[int], PartsT],
        beyond: Callable[[PartsT], PartsT] | None = None,
    ) -> None:
        self._read = read
        self._parts: list[PartsT] = []
        room = MEMORY_LIMIT
        for index in progress.track(range(count), "Reading images"):
            parts = read(index)
            room -= sum(part.numel() * part.element_size() for part in parts)
            if room < 0 and beyond is None:
                break
            self._parts.append(beyond(parts) if beyond and room < 0 else parts)

    def __getitem__(self, index: int) -> PartsT:
        return self._parts[index] if index < len(self._parts) else self._read(index)


class WholeImages(Dataset[Item]):
    """What a score is computed from: the images of one side of a split, not augmented.

    Item ``i`` is (image, mask, i), as :class:`Preprocess` makes them: of image_size, or, where
    patches are cut, of the image's own size at the wanted spacing.
    """

    def __init__(
        self, collection: Collection, ids: tuple[str, ...], data_config: DataConfig
    ) -> None:
        self.samples = tuple(collection.sample(image) for image in ids)
        read = _Reader(collection, self.samples, Preprocess(data_config))
        self._kept = _Kept(len(self.samples), read)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        return (*self._kept[index], index)


class ImageDataset(Dataset[Item]):
    """What the network sees of one side of a split: all of image_size, prepared once.

    Item ``i`` is (image, mask, i). With ``augment_seed``, for training, its patch and its
    augmentation are drawn from the address (seed, epoch, i), so that they depend neither on the
    number of workers nor on what was drawn before; where an epoch goes through the images again,
    the items are counted on beyond the last, and show the same images otherwise. In training a
    share of the masks is wrong (:mod:`label_noise`), where the configuration says so. Without a
    seed, for probes, there is one item for each image, always the same.
    """

    def __init__(
        self,
        collection: Collection,
        ids: tuple[str, ...],
        data_config: DataConfig,
        augment_seed: int | None,
    ) -> None:
        self.samples = tuple(collection.sample(image) for image in ids)
        self._seed = augment_seed
        self._augment = None if augment_seed is None else Augmentation.of(data_config)
        self._view = view_of(data_config, augment_seed)
        # Shared, so that workers which outlive an epoch see the next one.
        epoch: Any = torch.zeros((), dtype=torch.int64)
        self._epoch: Tensor = epoch.share_memory_()
        self._read = _Reader(collection, self.samples, Preprocess(data_config))
        self.noise = ""
        """What was made wrong in the masks, in words; empty where nothing was."""
        self._wrong = {} if augment_seed is None else self._drawn_wrong(data_config, augment_seed)
        self._kept = _Kept(len(self.samples), self._prepared, self._view.beyond)

    def __len__(self) -> int:
        return len(self.samples) * self._view.per_image

    def __iter__(self) -> Iterator[Item]:
        """The items of one pass; by number they go on beyond it, and never end."""
        return (self[index] for index in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose patches and augmentations are drawn, from 0."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Item:
        epoch = int(self._epoch)
        kept = self._kept[index % len(self) // self._view.per_image]
        image, mask = self._view.seen(kept, epoch, index)
        if self._augment is not None and self._seed is not None:
            place = address(self._seed, "augmentation", epoch, index)
            image, mask = self._augment(image, mask, place)
        return image, mask, index

    def _prepared(self, index: int) -> tuple[Tensor, ...]:
        image, mask = self._read(index)
        name = self.samples[index].image
        if name in self._wrong and self._seed is not None:
            mask = made_wrong(mask, self._wrong[name], self._seed, name)
        return self._view.prepared(image, mask)

    def _drawn_wrong(self, data_config: DataConfig, seed: int) -> dict[str, Kind]:
        """The images whose masks are wrong, of those that have foreground as the network sees."""
        if data_config.label_noise == 0:
            return {}
        every = progress.track(range(len(self.samples)), "Looking for foreground")
        names = [self.samples[index].image for index in every if self._read(index)[1].any()]
        chosen = wrong_masks(names, data_config.label_noise, seed)
        self.noise = noise_told(chosen, len(names), data_config.label_noise, seed)
        return chosen


class _Reader:
    """Image and mask of a sample by its index, preprocessed; errors name the file."""

    def __init__(
        self, collection: Collection, samples: tuple[Sample, ...], preprocess: Preprocess
    ) -> None:
        self._collection = collection
        self._samples = samples
        self._preprocess = preprocess

    def __call__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self._samples[index]
        raw = self._collection.read_to_train(sample)
        try:
            return self._preprocess(raw), self._preprocess.mask(raw)
        except DataError as error:
            raise DataError(f"{sample.image_file}: {error}") from error


class EpochSampler(Sampler[int]):
    """A new order in each epoch, drawn from the address (seed, "order", epoch).

    The same for every number of workers, and after an interruption. An epoch of ``length`` items
    other than ``n`` is cut off, or goes on in further orders (seed, "order", epoch, pass), whose
    items are counted on: those of the second pass are n, n + 1, …
    """

    def __init__(self, n: int, seed: int, length: int | None = None) -> None:
        self._n = n
        self._seed = seed
        self._length = n if length is None else length
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        for start in range(0, self._length, self._n):
            again = (start // self._n,) if start else ()
            source = generator(self._seed, "order", self._epoch, *again)
            order = torch.randperm(self._n, generator=source)[: self._length - start]
            yield from (start + order).tolist()


def batches(dataset: ImageDataset | WholeImages, size: int) -> Iterator[Batch]:
    """Its images in order, ``size`` at a time and the last batch perhaps smaller.

    One item stands for each image: the data set is not one that patches are drawn from.
    """
    for start in range(0, len(dataset), size):
        chosen = range(start, min(start + size, len(dataset)))
        items = [dataset[i] for i in chosen]
        yield Batch(
            images=torch.stack([image for image, _, _ in items]),
            masks=torch.stack([mask for _, mask, _ in items]),
            names=tuple(dataset.samples[i].image for i in chosen),
            groups=tuple(dataset.samples[i].group for i in chosen),
        )
