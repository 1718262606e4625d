"""Open a data set: one with a name, or any other by its folder or table; list the named ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from llm4seg_probe import progress
from llm4seg_probe.data import (
    phantoms,
    spine,
)
from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.groups import with_patients
from llm4seg_probe.data.layouts import (
    decathlon,
    documented,
    label_folders,
    label_table,
    medmnist,
    nnunet,
    path_table,
    plain,
)
from llm4seg_probe.data.leftovers import linked_out
from llm4seg_probe.data.prepare import prepared
from llm4seg_probe.data.prepare.papers import SETS
from llm4seg_probe.data.spine_cases import CASES
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import (
    IRREGULAR,
    as_utf8,
    is_irregular,
    is_there,
    is_utf8,
    refuse_other_than_file,
)

NAMED: dict[str, Callable[[tuple[str, ...]], Collection]] = {
    spine.NAME: spine.open_spine,
    spine.VOLUMES_NAME: spine.open_volumes,
    spine.LEVELS_NAME: spine.open_levels,
    **{name: partial(phantoms.open_phantoms, name) for name in phantoms.NAMES},
    **{name: partial(prepared.open_prepared, name) for name in prepared.NAMES},
}
"""Data sets with a name: what opens them, and fetches or draws them where they are not here."""


@dataclass(frozen=True)
class Layout:
    """A way in which folders are laid out."""

    recognised: Callable[[Path], bool]
    read: Callable[[Path, tuple[str, ...]], Collection]


LAYOUTS: dict[str, Layout] = {
    "documented": Layout(documented.is_layout, documented.read_layout),
    "decathlon": Layout(decathlon.is_decathlon, decathlon.read_decathlon),
    "nnunet": Layout(nnunet.is_nnunet, nnunet.read_nnunet),
    "classes": Layout(label_folders.is_folders_of_classes, label_folders.read_folders_of_classes),
    "plain": Layout(lambda folder: True, plain.read_folder),
}
"""Layouts that are read in place, in the order in which a folder is tried against them."""


def open_collection(name_or_folder: str, *, classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """Open a data set that has a name, a folder in one of ``LAYOUTS``, or a file.

    A file is a CSV table of paths to images and masks, or of images and labels, or one of
    MedMNIST's ``.npz``.

    ``classes`` name the channels of the masks; the one class ``foreground`` is all labels
    together. Images have as many channels as their files: ``data.channels`` has to say the same
    where these are neither 1 nor 3. Volumes are samples of three axes; for a 2D network a table
    with a column ``slice`` (``samples.csv`` or a CSV file of paths) names their slices. What is
    not used, or was guessed, is said once on standard error. Raises DataError that names the
    folder or file, DownloadError.
    """
    collection = listed_collection(name_or_folder, classes=classes)
    for finding in names_that_are_no_text(collection):
        named = ", ".join(finding.images[:3])
        raise DataError(f"{as_utf8(collection.name)}: {finding.what} ({named}). {finding.advice}")
    tell(collection)
    return collection


def listed_collection(
    name_or_folder: str, *, classes: tuple[str, ...] = (FOREGROUND,)
) -> Collection:
    """As :func:`open_collection`, silently; what there is to say is in ``noticed``."""
    opened = NAMED.get(name_or_folder)
    if opened is not None:
        return opened(classes)
    place = Path(name_or_folder).expanduser()
    if not is_there(place):
        refuse_other_than_file(place, DataError)
        hint = "" if "/" in name_or_folder else f" {unknown('data set', name_or_folder, NAMED)}"
        raise DataError(f"no such folder: {place}.{hint}")
    if is_irregular(place):
        raise DataError(f"{place}: {IRREGULAR}")
    try:
        if not place.is_dir():
            return with_patients(_read_file(place, classes))
        chosen = next(one for one in LAYOUTS.values() if one.recognised(place))
        return with_patients(_with_links(chosen.read(place, classes), place))
    except OSError as error:
        what = f"{error.filename}: {reason(error)}" if error.filename else reason(error)
        raise DataError(
            f"{place}: cannot be read as a data set ({what}): mend it, or name the folder of "
            "another (data.name, or --data)"
        ) from error


def _with_links(collection: Collection, folder: Path) -> Collection:
    """The collection with what is read through links that lead out of its folder counted."""
    return replace(collection, noticed=(*collection.noticed, *linked_out(collection, folder)))


def names_that_are_no_text(collection: Collection) -> Iterator[Finding]:
    """An error on files whose names are no UTF-8: no table, split or result could name them."""
    names = dict.fromkeys(
        as_utf8(path.name)
        for sample in collection.samples
        for path in sample.files
        if not is_utf8(f"{path.name}{sample.image}")
    )
    if names:
        what = (
            f"{len(names)} file{'s have names' if len(names) > 1 else ' has a name'} not in UTF-8"
        )
        advice = "Rename them, such as by `convmv -f latin1 -t utf8 --notest`, masks alike"
        yield Finding("error", "names", tuple(names), what, advice)


_told: set[tuple[str, str]] = set()


def tell(collection: Collection) -> None:
    """Say errors and warnings of the listing, each once in a process."""
    for finding in collection.noticed:
        said = (str(collection.samples[0].image_file), finding.sentence)
        if finding.severity != "note" and said not in _told:
            _told.add(said)
            progress.say(f"{collection.name}: {finding.sentence}")


def _read_file(path: Path, classes: tuple[str, ...]) -> Collection:
    if path.suffix.lower() == medmnist.SUFFIX:
        return medmnist.read_medmnist(path, classes)
    if path.suffix.lower() != path_table.SUFFIX:
        raise DataError(
            f"{path}: is a file; give the folder that holds images/ and masks/, a CSV file of "
            "paths or labels, or an .npz file of MedMNIST"
        )
    if label_table.is_label_table(path, classes):
        return label_table.read_label_table(path, classes)
    return path_table.read_path_table(path, classes)


@dataclass(frozen=True)
class Entry:
    """One data set that is opened by its name."""

    name: str
    summary: str
    source: str
    licence: str
    size: str
    """What there is of it, as text."""
    download_mb: float | None
    """What is fetched when it is first opened; None where the user has to get it."""
    here: bool
    """Whether it is in the cache, so that no network is needed."""
    needs: str
    """What brings it here, as text."""
    note: str


def catalogue() -> tuple[Entry, ...]:
    """All data sets with a name, in the order in which they are listed."""
    slices = "axial slices of 96 x 96 pixels of 1.5 mm, CT and MR, reference masks of vertebrae"
    levels = "the slices of spine with a label each: through a vertebral body, or between two"
    volumes = "the six volumes that the slices of spine come from, with reference masks"
    return (
        _spine(spine.NAME, slices, "slices of 6 volumes"),
        _spine(spine.VOLUMES_NAME, volumes, "6 volumes"),
        _spine(spine.LEVELS_NAME, levels, "slices of 6 volumes"),
        *(_phantoms(name) for name in phantoms.NAMES),
        *(_of_the_paper(name) for name in SETS),
    )


def _spine(name: str, summary: str, size: str) -> Entry:
    packages = {case.package for case in CASES}
    mb = round(sum(package.size for package in packages) / 1e6, 1)
    return Entry(
        name,
        summary,
        spine.SOURCE,
        spine.LICENCE,
        size,
        mb,
        spine.is_here(),
        f"a download of {mb:.0f} MB, on first use",
        spine.NOTE,
    )


def _phantoms(name: str) -> Entry:
    kind = phantoms.PHANTOMS[phantoms.kind_of(name)]
    three = name.endswith("-3d")
    count, size = (
        (phantoms.COUNT_3D, phantoms.SIZE_3D) if three else (phantoms.COUNT, phantoms.SIZE)
    )
    dial = phantoms.DIALLED[name][1] if name in phantoms.DIALLED else None
    return Entry(
        name,
        kind.summary if dial is None else f"{kind.summary}, {kind.dial_meaning} {dial:g}",
        "generated here",
        "none needed",
        f"{count} of {' x '.join(map(str, size))} pixels",
        0.0,
        phantoms.folder_of(name).exists(),
        "generated on first use",
        "the truth is known",
    )


def _of_the_paper(name: str) -> Entry:
    described = SETS[name]
    return Entry(
        name,
        described.summary,
        described.page,
        described.licence,
        f"{described.published} images with masks",
        None,
        prepared.is_here(name),
        f"get it from its page, then: {prepared.command(name)}",
        described.note,
    )


def catalogue_table() -> pd.DataFrame:
    """The catalogue as ``data list`` prints it, one row per data set."""
    columns = list(Entry.__dataclass_fields__)
    rows = [[getattr(entry, column) for column in columns] for entry in catalogue()]
    return pd.DataFrame(rows, columns=columns)
