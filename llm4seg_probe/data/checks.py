"""Check a data set before training: what is unreadable, inconsistent, duplicated or leaking."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4seg_probe import progress
from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Collection, RawImage, Sample
from llm4seg_probe.data.file_findings import (
    modality,
    palette,
    picture,
    scale,
    stated_in,
    transparency,
    two_spacings,
)
from llm4seg_probe.data.findings import Finding, merged
from llm4seg_probe.data.label_values import label_counts
from llm4seg_probe.data.mask_findings import EXPORT, equal_masks, mask_labels, shared_masks
from llm4seg_probe.data.near_duplicates import BITS, DISTANCE, near_duplicates, perceptual_hash
from llm4seg_probe.data.places import compared, place_of
from llm4seg_probe.data.splits import SIDES, Split, problems
from llm4seg_probe.errors import DataError

REPLACE = "Repair or replace the file, or take the image out of the set"
_NEARLY_ALL = 0.9
"""Share of the images in which a class has most of the pixels from which masks are doubted."""


@dataclass(frozen=True, eq=False)
class Inspected:
    """What is kept of an image that was read."""

    sample: Sample
    channels: int
    axes: int
    spacing: tuple[float, ...] | None
    present: tuple[bool, ...]
    """Whether each class has a pixel."""
    shares: tuple[float, ...]
    """Share of the pixels that each class has; none where the image has labels and no mask."""
    mask_sum: int
    """A checksum of its mask's pixels."""
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
        shares=tuple(float(plane.mean()) for plane in raw.mask) if sample.labels is None else (),
        mask_sum=zlib.crc32(raw.mask.tobytes()),
        hash=None if constant else perceptual_hash(raw.image),
    )
    return kept, list(_oddities(sample, raw, constant))


def _why_unread(sample: Sample, error: DataError) -> Iterator[Finding]:
    """One finding per unreadable file; where all can be read, that they do not fit."""
    names = (sample.image,)
    shapes, broken = set(), False
    for path in sample.files:
        try:
            shapes.add(_shape(sample, path))
        except DataError as reason:
            broken = True
            yield Finding("error", "unreadable", names, str(reason), REPLACE)
    if broken:
        return
    if len(shapes) > 1:
        advice = "Image and mask need the same pixels: export the mask on the image's grid"
        yield Finding("error", "size", names, str(error), advice)
    else:
        yield Finding("error", "mask values", names, str(error), EXPORT)


def _shape(sample: Sample, path: Path) -> tuple[int, ...]:
    """Pixels along each axis of a file; raises DataError where it cannot be read."""
    if path not in sample.mask_files:
        beside = None if path == sample.image_file else sample.image_file
        return formats.read_image(path, sample.slice, sample.modality, beside)[0].shape[1:]
    shape = formats.read_pixels(path, sample.image_file).shape[1:]
    return shape if sample.slice is None or len(shape) < 3 else shape[1:]


def _oddities(sample: Sample, raw: RawImage, constant: bool) -> Iterator[Finding]:
    names = (sample.image,)
    yield from scale(sample, raw, constant)
    if constant:
        what = "every pixel of the image is the same"
        yield Finding(
            "warning", "constant image", names, what, "Look whether it is a failed export"
        )
    if sample.labels is not None:
        return
    if not raw.mask.any():
        advice = (
            "Keep it if there is nothing to find in it; scores of empty masks follow their rule"
        )
        yield Finding("warning", "empty mask", names, "the mask is empty", advice)
    elif raw.mask.any(axis=0).all():
        what = "the mask covers the whole image"
        yield Finding("warning", "full mask", names, what, "Look whether the mask is inverted")


def inspect_files(collection: Collection, sample: Sample) -> tuple[str, list[Finding]]:
    """How the image's axes run, and what is odd about its files: depth, mask values, places."""
    found: list[Finding] = []
    place = place_of(sample.image_file)
    found += modality(sample)
    for path in (sample.image_file, *sample.channel_files):
        found += [*picture(sample, path), *transparency(sample, path, "image")]
    found += stated_in(sample, "image", place)
    found += two_spacings(sample)
    for path in sample.channel_files:
        other = place_of(path)
        found += [*stated_in(sample, "channel", other), *compared(sample, path, place, other)]
    for path in sample.mask_files:
        other = place_of(path)
        found += transparency(sample, path, "mask")
        found += [*palette(sample, path), *mask_labels(collection, sample, path)]
        found += [*stated_in(sample, "mask", other), *compared(sample, path, place, other)]
    return place.axes, found


