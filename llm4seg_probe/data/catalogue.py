"""Data sets with a name: where they come from, on which terms, and whether they are here."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from llm4seg_probe.data import phantoms, spine
from llm4seg_probe.data.preparing import prepared
from llm4seg_probe.data.preparing.sets import SETS
from llm4seg_probe.data.spine_cases import CASES


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
    volumes = "the six volumes that the slices of spine come from, with reference masks"
    return (
        _spine(spine.NAME, slices, "slices of 6 volumes"),
        _spine(spine.VOLUMES_NAME, volumes, "6 volumes"),
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
    return Entry(
        name,
        kind.summary,
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
