"""The documented layout of a data set: what `spine` is converted to and any folder may have.

::

    FOLDER/
      dataset.json   name; classes {name: label value}; and, if wanted, modality, licence, source,
                     note, fingerprint
      samples.csv    one row per image
      images/        PNG, JPEG, BMP, TIFF, NIfTI, NRRD or npy
      masks/         the same grid, whole-number labels, 0 is background

Columns of ``samples.csv``: ``image`` (unique name), ``image_file`` and ``mask_file`` (paths from
the folder), and, if wanted, ``group`` (patient or case; else the image is its own), ``modality``
(ct, mr, photo), ``slice`` (index from the feet up: the sample is that axial slice of a volume),
``slice_spacing`` (mm between slices), ``spacing_y`` and ``spacing_x`` (mm per pixel, where the
file does not tell), ``together`` (groups with the same text are never parted by a split).

With a ``fingerprint`` in ``dataset.json``, a folder whose files changed since is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import FOREGROUND, Collection, Sample
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.storage import atomically, write_json

DESCRIPTION = "dataset.json"
SAMPLES = "samples.csv"
MODALITIES = ("ct", "mr", "photo")

_NEEDED = ("image", "image_file", "mask_file")


def write_layout(folder: Path, collection: Collection) -> None:
    """Write ``samples.csv`` and ``dataset.json`` for files that lie in the folder already."""
    rows = [
        {
            "image": sample.image,
            "group": sample.group,
            "modality": sample.modality,
            "image_file": sample.image_file.relative_to(folder).as_posix(),
            "mask_file": sample.mask_files[0].relative_to(folder).as_posix(),
            "slice": sample.slice,
            "slice_spacing": sample.slice_spacing,
            "together": sample.together,
        }
        for sample in collection.samples
    ]
    with atomically(folder / SAMPLES) as partial:
        pd.DataFrame(rows).astype({"slice": "Int64"}).to_csv(partial, index=False)
    description = {
        "name": collection.name,
        "classes": dict(collection.labels),
        "licence": collection.licence,
        "source": collection.source,
        "note": collection.note,
        "fingerprint": collection.fingerprint,
    }
    write_json(folder / DESCRIPTION, description)


def is_layout(folder: Path) -> bool:
    """Whether the folder's ``samples.csv`` says where images and masks lie."""
    path = folder / SAMPLES
    return path.is_file() and set(_NEEDED) <= set(_table(path).columns)


def read_layout(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open a folder in this layout; raises DataError that names the file and the row."""
    description = read_description(folder)
    labels = {str(name): int(value) for name, value in description.get("classes", {}).items()}
    for name in classes:
        if labels and name != FOREGROUND and name not in labels:
            raise DataError(f"{folder / DESCRIPTION}: {unknown('class', name, labels)}")
    table = _read_samples(folder / SAMPLES)
    modality = str(description.get("modality", ""))
    collection = Collection(
        name=str(description.get("name", folder.name)),
        samples=tuple(_sample(folder, row, modality) for row in table.to_dict("records")),
        classes=classes,
        labels={} if classes == (FOREGROUND,) else labels,
        licence=str(description.get("licence", "")),
        source=str(description.get("source", "")),
        note=str(description.get("note", "")),
    )
    expected = description.get("fingerprint")
    if expected and expected != collection.fingerprint:
        raise DataError(
            f"{folder}: its files are not those that {DESCRIPTION} was written for. Prepare it "
            "again or, if the change is wanted, take 'fingerprint' out of that file"
        )
    return collection


def read_description(folder: Path) -> dict[str, Any]:
    """Contents of ``dataset.json``; an empty dictionary where there is none."""
    path = folder / DESCRIPTION
    if not path.exists():
        return {}
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise ValueError("an object is expected")
        classes = description.get("classes", {})
        if not isinstance(classes, dict) or not all(isinstance(v, int) for v in classes.values()):
            raise ValueError("'classes' maps each name to the value it has in the masks")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable ({error})") from error
    return description


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable table ({' '.join(str(error).split())})") from error


def _read_samples(path: Path) -> pd.DataFrame:
    table = _table(path)
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    if table.empty:
        raise DataError(f"{path}: has no rows")
    if table["image"].duplicated().any():
        twice = table.loc[table["image"].duplicated(), "image"].iloc[0]
        raise DataError(f"{path}: the image '{twice}' stands in more than one row")
    return table


def _sample(folder: Path, row: dict[Any, str], modality: str) -> Sample:
    where = f"{folder / SAMPLES}: image '{row['image']}'"
    image_file, mask_file = _inside(folder, row["image_file"]), _inside(folder, row["mask_file"])
    for path in (image_file, mask_file):
        if not path.is_file():
            raise DataError(f"{where}: there is no file {path}")
    number, height, width = row.get("slice"), row.get("spacing_y"), row.get("spacing_x")
    try:
        return Sample(
            image=row["image"],
            group=row.get("group") or row["image"],
            modality=modality_of(row.get("modality") or modality, image_file, where),
            image_file=image_file,
            mask_files=(mask_file,),
            slice=int(number) if number else None,
            spacing=(float(height), float(width)) if height and width else None,
            slice_spacing=float(row["slice_spacing"]) if row.get("slice_spacing") else None,
            together=row.get("together", ""),
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def modality_of(stated: str, image_file: Path, where: str) -> str:
    """The stated modality; unstated, pictures are ``photo`` and volumes ``unknown``."""
    if stated and stated not in MODALITIES:
        raise DataError(f"{where}: {unknown('modality', stated, MODALITIES)}")
    return stated or ("photo" if formats.suffix_of(image_file) in formats.PICTURES else "unknown")


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder / SAMPLES}: '{name}' lies outside the folder")
    return path
