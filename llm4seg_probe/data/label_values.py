"""Labels of whole images: from what a table, folders or an array say to which classes are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.names import alike
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.names import shown

Labels = list[tuple[bool, ...]]
KIND = "labels"
_NAMED = 8
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


def label_counts(collection: Collection) -> Iterator[Finding]:
    """How many images of a set of labels have each class; an error where all have it, or none."""
    labels = [sample.labels for sample in collection.samples if sample.labels is not None]
    for name, column in zip(collection.classes, zip(*labels, strict=True), strict=False):
        what = f"{sum(column)} of {len(column)} images have the class '{name}'"
        if 0 < sum(column) < len(column):
            yield Finding("note", KIND, (), what, "Nothing needs to be done")
        else:
            advice = "Give images with it and without, or take it out of the classes"
            yield Finding("error", KIND, (), what, advice)


def from_names(
    values: Sequence[str], classes: tuple[str, ...], where: str
) -> tuple[Labels, list[Finding]]:
    """Labels of images that have one each, by its name.

    Names are compared without regard to case. With one class, one further label is the images
    that do not have it, which is told; ``foreground`` is then the label 1 of 0 and 1. With several
    classes every label is one of them. Raises DataError that begins with ``where``.
    """
    found = list(dict.fromkeys(values))
    said = shown(", ".join(found[:_NAMED]) + (", …" if len(found) > _NAMED else ""), 200)
    if len(found) == 1:
        raise DataError(f"{where}: all images have the same label, {said}: there is one class only")
    if classes == (FOREGROUND,):
        if {alike(value) for value in found} != {"0", "1"}:
            raise DataError(
                f"{where}: the labels are {said}; say which are classes, such as "
                f"data.classes=[{shown(', '.join(found[1:2] if len(found) == 2 else found[:2]))}]"
            )
        return [(alike(value) == "1",) for value in values], []
    known = {alike(name): place for place, name in enumerate(classes)}
    others = [value for value in found if alike(value) not in known]
    if others and (len(classes) > 1 or len(others) > 1):
        raise DataError(
            f"{where}: '{shown(others[0])}' is no label: data.classes names {', '.join(classes)}, "
            f"and the labels are {said}"
        )
    labels = [
        tuple(place == known.get(alike(value)) for place in range(len(classes))) for value in values
    ]
    told = [
        Finding("note", KIND, (), f"'{other}' is taken for images without {classes[0]}",
                "Name it in data.classes if it is a class of its own")
        for other in others
    ]  # fmt: skip
    return labels, told


def from_cells(cells: Sequence[Sequence[str]], classes: tuple[str, ...], where: str) -> Labels:
    """Labels of images that may have several, from a cell for each class that says yes or no.

    Raises DataError that begins with ``where`` and names the row, counted from 1.
    """
    labels = []
    for number, row in enumerate(cells, start=1):
        for name, cell in zip(classes, row, strict=True):
            if cell.lower() not in (*_YES, *_NO):
                raise DataError(
                    f"{where}: row {number}: '{shown(cell)}' in the column {name} is no label: "
                    "write 1 where the image has the class and 0 where it has not"
                )
        labels.append(tuple(cell.lower() in _YES for cell in row))
    return labels


def from_numbers(labels: np.ndarray, classes: tuple[str, ...], where: str) -> Labels:
    """Labels from an array as MedMNIST has them: (N,) or (N, 1) numbers of classes, or (N, K).

    Numbers count the classes from 0; with one class, 1 are the images that have it. Of (N, K) each
    column is a class that an image has (1) or not (0). Raises DataError that begins with ``where``.
    """
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "biu":
        raise DataError(
            f"{where}: are {list(labels.shape)} of type {labels.dtype}, no labels: whole numbers, "
            "(N, 1) or (N, classes), are expected"
        )
    rows = labels.reshape(len(labels), -1).astype(np.int64)
    low, high = (int(rows.min()), int(rows.max())) if rows.size else (0, 0)
    if rows.shape[1] > 1:
        if low < 0 or high > 1:
            raise DataError(f"{where}: hold {low if low < 0 else high}, no label: 0 or 1 are")
        if rows.shape[1] != len(classes):
            raise DataError(
                f"{where}: are of {rows.shape[1]} classes, but data.classes names {len(classes)} "
                f"({', '.join(classes)})"
            )
        return [tuple(map(bool, row)) for row in rows.tolist()]
    most = max(len(classes), 2) - 1
    if low < 0 or high > most:
        raise DataError(
            f"{where}: hold {low if low < 0 else high}, but data.classes names {len(classes)} "
            f"({', '.join(classes)}), so that labels are 0 to {most}"
        )
    numbers = [(1,)] if len(classes) == 1 else [(place,) for place in range(len(classes))]
    return [tuple(row[0] in number for number in numbers) for row in rows.tolist()]
