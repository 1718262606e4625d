"""Odd values of a mask file: findings of `data check`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from llm4seg_probe.data import formats, mask_values
from llm4seg_probe.data.collection import FOREGROUND, Collection, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.errors import DataError

EXPORT = "Export the mask again, one whole number per class"


def mask_labels(collection: Collection, sample: Sample, path: Path) -> Iterator[Finding]:
    """Values of a mask file that no class has, or that are taken for something else."""
    names = (sample.image,)
    binary = len(collection.classes) == 1 or len(sample.mask_files) > 1
    if binary and not collection.labels and formats.suffix_of(path) in formats.PICTURES:
        yield from _soft(names, path)
        return
    try:
        values = [int(value) for value in np.unique(formats.read_labels(path)) if value != 0]
    except DataError as error:
        # What training reads is fine: one slice of it, or what is left after a threshold.
        yield Finding("warning", "mask values", names, str(error), EXPORT)
        return
    if mask_values.rounded(formats.read_pixels(path)):
        what = "labels are not quite whole numbers in the file, and were rounded"
        advice = "A scale factor of the header made them; store whole numbers without one"
        yield Finding("warning", "mask values", names, what, advice)
    if collection.labels:
        named = set(np.hstack([*collection.labels.values()]).tolist())
        unnamed = [value for value in values if value not in named]
        if unnamed:
            what = f"masks hold labels that dataset.json does not name: {_listed(unnamed)}"
            advice = "They count as background; name them if they are classes"
            yield Finding("warning", "mask values", names, what, advice)
        if len(collection.labels) > 1 and collection.classes == (FOREGROUND,) and (
            FOREGROUND not in collection.labels
        ):  # fmt: skip
            named_classes = list(collection.labels)
            what = f"the labels {', '.join(named_classes[:8])} are read as one class"
            advice = f"Name them to keep them apart (--classes {','.join(named_classes[:8])})"
            yield Finding("warning", "classes", names, what, advice)
        return
    negative = [value for value in values if value < 0]
    if negative:
        what = f"masks hold labels below 0, which are taken as background: {_listed(negative)}"
        advice = "Write what is no class, or is not judged, as 0, and number classes from 1"
        yield Finding("warning", "mask values", names, what, advice)
    values = [value for value in values if value > 0]
    if binary and len(values) > 1:
        what = f"masks hold several labels, all taken as one class: {_listed(values)}"
        advice = "Name the classes (--classes) to keep them apart"
        yield Finding("warning", "mask values", names, what, advice)


def shared_masks(collection: Collection) -> Iterator[Finding]:
    """A finding on images that are told to have the same file as their mask."""
    images: dict[tuple[Path, int | None], list[str]] = {}
    for sample in collection.samples:
        for path in sample.mask_files:
            images.setdefault((path, sample.slice), []).append(sample.image)
    for (path, _), names in images.items():
        if len(set(names)) > 1:
            what = f"{path} is the mask of several images"
            advice = "Name the mask of each image, unless they show the same"
            yield Finding("warning", "mask values", tuple(names), what, advice)


def equal_masks(shares: Sequence[tuple[tuple[float, ...], int]]) -> Iterator[Finding]:
    """A finding where the masks of all images are equal, pixel by pixel.

    shares: of each image the share of each class, and a sum over its mask's pixels.
    """
    if len(shares) > 2 and len(set(shares)) == 1 and any(shares[0][0]):
        what = f"the masks of all {len(shares)} images are equal"
        advice = "Look at them: was one file copied for each image?"
        yield Finding("warning", "mask values", (), what, advice)


def _soft(names: tuple[str, ...], path: Path) -> Iterator[Finding]:
    """Grey levels of a picture's mask, which a threshold takes away."""
    pixels = formats.read_picture(path, mask=True).pixels[0]
    if (
        not np.issubdtype(pixels.dtype, np.integer)
        and (odd := pixels[np.rint(pixels) != pixels]).size
    ):
        what = f"{path}: a mask holds whole numbers, this one has {float(odd.flat[0])}"
        yield Finding("warning", "mask values", names, what, EXPORT)
    elif np.unique(pixels[pixels != 0]).size > 1:
        what = "masks hold grey levels between nothing and foreground"
        advice = "They are cut at half the scale (JPEG noise, soft edges); name classes if labels"
        yield Finding("warning", "mask values", names, what, advice)


def _listed(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return shown + (f" and {len(values) - 8} more" if len(values) > 8 else "")