def tell_of_first(collection: Collection) -> None:
    """Say what is guessed of the first image's files, or odd about them; `check` reads them all."""
    first = collection.samples[0]
    try:
        _, found = inspect_files(collection, first)
        raw = collection.read(first)
        found += scale(first, raw, np.ptp(raw.image) == 0)
    except DataError:
        return  # training reads it, and says why it cannot
    for finding in found:
        if finding.severity != "note":
            progress.say(
                f"{collection.name}: {finding.sentence} (seen at the first image; llm4seg-probe "
                "data check reads all)"
            )


TOGETHER = "`data split --group-duplicates` keeps them on one side"


@dataclass(frozen=True, eq=False)
class Checked:
    """What was found, and what is needed to draw it."""

    findings: list[Finding]
    readable: tuple[str, ...]
    """Names of the images that could be read."""
    clusters: tuple[tuple[str, ...], ...]
    """Near-duplicates across groups, largest cluster first."""

    @property
    def errors(self) -> int:
        """How many findings mean that training on the set would fail or be wrong."""
        return sum(finding.severity == "error" for finding in self.findings)


def check_collection(
    collection: Collection, split: Split | None = None, distance: int = DISTANCE
) -> Checked:
    """Read every image and say what is wrong, going on after each that cannot be read.

    ``distance`` is the largest number of differing bits of near-duplicates. With a split, groups
    and near-duplicates on several of its sides are found, too.
    """
    findings: list[Finding] = [*collection.noticed, *label_counts(collection)]
    images: list[Inspected] = []
    files: set[tuple[Path, ...]] = set()
    orientations: Counter[str] = Counter()
    for sample in progress.track(collection.samples, f"Checking {collection.name}"):
        image, found = inspect_image(collection, sample)
        findings += found
        if image is None:
            continue
        images.append(image)
        if sample.files not in files:
            files.add(sample.files)
            axes, found = inspect_files(collection, sample)
            findings += found
            orientations[axes] += 1
    findings += _grids(images, orientations)
    findings += _kinds(images)
    findings += _classes(collection, images)
    findings += _inverted(collection, images)
    findings += shared_masks(collection)
    if all(image.sample.labels is None for image in images):
        findings += equal_masks([(image.shares, image.mask_sum) for image in images])
    findings += _groups(collection)
    clusters = _clusters(images, distance)
    for number, (names, closest) in enumerate(clusters, 1):
        findings.append(_duplicates(number, names, closest, split))
    if split is not None:
        findings += _split(collection, images, split)
    readable = tuple(image.sample.image for image in images)
    return Checked(merged(findings), readable, tuple(names for names, _ in clusters))


def _grids(images: list[Inspected], orientations: Counter[str]) -> Iterator[Finding]:
    """Spacings and orientations that differ from file to file."""
    spacings = Counter(
        " x ".join(f"{length:.3g}" for length in image.spacing) if image.spacing else "unknown"
        for image in images
    )
    if len(spacings) > 1:
        what = f"spacings in mm differ: {_counted(spacings)}"
        advice = "Images are resized, not resampled: the network sees other sizes of the same thing"
        yield Finding("warning", "spacing", (), what, advice)
    if len(orientations) > 1:
        named = Counter({name or "not stated": n for name, n in orientations.items()})
        what = f"axes of the files run differently: {_counted(named)}"
        advice = (
            "Volumes are turned to one display; see on the contact sheet whether all stand alike"
        )
        yield Finding("warning", "orientation", (), what, advice)


def _kinds(images: list[Inspected]) -> Iterator[Finding]:
    """Axes, channels and modalities that cannot be trained on, or not together."""
    axes = Counter(f"{image.axes}D" for image in images)
    if len(axes) > 1:
        what = f"images and volumes are mixed: {_counted(axes)}"
        yield Finding("error", "axes", (), what, "Make two data sets of them")
    yield from _channels(images)
    for image in images:
        if image.sample.modality == "unknown":
            names = (image.sample.image,)
            advice = "Write 'modality' (ct, mr or photo) in dataset.json or a column of samples.csv"
            yield Finding("error", "modality", names, "the modality is not stated", advice)


