"""Images and files of a data set, one by one: what can be read, and what is odd about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from llm4seg_probe.data import dicom, formats
from llm4seg_probe.data.collection import Collection, RawImage, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.metaimage import read_metaimage
from llm4seg_probe.data.near_duplicates import perceptual_hash
from llm4seg_probe.errors import DataError

_PLACED: dict[str, Callable[[Path], nibabel.Nifti1Image]] = {
    ".nii": nibabel.load,
    ".nii.gz": nibabel.load,
    ".nrrd": formats.read_nrrd,
    ".mha": read_metaimage,
    ".mhd": read_metaimage,
}
"""Formats that say where in space their voxels lie, with what reads one."""
REPLACE = "Repair or replace the file, or take the image out of the set"
EXPORT = "Export the mask again, one whole number per class"


@dataclass(frozen=True, eq=False)
class Inspected:
    """What is kept of an image that was read."""

    sample: Sample
    channels: int
    axes: int
    spacing: tuple[float, ...] | None
    present: tuple[bool, ...]
    """Whether each class has a pixel."""
    hash: np.ndarray | None
    """Its perceptual hash; None where every pixel is the same."""


def inspect_image(collection: Collection, sample: Sample) -> tuple[Inspected | None, list[Finding]]:
    """Read an image and its mask; None where that is not possible, and what was found."""
    try:
        raw = collection.read(sample)
    except DataError as error:
        return None, list(_why_unread(sample, error))
    constant = np.ptp(raw.image) == 0
    kept = Inspected(
        sample=sample,
        channels=raw.image.shape[0],
        axes=raw.image.ndim - 1,
        spacing=raw.spacing,
        present=tuple(bool(plane.any()) for plane in raw.mask),
        hash=None if constant else perceptual_hash(raw.image),
    )
    return kept, list(_oddities(sample, raw, constant))


def _why_unread(sample: Sample, error: DataError) -> Iterator[Finding]:
    """One finding per unreadable file; where all can be read, that they do not fit."""
    names = (sample.image,)
    shapes, broken = set(), False
    for path in sample.files:
        try:
            shapes.add(formats.read_image(path, sample.slice)[0].shape[1:])
        except DataError as reason:
            broken = True
            yield Finding("error", "unreadable", names, str(reason), REPLACE)
    if broken:
        return
    if len(shapes) > 1:
        advice = "Image and mask need the same pixels: export the mask on the image's grid"
        yield Finding("error", "size", names, str(error), advice)
    else:
        yield Finding(
            "error",
            "mask values",
            names,
            str(error),
            EXPORT,
        )


def _oddities(sample: Sample, raw: RawImage, constant: bool) -> Iterator[Finding]:
    names = (sample.image,)
    if constant:
        what = "every pixel of the image is the same"
        yield Finding(
            "warning", "constant image", names, what, "Look whether it is a failed export"
        )
    if not raw.mask.any():
        advice = (
            "Keep it if there is nothing to find in it; scores of empty masks follow their rule"
        )
        yield Finding("warning", "empty mask", names, "the mask is empty", advice)
    elif raw.mask.any(axis=0).all():
        what = "the mask covers the whole image"
        yield Finding("warning", "full mask", names, what, "Look whether the mask is inverted")


def inspect_files(collection: Collection, sample: Sample) -> Iterator[Finding]:
    """What is odd about the files of a sample that can be read: depth, mask values, places."""
    for path in (sample.image_file, *sample.channel_files):
        yield from _depth(sample, path)
    for path in sample.mask_files:
        yield from _values(collection, sample, path)
        yield from _places(sample, path)


def _depth(sample: Sample, path: Path) -> Iterator[Finding]:
    """Pictures of 16 bits, whose scale nothing in the file states."""
    if formats.suffix_of(path) not in formats.PICTURES:
        return
    with Image.open(path) as picture:
        if not picture.mode.startswith("I"):
            return
    what = f"{path}: has 16 bits, up to {int(formats.read_pixels(path).max())} of 65535"
    advice = "It is divided by 257, as the full scale: store fewer bits or other units as NIfTI"
    yield Finding("warning", "16 bits", (sample.image,), what, advice)


def orientation_of(path: Path) -> str:
    """Directions of a volume file's axes, such as ``RAS``; empty where the file has none."""
    affine = affine_of(path)
    return "" if affine is None else "".join(nibabel.aff2axcodes(affine))


def affine_of(path: Path) -> np.ndarray | None:
    """Voxel to millimetres (4, 4) of a volume that can be read; None for formats without."""
    read = dicom.read_series if path.is_dir() else _PLACED.get(formats.suffix_of(path) or "")
    return None if read is None else np.asarray(read(path).affine)


def _values(collection: Collection, sample: Sample, path: Path) -> Iterator[Finding]:
    names = (sample.image,)
    try:
        values = [int(value) for value in np.unique(formats.read_labels(path)) if value != 0]
    except DataError as error:
        # What training reads is fine: one slice of it, or what is left after a threshold.
        yield Finding("warning", "mask values", names, str(error), EXPORT)
        return
    if collection.labels:
        named = set(np.hstack([*collection.labels.values()]).tolist())
        unnamed = [value for value in values if value not in named]
        if unnamed:
            what = f"masks hold labels that dataset.json does not name: {_listed(unnamed)}"
            advice = "They count as background; name them if they are classes"
            yield Finding("warning", "mask values", names, what, advice)
        return
    binary = len(collection.classes) == 1 or len(sample.mask_files) > 1
    if not binary or len(values) < 2:
        return
    if formats.suffix_of(path) in formats.PICTURES:
        what = "masks hold grey levels between nothing and foreground"
        advice = "They are cut at half the scale (JPEG noise, soft edges); name classes if labels"
    else:
        what = f"masks hold several labels, all taken as one class: {_listed(values)}"
        advice = "Name the classes (--classes) to keep them apart"
    yield Finding("warning", "mask values", names, what, advice)


def _places(sample: Sample, mask_file: Path) -> Iterator[Finding]:
    """Whether image and mask lie at the same place in space, where both say so."""
    image, mask = affine_of(sample.image_file), affine_of(mask_file)
    if image is None or mask is None:
        return
    here, there = ("".join(nibabel.aff2axcodes(affine)) for affine in (image, mask))
    if here != there:
        what = f"{mask_file}: its axes run {there}, those of its image {here}"
        advice = "One of the headers is wrong, or the mask would be turned against its image"
        yield Finding("error", "orientation", (sample.image,), what, advice)
    elif not np.allclose(image, mask, atol=0.05):
        what = f"{mask_file}: lies elsewhere in space than its image (up to {_apart(image, mask)})"
        advice = "Pixels are matched by their order: look at the contact sheet"
        yield Finding("warning", "orientation", (sample.image,), what, advice)


def _apart(a: np.ndarray, b: np.ndarray) -> str:
    return f"{np.abs(a - b).max():.3g} mm"


def _listed(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return shown + (f" and {len(values) - 8} more" if len(values) > 8 else "")
