"""A CSV file of images with labels instead of masks.

Column ``image`` (paths from the file's own folder), and either ``label``, the one label of each
image by its name, or a column of 0 and 1 for each class, called as the class, where an image may
have several. Further columns are those of a CSV file of paths (``data/layouts/path_table.py``):
``name``, ``split`` (train, val or test), ``group`` or ``patient``, ``modality``, ``slice`` and
spacings.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.label_values import Labels, from_cells, from_names
from llm4seg_probe.data.layouts.documented import (
    SEVERAL,
    about_rows,
    read_description,
    read_table,
    sample_of,
)
from llm4seg_probe.data.layouts.path_table import names_in, refuse_twice
from llm4seg_probe.data.names import on_disk
from llm4seg_probe.errors import DataError

LABEL, _MASK = "label", "mask"


def is_label_table(path: Path, classes: tuple[str, ...]) -> bool:
    """Whether a CSV file has labels of its images, and no masks."""
    columns = set(read_table(path, ()).columns)
    return _MASK not in columns and (LABEL in columns or set(classes) <= columns)


def read_label_table(path: Path, classes: tuple[str, ...]) -> Collection:
    """Open such a file; raises DataError that names the row."""
    table = read_table(path, ("image",))
    description = read_description(path.parent)
    names = names_in(table)
    refuse_twice(names, path)
    labels, noticed, own = _labels(table, names, classes, path)
    samples = []
    for name, has, row in zip(names, labels, table.to_dict("records"), strict=True):
        images = [on_disk(path.parent, part) for part in row["image"].split(SEVERAL)]
        values: dict[Any, str] = {**row, "image": name, "side": row.get("split", "")}
        where = f"{path}: image '{name}'"
        sample = sample_of(values, images, [], str(description.get("modality", "")), where)
        samples.append(replace(sample, labels=has))
    noticed += about_rows(table, path, ("image", "name", "split", *own))
    return Collection(
        name=str(description.get("name") or path.stem),
        samples=tuple(samples),
        classes=classes,
        licence=str(description.get("licence", "")),
        source=str(description.get("source", "")),
        note=str(description.get("note", "")),
        noticed=tuple(noticed),
    )


def _labels(
    table: pd.DataFrame, names: list[str], classes: tuple[str, ...], path: Path
) -> tuple[Labels, list[Finding], tuple[str, ...]]:
    """Labels of the rows, what is to be said of them, and the columns that they stand in."""
    if LABEL not in table.columns:
        cells = table[list(classes)].to_numpy().tolist()
        return from_cells(cells, classes, str(path)), [], classes
    values = [str(value) for value in table[LABEL]]
    for name, value in zip(names, values, strict=True):
        if not value:
            raise DataError(f"{path}: image '{name}': has no label")
    labels, told = from_names(values, classes, str(path))
    return labels, told, (LABEL,)