def _channels(images: list[Inspected]) -> Iterator[Finding]:
    """Numbers of channels beside grey and colour: one number for all, or no network takes them."""
    counts = Counter(image.channels for image in images)
    if set(counts) <= {1, 3}:
        return
    if len(counts) == 1:
        (number,) = counts
        what, advice = f"images have {number} channels", f"Train with data.channels={number}"
        yield Finding("warning", "channels", (), what, advice)
        return
    usual = counts.most_common(1)[0][0]
    for image in images:
        if image.channels != usual:
            plural = "s" if image.channels > 1 else ""
            what = f"the image has {image.channels} channel{plural}, most have {usual}"
            advice = "A network takes one number: give all images the same channels"
            yield Finding("error", "channels", (image.sample.image,), what, advice)


def _classes(collection: Collection, images: list[Inspected]) -> Iterator[Finding]:
    if not images:
        yield Finding("error", "classes", (), "no image could be read", "Mend the files above")
        return
    for number, name in enumerate(collection.classes):
        if not any(image.present[number] for image in images):
            what = f"no mask holds the class '{name}'"
            advice = "Look at the values in the masks, and at the names of the classes"
            yield Finding("error", "classes", (), what, advice)


def _inverted(collection: Collection, images: list[Inspected]) -> Iterator[Finding]:
    """Classes that have most of nearly all images, as the background has."""
    rows = [image.shares for image in images if image.shares]
    if not rows:
        return
    for name, column in zip(collection.classes, zip(*rows, strict=True), strict=True):
        large = sum(share > 0.5 for share in column)
        if large >= _NEARLY_ALL * len(column):
            share = sum(column) / len(column)
            what = (
                f"{share:.0%} of the pixels are {name}, more than half in {large} of {len(column)} "
                "images"
            )
            advice = "Are the values of the masks inverted? Look at the contact sheet"
            yield Finding("warning", "inverted masks", (), what, advice)


def _groups(collection: Collection) -> Iterator[Finding]:
    samples = collection.samples
    asked = any(finding.kind == "groups" for finding in collection.noticed)
    if not asked and len(samples) > 1 and all(s.unit == s.image for s in samples):
        what = "each image counts as a patient of its own"
        advice = "If some are of one patient, name the patients in groups.csv (image, group)"
        yield Finding("warning", "groups", (), what, advice)


def _clusters(images: list[Inspected], distance: int) -> list[tuple[tuple[str, ...], int]]:
    hashed = [(image.sample, image.hash) for image in images if image.hash is not None]
    if not hashed:
        return []
    hashes = np.stack([bits for _, bits in hashed])
    found = near_duplicates(hashes, [sample.unit for sample, _ in hashed], distance)
    names = [sample.image for sample, _ in hashed]
    return [(tuple(names[i] for i in cluster.members), cluster.closest) for cluster in found]


def _duplicates(number: int, names: tuple[str, ...], closest: int, split: Split | None) -> Finding:
    alike = f"the closest two differ in {closest} of {BITS} bits of their hash"
    several = f"cluster {number}, {len(names)} nearly equal images of different groups"
    sides = [side for side in SIDES if split and set(split.side(side)) & set(names)]
    if split is not None and split.validation_is_test:
        sides = [side for side in sides if side != "val"]
    if split is None or len(sides) < 2:
        where = f", all in {sides[0]}" if sides else ""
        advice = TOGETHER if split is None else "They count more than once"
        return Finding("warning", "duplicates", names, f"{several}{where}; {alike}", advice)
    what = f"{several}, in {' and '.join(sides)}; {alike}"
    declared = split.within_case
    return Finding("warning" if declared else "error", "duplicates", names, what, TOGETHER)


def _split(collection: Collection, images: list[Inspected], split: Split) -> Iterator[Finding]:
    """Leaks between sides, what the split says of itself, and sides without a class."""
    for problem in problems(split, collection):
        advice = "Draw another split (`data split`)"
        yield Finding("error", problem.kind, problem.images, problem.what, advice)
    for caveat in split.caveats:
        yield Finding("warning", "split", (), caveat.removesuffix("."), "Reports repeat this")
    present = {image.sample.image: image.present for image in images}
    for side in SIDES:
        there = [present[name] for name in split.side(side) if name in present]
        for number, name in enumerate(collection.classes):
            if there and not any(row[number] for row in there):
                what = f"no mask in {side} holds the class '{name}'"
                advice = "Draw another split, or add images that have it"
                severity = "error" if side == "train" else "warning"
                yield Finding(severity, "split", (), what, advice)  # type: ignore[arg-type]


def _counted(values: Counter[str]) -> str:
    return ", ".join(f"{value} ({count})" for value, count in values.most_common(6))
