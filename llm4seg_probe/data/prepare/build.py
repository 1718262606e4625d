"""Build a prepared data set: place its files, leave out copies, write its description."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from filelock import FileLock
from PIL import Image

from llm4seg_probe import progress
from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.layouts.documented import read_layout, write_layout
from llm4seg_probe.data.prepare import prepared
from llm4seg_probe.data.prepare.archives import Delivery, Found, is_archive, unpack
from llm4seg_probe.data.prepare.papers import SETS, PaperSet
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.reading.nifti import open_nifti
from llm4seg_probe.storage import cache_folder


def same_content(
    samples: list[Sample], contents: dict[str, str]
) -> tuple[dict[str, str], tuple[int, int]]:
    """What a split must not part, by group, where images of equal pixels link groups.

    ``contents``: hash of each image's pixels, by name. Returns the text ``together`` of each
    group, empty for one that is linked to no other, and how many images have copies, in how many
    clusters.
    """
    parent = {sample.group: sample.group for sample in samples}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    clusters: dict[str, list[Sample]] = {}
    for sample in samples:
        clusters.setdefault(contents[sample.image], []).append(sample)
    several = [cluster for cluster in clusters.values() if len(cluster) > 1]
    for cluster in several:
        for sample in cluster[1:]:
            parent[root(sample.group)] = root(cluster[0].group)
    linked = {root(g) for g in parent if root(g) != g}
    together = {g: f"copies of {root(g)}" if root(g) in linked else "" for g in parent}
    return together, (sum(map(len, several)), len(several))


SMALLEST = 64
"""Pixels that the longest side may be asked to have at least."""
_NIFTI = (".nii", ".nii.gz")


class Placing:
    """Where images go, and how many of them were stored smaller than they came."""

    def __init__(
        self, chosen: PaperSet, folder: Path, scratch: Path, longest_side: int | None
    ) -> None:
        self.folder = folder
        self._chosen = chosen
        self._scratch = scratch
        self._longest = longest_side
        self._shrunk = 0

    @property
    def note(self) -> str:
        """What to say about images that were stored smaller; empty where none was."""
        if not self._shrunk:
            return ""
        return (
            f"Stored smaller, at {self._longest} pixels on the longer side, are {self._shrunk} of "
            "the images with their masks: scores are on that grid."
        )

    def place(self, one: Found, pixels: np.ndarray) -> Sample:
        """Write image (its pixels are given) and mask; raises DataError that names the file."""
        if formats.suffix_of(one.image) in formats.PICTURES:
            image, mask = self._place_picture(one, pixels)
        else:
            image, mask = self._place_volume(one, pixels)
        return Sample(
            image=one.name,
            group=one.group or one.name,
            modality=self._chosen.modality,
            image_file=image,
            mask_files=(mask,),
            side=one.side,
        )

    def _place_picture(self, one: Found, pixels: np.ndarray) -> tuple[Path, Path]:
        mask = self._target("masks", f"{one.name}.png")
        merged = Image.fromarray(_merged(one, pixels.shape[1:]).astype(np.uint8) * 255)
        height, width = pixels.shape[1:]
        if self._longest is None or max(height, width) <= self._longest:
            merged.save(mask)
            image = self._target("images", f"{one.name}{formats.suffix_of(one.image)}")
            self._take(one.image, image)
            return image, mask
        scale = self._longest / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        # Both are averaged over what becomes one pixel; a mask is where the most is foreground.
        smaller = np.asarray(merged.resize(size, Image.Resampling.BOX)) > 127
        Image.fromarray(smaller.astype(np.uint8) * 255).save(mask)
        image = self._target("images", f"{one.name}.png")
        channels = [
            Image.fromarray(channel).resize(size, Image.Resampling.BOX) for channel in pixels
        ]
        shown = channels[0] if len(channels) == 1 else Image.merge("RGB", channels)
        shown.save(image)
        self._shrunk += 1
        return image, mask

    def _place_volume(self, one: Found, pixels: np.ndarray) -> tuple[Path, Path]:
        _check_volume(one, self._chosen, pixels.shape[1:])
        image = self._target("images", f"{one.name}{formats.suffix_of(one.image)}")
        mask = self._target("masks", f"{one.name}{formats.suffix_of(one.masks[0])}")
        self._take(one.image, image)
        self._take(one.masks[0], mask)
        return image, mask

    def _target(self, part: str, name: str) -> Path:
        path = self.folder / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise DataError(f"two images are called {name}; which one counts?")
        return path

    def _take(self, path: Path, target: Path) -> None:
        """Move what was unpacked here, copy what is the user's."""
        if path.is_relative_to(self._scratch):
            os.replace(path, target)
        else:
            shutil.copyfile(path, target)


def _merged(one: Found, shape: tuple[int, ...]) -> np.ndarray:
    """All masks of one picture as one, bool."""
    merged = np.zeros(shape, bool)
    for path in one.masks:
        mask = formats.read_binary(path)
        _check_size(path, mask.shape, one.image, shape)
        merged |= mask
    return merged


def _check_volume(one: Found, chosen: PaperSet, shape: tuple[int, ...]) -> None:
    path = one.masks[0]
    labels = formats.read_labels(path)
    _check_size(path, labels.shape, one.image, shape)
    highest = max(chosen.labels.values())
    if labels.max() > highest or labels.min() < 0:
        raise DataError(
            f"{path}: its labels go from {labels.min()} to {labels.max()}; expected 0 to {highest}"
        )
    if formats.suffix_of(one.image) not in _NIFTI or formats.suffix_of(path) not in _NIFTI:
        return
    axes = ["".join(nibabel.aff2axcodes(open_nifti(p).affine)) for p in (one.image, path)]
    if axes[0] != axes[1]:
        raise DataError(f"{path}: its axes run {axes[1]}, those of {one.image.name} {axes[0]}")


