"""A data set as opened: which images there are, whose they are, and how one is read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from llm4seg_probe.data import formats
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.progress import track
from llm4seg_probe.reading.names import as_utf8, is_utf8
from llm4seg_probe.storage import sha256_of_file

FOREGROUND = "foreground"
"""The class that stands for all labels of a mask together."""

SIDES = ("train", "val", "test")
"""Sides of a split, where a data set has its own."""

Labels = Mapping[str, int | tuple[int, ...]]
"""Value of each class in the mask files; several for a region that is made of several labels."""


@dataclass(frozen=True)
class Sample:
    """One image of a data set, with its mask."""

    image: str
    """Unique name, the ``image`` of all tables."""
    group: str
    """Patient or case, the ``group`` of all tables."""
    modality: str
    """``ct`` (Hounsfield units), ``mr``, ``photo`` (8-bit), or ``unknown``."""
    image_file: Path
    """A file, or the folder of a DICOM series."""
    mask_files: tuple[Path, ...]
    """One file with all labels, or one binary file per class."""
    slice: int | None = None
    """Index of an axial slice, from the feet up, when the sample is a slice of a volume."""
    spacing: tuple[float, ...] | None = None
    """Millimetres per axis of the image, where the file itself does not tell."""
    slice_spacing: float | None = None
    """Millimetres from one slice of the volume to the next."""
    together: str = ""
    """Groups that share this text are never parted by a split: perhaps the same person."""
    channel_files: tuple[Path, ...] = ()
    """Files of the channels after the first, on the same grid, where each has its own."""
    side: str = ""
    """One of ``SIDES``, where the data set itself says on which it is."""
    labels: tuple[bool, ...] | None = None
    """Whether the image has each of the classes, where that is known instead of a mask."""

    @property
    def unit(self) -> str:
        """What a split must not part: ``together`` where given, else the group."""
        return self.together or self.group

    @property
    def files(self) -> tuple[Path, ...]:
        """Every path the sample is read from, its image first."""
        return (self.image_file, *self.channel_files, *self.mask_files)


@dataclass(frozen=True, eq=False)
class RawImage:
    """Pixels as they are on disk, in their own grid.

    Axes follow the usual display: rows from anterior to posterior, columns from the patient's
    right to left, slices from the feet up.
    """

    image: np.ndarray
    """(C, H, W) or (C, D, H, W) float32: HU, raw MR signal, or 0-255 for ``photo``."""
    mask: np.ndarray
    """(K, H, W) or (K, D, H, W) bool, the K classes without background; (K, 1, 1) or (K, 1, 1, 1)
    where it is labels of the whole image."""
    spacing: tuple[float, ...] | None
    """Millimetres per axis, in the order of the axes; None when unknown."""
    modality: str


@dataclass(frozen=True, eq=False)
class Collection:
    """A data set as opened. Samples stand in the order of their names or of ``samples.csv``."""

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    """Names of the mask's channels, background left out."""
    labels: Labels = field(default_factory=dict)
    """Value of each class in the mask files; empty: binary masks, or 1, 2, … in class order."""
    licence: str = ""
    source: str = ""
    note: str = ""
    noticed: tuple[Finding, ...] = ()
    """What was seen as the set was listed: files that are not used, groups, folders of classes."""

    @property
    def of_labels(self) -> bool:
        """Whether the images have labels and no masks."""
        return any(sample.labels is not None for sample in self.samples)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, groups and the bytes of every file, as hexadecimal text."""
        return fingerprint_of(self.samples)

    @cached_property
    def _by_name(self) -> dict[str, Sample]:
        return {sample.image: sample for sample in self.samples}

    def sample(self, image: str) -> Sample:
        """The sample of that name; raises DataError with the nearest names."""
        if image not in self._by_name:
            raise DataError(f"{self.name}: {unknown('image', image, list(self._by_name)[:20])}")
        return self._by_name[image]

    def read(self, sample: Sample) -> RawImage:
        """Image and mask of a sample; raises DataError that names the file."""
        image, spacing = _read_image(sample)
        if sample.labels is not None:
            mask = label_mask(sample.labels, image.ndim - 1)
            return RawImage(image, mask, sample.spacing or spacing, sample.modality)
        mask = self._read_mask(sample)
        if mask.shape[1:] != image.shape[1:]:
            raise DataError(
                f"{sample.mask_files[0]}: the mask is {_size(mask.shape[1:])}, "
                f"its image {sample.image_file.name} is {_size(image.shape[1:])}"
                f"{_turned(sample, mask.shape[1:], image.shape[1:])}"
            )
        return RawImage(image, mask, sample.spacing or spacing, sample.modality)

    def read_to_train(self, sample: Sample) -> RawImage:
        """As :meth:`read`, with an error that says how all such files of a set are found."""
        try:
            return self.read(sample)
        except DataError as error:
            raise DataError(
                f"{error}. Repair it or take it out; `llm4seg-probe data check` lists all such "
                "files of a data set"
            ) from error

    def _read_mask(self, sample: Sample) -> np.ndarray:
        if len(sample.mask_files) > 1:
            planes = [
                formats.read_binary(path, sample.slice, sample.image_file)
                for path in sample.mask_files
            ]
            if len({plane.shape for plane in planes}) > 1:
                raise DataError(f"{sample.image}: its masks of the classes differ in size")
            return np.stack(planes)
        path = sample.mask_files[0]
        if not self.labels and len(self.classes) == 1:
            return formats.read_binary(path, sample.slice, sample.image_file)[None]
        labels = formats.read_labels(path, sample.slice, sample.image_file)
        values = dict(self.labels) or {name: i + 1 for i, name in enumerate(self.classes)}
        _check_labels(labels, values, path)
        if self.classes == (FOREGROUND,) and FOREGROUND not in values:
            return (labels > 0)[None]
        return np.stack([_where(labels, values[name]) for name in self.classes])


def label_mask(labels: Sequence[bool], axes: int) -> np.ndarray:
    """Labels of a whole image as a mask of one pixel: (K, 1, 1), or (K, 1, 1, 1) of a volume."""
    return np.asarray(labels, bool).reshape(-1, *[1] * axes)


def is_label(mask: Sequence[int], image: Sequence[int]) -> bool:
    """Whether a mask of this shape (K, *grid) is labels of the whole image (C, *grid)."""
    return math.prod(mask[1:]) == 1 < math.prod(image[1:])


def _read_image(sample: Sample) -> tuple[np.ndarray, tuple[float, ...] | None]:
    image, spacing = formats.read_image(sample.image_file, sample.slice, sample.modality)
    if not sample.channel_files:
        return image, spacing
    channels = [image]
    for path in sample.channel_files:
        channel = formats.read_image(path, sample.slice, sample.modality, sample.image_file)[0]
        if channel.shape[1:] != image.shape[1:]:
            raise DataError(
                f"{path}: this channel is {_size(channel.shape[1:])}, "
                f"{sample.image_file.name} is {_size(image.shape[1:])}"
            )
        channels.append(channel)
    return np.concatenate(channels), spacing


def _turned(sample: Sample, mask: tuple[int, ...], image: tuple[int, ...]) -> str:
    """What turned a mask, or its image, where their sizes do not fit."""
    if formats.axes_beside(sample.mask_files[0], sample.image_file):
        return (
            ", in the order in which both are stored, as they do not both state a place in space: "
            "copy the geometry of the image into the header of the mask"
        )
    if mask != image[::-1] or formats.suffix_of(sample.image_file) not in formats.PICTURES:
        return ""
    turned = formats.read_picture(sample.image_file).turned
    if turned == 1:
        return ""
    return (
        f" once it is turned as its EXIF orientation {turned} says: draw the mask on the image as "
        "viewers show it"
    )


def _where(labels: np.ndarray, value: int | tuple[int, ...]) -> np.ndarray:
    return np.isin(labels, value) if isinstance(value, tuple) else labels == value


def _check_labels(labels: np.ndarray, values: Labels, path: Path) -> None:
    highest = max(max(v) if isinstance(v, tuple) else v for v in values.values())
    if labels.max(initial=0) > highest or labels.min(initial=0) < 0:
        wrong = labels.max(initial=0) if labels.max(initial=0) > highest else labels.min()
        raise DataError(
            f"{path}: holds the label {wrong}, but only {len(values)} classes are "
            f"named, up to {highest} ({', '.join(values)})"
        )


def fingerprint_of(samples: tuple[Sample, ...]) -> str:
    """SHA-256 over names, groups, slices and file contents; where the files lie does not count."""
    total = hashlib.sha256()
    paths = dict.fromkeys(path for sample in samples for path in sample.files)
    contents = {path: _content_of(path) for path in track(paths, "Checking the files")}
    for sample in samples:
        if not is_utf8(sample.image):
            raise DataError(f"the name of the image '{as_utf8(sample.image)}' is not in UTF-8")
        parts = [sample.image, sample.group, sample.modality, str(sample.slice)]
        if sample.labels is not None:
            parts.append("".join(str(int(has)) for has in sample.labels))
        parts += [contents[path] for path in sample.files]
        total.update("\x1f".join(parts).encode() + b"\n")
    return total.hexdigest()


def _content_of(path: Path) -> str:
    """SHA-256 of a file; of the files' own, where an image is made of several."""
    files = formats.files_of(path)
    if files == (path,):
        return sha256_of_file(path)
    return hashlib.sha256("\n".join(map(sha256_of_file, files)).encode()).hexdigest()


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
