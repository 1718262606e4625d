"""MedMNIST's files: ``train_images``, ``train_labels``, and the same of ``val`` and ``test``.

Images are (N, H, W) grey, (N, H, W, 3) in colour, or (N, D, H, W) of volumes, 0 to 255; labels
are (N, 1), numbers of classes from 0, or (N, K) of K classes that an image has or not. The sides
are those of ``data.split=own``. The file does not say whose the images are: each is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from llm4seg_probe.data.collection import (
    FOREGROUND,
    SIDES,
    Collection,
    RawImage,
    Sample,
    label_mask,
)
from llm4seg_probe.data.label_values import from_numbers
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.arrays import NUMBERS, read_npz

SUFFIX = ".npz"
_PARTS = ("images", "labels")
_ALL = tuple(f"{side}_{part}" for side in SIDES for part in _PARTS)
_COLOURS = 3


@dataclass(frozen=True, eq=False)
class ArrayCollection(Collection):
    """Images that lie in arrays, in memory."""

    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    """(N, H, W), (N, H, W, 3) or (N, D, H, W) by side."""

    def read(self, sample: Sample) -> RawImage:
        """Image and labels of a sample."""
        assert sample.labels is not None
        image = self.pixels[sample.side][_number(sample)]
        coloured = image.ndim == 3 and image.shape[-1] == _COLOURS
        image = np.moveaxis(image, -1, 0) if coloured else image[None]
        mask = label_mask(sample.labels, image.ndim - 1)
        return RawImage(image.astype(np.float32), mask, None, sample.modality)


def _number(sample: Sample) -> int:
    return int(sample.image.rpartition("-")[2])


def read_medmnist(path: Path, classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """Open such a file, without pickle; raises DataError that names the array."""
    arrays = read_npz(path, DataError, _ALL, kinds=NUMBERS)
    missing = [name for name in _ALL if name not in arrays]
    if missing:
        raise DataError(
            f"{path}: lacks {', '.join(missing)}: a file of MedMNIST has images and labels of "
            f"{', '.join(SIDES)}"
        )
    samples: list[Sample] = []
    for side in SIDES:
        images, labels = (arrays[f"{side}_{part}"] for part in _PARTS)
        _check_images(images, arrays[f"{SIDES[0]}_images"], f"{path}: {side}_images")
        if len(images) != len(labels):
            raise DataError(
                f"{path}: {side}_images are {len(images)}, but {side}_labels {len(labels)}"
            )
        for number, has in enumerate(from_numbers(labels, classes, f"{path}: {side}_labels")):
            name = f"{side}-{number:06d}"
            samples.append(Sample(name, name, "photo", path, (), side=side, labels=has))
    return ArrayCollection(
        name=path.stem,
        samples=tuple(samples),
        classes=classes,
        note="The file does not say whose the images are: each counts as its own.",
        pixels={side: arrays[f"{side}_images"] for side in SIDES},
    )


def _check_images(images: np.ndarray, first: np.ndarray, where: str) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{where}: are {list(images.shape)} of type {images.dtype}; images of MedMNIST are "
            "(N, H, W), (N, H, W, 3) or (N, D, H, W) of type uint8"
        )
    if len(images) == 0:
        raise DataError(f"{where}: hold no image")
    if images.shape[1:] != first.shape[1:]:
        raise DataError(
            f"{where}: are {list(images.shape[1:])} each, those of {SIDES[0]} "
            f"{list(first.shape[1:])}"
        )
