"""The documented layout of a data set: what `spine` is converted to and any folder may have.

::

    FOLDER/
      dataset.json   name; classes {name: label value, or list of values}; and, if wanted,
                     modality, licence, source, note, fingerprint
      samples.csv    one row per image
      images/        any format of ``data/formats.py``
      masks/         the same grid, whole-number labels, 0 is background

Columns of ``samples.csv``: ``image`` (unique name), ``image_file`` and ``mask_file`` (paths from
the folder; several separated by ``;`` are the channels of the image, or one binary mask per
class), and, if wanted, ``group`` (patient or case; else the image is its own), ``modality`` (ct,
mr, photo), ``slice`` (index from the feet up: the sample is that axial slice of a volume),
``slice_spacing`` (mm between slices), ``spacing_z``, ``spacing_y`` and ``spacing_x`` (mm, where
the file does not tell), ``together`` (groups with the same text are never parted by a split),
``side`` (train, val or test, where the data set itself says so).

With a ``fingerprint`` in ``dataset.json``, a folder whose files changed since is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.data import dicom, formats
from llm4seg_probe.data.collection import FOREGROUND, SIDES, Collection, Labels, Sample
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.storage import atomically, write_json

DESCRIPTION = "dataset.json"
SAMPLES = "samples.csv"
MODALITIES = ("ct", "mr", "photo")
SPACINGS = ("spacing_z", "spacing_y", "spacing_x")
SEVERAL = ";"
"""Stands between the paths of several files in one cell."""

_NEEDED = ("image", "image_file", "mask_file")


def write_layout(folder: Path, collection: Collection) -> None:
    """Write ``samples.csv`` and ``dataset.json`` for files that lie in the folder already."""
    table = pd.DataFrame([_row(folder, sample) for sample in collection.samples])
    # Columns that say nothing are left out, so that the table is read at a glance.
    table = table.astype({"slice": "Int64"}).replace("", None).dropna(axis="columns", how="all")
    with atomically(folder / SAMPLES) as partial:
        table.to_csv(partial, index=False)
    description = {
        "name": collection.name,
        "classes": dict(collection.labels),
        "licence": collection.licence,
        "source": collection.source,
        "note": collection.note,
        "fingerprint": collection.fingerprint,
    }
    write_json(folder / DESCRIPTION, description)


def _row(folder: Path, sample: Sample) -> dict[str, Any]:
    def relative(paths: tuple[Path, ...]) -> str:
        return SEVERAL.join(path.relative_to(folder).as_posix() for path in paths)

    spacing = sample.spacing or ()
    return {
        "image": sample.image,
        "group": sample.group,
        "modality": "" if sample.modality == "unknown" else sample.modality,
        "image_file": relative((sample.image_file, *sample.channel_files)),
        "mask_file": relative(sample.mask_files),
        "slice": sample.slice,
        "slice_spacing": sample.slice_spacing,
        **dict(zip(SPACINGS[-len(spacing) :], spacing, strict=True) if spacing else ()),
        "together": sample.together,
        "side": sample.side,
    }


def is_layout(folder: Path) -> bool:
    """Whether the folder's ``samples.csv`` says where images and masks lie."""
    path = folder / SAMPLES
    return path.is_file() and set(_NEEDED) <= set(_table(path).columns)


def read_layout(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open a folder in this layout; raises DataError that names the file and the row."""
    description = read_description(folder)
    labels = labels_of(description)
    check_classes(classes, labels, folder / DESCRIPTION)
    path = folder / SAMPLES
    table = read_table(path, _NEEDED)
    if table["image"].duplicated().any():
        twice = table.loc[table["image"].duplicated(), "image"].iloc[0]
        raise DataError(f"{path}: the image '{twice}' stands in more than one row")
    modality = str(description.get("modality", ""))
    collection = Collection(
        name=str(description.get("name", folder.name)),
        samples=tuple(
            sample_of(
                row,
                [_inside(folder, name) for name in row["image_file"].split(SEVERAL)],
                [_inside(folder, name) for name in row["mask_file"].split(SEVERAL)],
                modality,
                f"{path}: image '{row['image']}'",
            )
            for row in table.to_dict("records")
        ),
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
        if not isinstance(classes, dict) or not all(map(_is_label, classes.values())):
            raise ValueError("'classes' maps each name to the value it has in the masks")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable ({error})") from error
    return description


def _is_label(value: object) -> bool:
    values = value if isinstance(value, list) and value else [value]
    return all(isinstance(one, int) and not isinstance(one, bool) for one in values)


def labels_of(description: dict[str, Any]) -> dict[str, int | tuple[int, ...]]:
    """``classes`` of a description, lists as tuples."""
    return {
        str(name): tuple(value) if isinstance(value, list) else value
        for name, value in description.get("classes", {}).items()
    }


def check_classes(classes: tuple[str, ...], labels: Labels, path: Path) -> None:
    """Raise DataError for a class that a file with named labels does not name."""
    for name in classes:
        if labels and name != FOREGROUND and name not in labels:
            raise DataError(f"{path}: {unknown('class', name, labels)}")


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable table ({' '.join(str(error).split())})") from error


def read_table(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    """A CSV file as text, with at least one row and the needed columns; raises DataError."""
    table = _table(path)
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    if table.empty:
        raise DataError(f"{path}: has no rows")
    return table


def sample_of(
    row: dict[Any, str], images: list[Path], masks: list[Path], modality: str, where: str
) -> Sample:
    """The sample of a table's row; raises DataError that begins with ``where``."""
    for path in (*images, *masks):
        if not path.exists():
            raise DataError(f"{where}: there is no file {path}")
    number, side = row.get("slice"), row.get("side") or ""
    if side and side not in SIDES:
        raise DataError(f"{where}: {unknown('side', side, SIDES)}")
    try:
        spacing = tuple(float(row[name]) for name in SPACINGS if row.get(name))
        if len(spacing) == 1:
            raise ValueError("give spacing_y and spacing_x, or all three")
        return Sample(
            image=row["image"],
            group=row.get("group") or row["image"],
            modality=modality_of(row.get("modality") or modality, images[0], where),
            image_file=images[0],
            mask_files=tuple(masks),
            slice=int(number) if number else None,
            spacing=spacing or None,
            slice_spacing=float(row["slice_spacing"]) if row.get("slice_spacing") else None,
            together=row.get("together", ""),
            channel_files=tuple(images[1:]),
            side=side,
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error


def modality_of(stated: str, image_file: Path, where: str) -> str:
    """The stated modality; unstated, pictures are ``photo``, DICOM says it, others ``unknown``."""
    if stated and stated not in MODALITIES:
        raise DataError(f"{where}: {unknown('modality', stated, MODALITIES)}")
    if stated:
        return stated
    suffix = formats.suffix_of(image_file)
    if suffix in formats.PICTURES:
        return "photo"
    if suffix in dicom.SUFFIXES or image_file.is_dir():
        return dicom.modality_in(image_file) or "unknown"
    return "unknown"


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder / SAMPLES}: '{name}' lies outside the folder")
    return path
