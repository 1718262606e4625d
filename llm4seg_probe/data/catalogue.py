"""Data sets with a name: where they come from, on which terms, and whether they are here."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from llm4seg_probe.data import phantoms, spine
from llm4seg_probe.data.spine_cases import CASES


@dataclass(frozen=True)
class Entry:
    """One data set that is opened by its name."""

    name: str
    summary: str
    source: str
    licence: str
    download_mb: float
    here: bool
    """Whether it is in the cache, so that no network is needed."""
    note: str


def catalogue() -> tuple[Entry, ...]:
    """All data sets with a name, in the order in which they are listed."""
    packages = {case.package for case in CASES}
    size = round(sum(package.size for package in packages) / 1e6, 1)
    here = spine.is_here()
    terms = (spine.SOURCE, spine.LICENCE, size, here, spine.NOTE)
    slices = "axial slices of 96 x 96 pixels of 1.5 mm, CT and MR, reference masks of vertebrae"
    volumes = "the six volumes that the slices of spine come from, with reference masks"
    real = (Entry(spine.NAME, slices, *terms), Entry(spine.VOLUMES_NAME, volumes, *terms))
    return (*real, *(_phantoms(name) for name in phantoms.NAMES))


def _phantoms(name: str) -> Entry:
    kind = phantoms.PHANTOMS[phantoms.kind_of(name)]
    three = name.endswith("-3d")
    count, size = (
        (phantoms.COUNT_3D, phantoms.SIZE_3D) if three else (phantoms.COUNT, phantoms.SIZE)
    )
    note = f"{count} of {' x '.join(map(str, size))} pixels; the truth is known"
    here = phantoms.folder_of(name).exists()
    return Entry(name, kind.summary, "generated here", "none needed", 0.0, here, note)


def catalogue_table() -> pd.DataFrame:
    """The catalogue as ``data list`` prints it, one row per data set."""
    columns = ["name", "summary", "source", "licence", "download_mb", "here", "note"]
    rows = [[getattr(entry, column) for column in columns] for entry in catalogue()]
    return pd.DataFrame(rows, columns=columns)
