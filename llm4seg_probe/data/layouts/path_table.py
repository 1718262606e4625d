"""A CSV file of paths: images and masks that lie wherever they lie.

Columns ``image`` and ``mask`` (paths from the file's own folder; several separated by ``;`` are
the channels of one image, or one binary mask per class), and, if wanted, ``name`` (else the
image's, without its suffix), ``split`` (train, val or test: the side that it is on), and ``group``,
``modality``, ``slice``, ``slice_spacing``, ``spacing_z``, ``spacing_y``, ``spacing_x`` and
``together`` as in ``data/layout.py``. With ``slice``, rows of one volume train a 2D network. A
``dataset.json`` beside the file may name the classes, the modality, licence and source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.formats import stem_of
from llm4seg_probe.data.layouts.documented import (
    DESCRIPTION,
    SEVERAL,
    about_rows,
    check_classes,
    labels_of,
    read_description,
    read_table,
    sample_of,
)
from llm4seg_probe.data.names import on_disk
from llm4seg_probe.errors import DataError

SUFFIX = ".csv"
_NEEDED = ("image", "mask")


def read_path_table(path: Path, classes: tuple[str, ...]) -> Collection:
    """Open such a file; raises DataError that names the row."""
    folder = path.parent
    table = read_table(path, _NEEDED)
    description = read_description(folder)
    labels = labels_of(description)
    check_classes(classes, labels, folder / DESCRIPTION)
    modality = str(description.get("modality", ""))
    names = names_in(table)
    refuse_twice(names, path)
    samples = []
    for name, row in zip(names, table.to_dict("records"), strict=True):
        where = f"{path}: image '{name}'"
        if not row["mask"]:
            raise DataError(f"{where}: has no mask")
        images, masks = (
            [on_disk(folder, part) for part in row[column].split(SEVERAL)] for column in _NEEDED
        )
        values: dict[Any, str] = {**row, "image": name, "side": row.get("split", "")}
        samples.append(sample_of(values, images, masks, modality, where))
    return Collection(
        name=str(description.get("name") or path.stem),
        samples=tuple(samples),
        classes=classes,
        labels={} if classes == (FOREGROUND,) else labels,
        licence=str(description.get("licence", "")),
        source=str(description.get("source", "")),
        note=str(description.get("note", "")),
        noticed=tuple(about_rows(table, path, (*_NEEDED, "name", "split"))),
    )


def refuse_twice(names: list[str], path: Path) -> None:
    """Raise DataError for an image that stands in more than one row."""
    twice = pd.Series(names).duplicated()
    if twice.any():
        raise DataError(
            f"{path}: the image '{names[int(twice.argmax())]}' stands in more than one row"
        )


def names_in(table: pd.DataFrame) -> list[str]:
    """Names of a table's images: column ``name``; else stems, or paths where they are not unique.

    Paths are without suffix. Slices of one volume have their number behind the name.
    """
    if "name" in table.columns:
        return [str(name) for name in table["name"]]
    paths = [Path(str(image).split(SEVERAL)[0].strip()) for image in table["image"]]
    ends = [
        f"-{int(n):03d}" if n.isdecimal() else "" for n in table.get("slice", [""] * len(table))
    ]
    stems = [stem_of(path) + end for path, end in zip(paths, ends, strict=True)]
    if len(set(stems)) == len(stems):
        return stems
    return [
        path.with_name(stem_of(path)).as_posix() + end
        for path, end in zip(paths, ends, strict=True)
    ]
