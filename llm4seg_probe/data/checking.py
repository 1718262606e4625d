"""Whether a data set can be trained on: every image read, then the set and its split as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm4seg_probe import progress
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.findings import Finding, merged
from llm4seg_probe.data.inspection import (
    Inspected,
    inspect_files,
    inspect_image,
    orientation_of,
)
from llm4seg_probe.data.near_duplicates import BITS, DISTANCE, near_duplicates
from llm4seg_probe.data.splits import SIDES, Split, problems

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
    findings: list[Finding] = []
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
            findings += inspect_files(collection, sample)
            orientations[orientation_of(sample.image_file)] += 1
    findings += _grids(images, orientations)
    findings += _kinds(images)
    findings += _classes(collection, images)
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


def _groups(collection: Collection) -> Iterator[Finding]:
    samples = collection.samples
    if len(samples) > 1 and all(s.unit == s.image for s in samples):
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