def _check_size(path: Path, found: tuple[int, ...], image: Path, expected: tuple[int, ...]) -> None:
    if found != expected:
        sizes = [" x ".join(map(str, size)) for size in (found, expected)]
        raise DataError(f"{path}: the mask is {sizes[0]}, its image {image.name} is {sizes[1]}")


def prepare(
    name: str,
    source: Path,
    out: Path | None = None,
    *,
    include: tuple[str, ...] = (),
    longest_side: int | None = None,
) -> tuple[Collection, Path]:
    """Write a data set of the paper as a folder in the documented layout; returns it, and where.

    ``source`` is the archive of its page, or the folder unpacked from it. ``out`` None: the cache,
    from where it is opened by its name. ``include`` adds images that are left out otherwise.
    Pictures with more pixels than ``longest_side`` on a side are stored smaller, with their masks.
    Raises DataError: an unknown name, a target that is there already, a source that is something
    else or unsafe, an image without mask or with one of another size, an unreadable file.
    """
    chosen = _chosen(name, include, longest_side)
    target = prepared.folder_of(name) if out is None else out.expanduser().resolve()
    with _lock(name), _scratch(target) as scratch, _told_of(source, scratch, target):
        if target.exists():
            raise DataError(f"{target}: is there already; remove it to prepare {name} anew")
        delivery = _delivered(source, chosen, scratch / "unpacked")
        built = scratch / "built"
        find = (chosen.find, *(chosen.extras[extra] for extra in include))
        found = [one for part in find for one in part(delivery)]
        if not found:
            raise delivery.refusal()
        _build(name, chosen, found, Placing(chosen, built, scratch, longest_side))
        built.rename(target)
    return read_layout(target, tuple(chosen.labels)), target


def _chosen(name: str, include: tuple[str, ...], longest_side: int | None) -> PaperSet:
    if name not in SETS:
        raise DataError(unknown("data set", name, SETS))
    chosen = SETS[name]
    for extra in include:
        if extra not in chosen.extras:
            valid = unknown("images to include", extra, chosen.extras)
            raise DataError(valid if chosen.extras else f"{name} has nothing more to include")
    if longest_side is not None and chosen.modality != "photo":
        raise DataError(f"{name} is made of volumes; a longest side is for pictures")
    if longest_side is not None and longest_side < SMALLEST:
        raise DataError(f"the longest side is {longest_side}: give at least {SMALLEST} pixels")
    return chosen


def _build(name: str, chosen: PaperSet, found: list[Found], placing: Placing) -> None:
    samples = []
    contents: dict[str, str] = {}
    for one in progress.track(found, f"Preparing {name}"):
        pixels = np.ascontiguousarray(formats.read_pixels(one.image))
        content = hashlib.sha256(f"{pixels.dtype}{pixels.shape}".encode())
        content.update(pixels.data)
        contents[one.name] = content.hexdigest()
        samples.append(placing.place(one, pixels))
    together, copies = same_content(samples, contents)
    samples = [replace(sample, together=together[sample.group]) for sample in samples]
    said = (
        f"{len(samples)} images with masks; {chosen.published} by its page.",
        _copies(copies),
        placing.note,
        chosen.note,
    )
    collection = Collection(
        name,
        tuple(samples),
        tuple(chosen.labels),
        chosen.labels,
        chosen.licence,
        chosen.page,
        " ".join(filter(None, said)),
    )
    write_layout(placing.folder, collection)


def _copies(copies: tuple[int, int]) -> str:
    if not copies[1]:
        return "No two images have equal pixels."
    return (
        f"{copies[0]} images are copies of one another, pixel by pixel, in {copies[1]} "
        f"cluster{'s' if copies[1] > 1 else ''} that no split by group parts."
    )


def _delivered(source: Path, chosen: PaperSet, unpacked: Path) -> Delivery:
    source = source.expanduser()
    if not source.exists():
        raise DataError(f"{source}: no such file or folder; expected {chosen.expected}")
    unpacked.mkdir()
    if source.is_file():
        unpack(source, unpacked)
        return Delivery(source, chosen.expected, (unpacked,))
    inside = [
        path
        for path in sorted(source.iterdir())
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in chosen.archives)
        and is_archive(path)
        and not (source / path.name.split(".")[0]).is_dir()
    ]
    for archive in inside:
        unpack(archive, unpacked / archive.name.split(".")[0])
    return Delivery(source, chosen.expected, (source, unpacked) if inside else (source,))


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """One preparation of a set at a time; another process waits, and then finds it done."""
    folder = cache_folder() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        yield


@contextmanager
def _told_of(source: Path, scratch: Path, target: Path) -> Iterator[None]:
    """Errors of the block with the archive and its members for paths in a folder that will go."""
    try:
        yield
    except DataError as error:
        text = str(error)
        for inner, meant in ((scratch / "unpacked", source), (scratch / "built", target)):
            text = text.replace(f"{inner}", f"{meant}")
        if text == str(error):
            raise
        raise DataError(text) from error


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Folder beside the target that is gone afterwards; leftovers of killed ones go first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.preparing-"
    for left in target.parent.glob(f"{prefix}*"):
        progress.say(f"Removing what an interrupted preparation left: {left}")
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as name:
        yield Path(name)
