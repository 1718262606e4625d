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

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.data import (
    dicom_series,
    formats,
)
from llm4seg_probe.data.collection import FOREGROUND, SIDES, Collection, Labels, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.groups import column_of_groups, columns_of_groups, other_patients
from llm4seg_probe.data.layouts.dataset_json import refuse_other_background
from llm4seg_probe.data.names import normal, on_disk
from llm4seg_probe.data.stated import usable
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import (
    IRREGULAR,
    inside,
    is_file_there,
    is_irregular,
    is_there,
    shown,
)
from llm4seg_probe.reading.text import decoded, read_bytes, read_json_object, table_guard
from llm4seg_probe.storage import atomically, write_json

DESCRIPTION = "dataset.json"
SAMPLES = "samples.csv"
MODALITIES = ("ct", "mr", "photo")
SPACINGS = ("spacing_z", "spacing_y", "spacing_x")
SEVERAL = ";"
"""Stands between the paths of several files in one cell."""

_UTF16, _UTF32 = (b"\xff\xfe", b"\xfe\xff"), b"\xff\xfe\0\0"
_MARK = re.compile(r"[;\t]")
_NEEDED = ("image", "image_file", "mask_file")
COLUMNS = ("image", "group", "modality", "slice", "slice_spacing", *SPACINGS, "together", "side")
"""Columns of a table of images that are read, beside those of the files."""
SIDE_OF = {"train": "train", "training": "train", "val": "val", "valid": "val", "test": "test",
           "validation": "val", "testing": "test"}  # fmt: skip
"""Words for a side of a split, in lower case."""


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
    return is_file_there(path, DataError) and set(_NEEDED) <= set(_table(path).columns)


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
        noticed=tuple(about_rows(table, path, _NEEDED)),
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
    if not is_file_there(path, DataError):
        return {}
    description = read_json_object(path, DataError)
    classes = description.get("classes", {})
    if not isinstance(classes, dict) or not all(map(_is_label, classes.values())):
        raise DataError(
            f"{path}: not readable ('classes' maps each name to the value it has in the masks)"
        )
    refuse_other_background(classes, path)
    return description


def _is_label(value: object) -> bool:
    values = value if isinstance(value, list) and value else [value]
    whole = (isinstance(one, int) and not isinstance(one, bool) for one in values)
    return all(whole) and all(isinstance(one, int) and abs(one) < 2**31 for one in values)


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
    with table_guard(path, DataError, "not a readable table"):
        text = _text_of(read_bytes(path, DataError, "table"), path)
        separator = _separator(text.partition("\n")[0])
        table = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False)
        return _normal(table)


def _text_of(content: bytes, path: Path) -> str:
    """UTF-8, or UTF-16 with its mark, as Excel writes "Unicode text"; raises DataError."""
    if content.startswith(_UTF16) and not content.startswith(_UTF32):
        content = content.decode("utf-16").encode()
    return decoded(content, path, DataError, "utf-8-sig")


def _separator(header: str) -> str:
    """The comma; semicolons or tabs where the header has these and no comma.

    Within cells semicolons stand between paths (``SEVERAL``), so that the header alone is asked.
    """
    return "," if "," in header else max(";\t", key=header.count) if _MARK.search(header) else ","


def _normal(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the text of its header and cells stripped and composed."""
    table = table.rename(columns=lambda name: normal(str(name)))
    return table.map(lambda cell: normal(str(cell)))


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
        if is_irregular(path):
            raise DataError(f"{where}: {shown(str(path), 300)} {IRREGULAR}")
        if not is_there(path):
            dead = " (a link to what is not here)" if path.is_symlink() else ""
            raise DataError(f"{where}: there is no file {shown(str(path), 300)}{dead}")
    number, side = row.get("slice"), SIDE_OF.get((row.get("side") or "").lower(), row.get("side"))
    if side and side not in SIDES:
        raise DataError(f"{where}: {unknown('side', side, SIDES)}")
    try:
        spacing = tuple(float(row[name]) for name in SPACINGS if row.get(name))
        if len(spacing) == 1:
            raise ValueError("give spacing_y and spacing_x, or all three")
        between = float(row["slice_spacing"]) if row.get("slice_spacing") else None
        if not usable((*spacing, *([] if between is None else [between]))):
            raise ValueError("a spacing is a number of millimetres above zero")
        return Sample(
            image=row["image"],
            group=group_in(row) or row["image"],
            modality=modality_of(row.get("modality") or modality, images[0], where),
            image_file=images[0],
            mask_files=tuple(masks),
            slice=int(number) if number else None,
            spacing=spacing or None,
            slice_spacing=between,
            together=row.get("together", ""),
            channel_files=tuple(images[1:]),
            side=side or "",
        )
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: {reason(error)}") from error


def group_in(row: Mapping[Any, str]) -> str:
    """Whose an image is, by the row of a table; empty where it does not say."""
    column = column_of_groups(map(str, row))
    return "" if column is None else row[column]


def about_rows(table: pd.DataFrame, path: Path, known: Iterable[str]) -> Iterator[Finding]:
    """Findings on the columns of a table that are not used, and on empty cells of groups."""
    column = column_of_groups(table.columns)
    if column is not None and column != "group":
        what = f"{path.name}: the column '{column}' says whose an image is"
        yield Finding("note", "groups", (), what, "Call it 'group' to say so yourself")
    yield from other_patients(table.to_dict("records"), path)
    if column is not None and (blank := int((table[column] == "").sum())):
        what = (
            f"{path.name}: {blank} row(s) have an empty {column} and count as patients of their own"
        )
        yield Finding("warning", "groups", (), what, "Fill the cells, if it is known")
    told = {*known, *columns_of_groups(map(str, table.columns)), *COLUMNS}
    others = [str(name) for name in table.columns if name not in told]
    if others:
        what = f"{path.name}: columns that are not used: {', '.join(others)}"
        yield Finding("note", "not used", (), what, "Nothing needs to be done")


def modality_of(stated: str, image_file: Path, where: str) -> str:
    """The stated modality; unstated, pictures are ``photo``, DICOM says it, others ``unknown``."""
    stated = stated.lower()
    if stated and stated not in MODALITIES:
        raise DataError(f"{where}: {unknown('modality', stated, MODALITIES)}")
    if stated:
        return stated
    suffix = formats.suffix_of(image_file)
    if suffix in formats.PICTURES:
        return "photo"
    if suffix in dicom_series.SUFFIXES or image_file.is_dir():
        return dicom_series.modality_in(image_file) or "unknown"
    return "unknown"


def _inside(folder: Path, name: str) -> Path:
    return file_inside(folder, name, folder / SAMPLES)


def file_inside(folder: Path, name: str, where: Path) -> Path:
    """The path of a name inside a folder, as it is written: links inside it may lead anywhere.

    Raises DataError that begins with ``where`` for a name that climbs out of the folder.
    """
    written, top = normal(name).replace("\\", "/"), folder.absolute()
    if Path(written).is_absolute() and Path(written).is_relative_to(top):
        name = written = str(Path(written).relative_to(top))
    inside(folder, written, where)
    return on_disk(folder, name)
