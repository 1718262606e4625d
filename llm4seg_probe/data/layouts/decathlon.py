"""The Medical Segmentation Decathlon's layout: ``dataset.json`` lists images and labels.

::

    Task01_BrainTumour/
      dataset.json   name; labels {"1": "edema"}; modality {"0": "FLAIR"}; training [{"image":
                     "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]; test [...]
      imagesTr/      volumes; several channels are a fourth axis
      labelsTr/

A list ``validation`` of the same kind is read too, and says on which side its images are. Images
of ``test`` have no labels and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm4seg_probe.data.collection import Collection, Labels, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.formats import is_image, stem_of
from llm4seg_probe.data.layouts.dataset_json import (
    DESCRIPTION,
    channels_in,
    counted,
    labels_in,
    modality_named,
    read_json,
)
from llm4seg_probe.data.layouts.documented import check_classes, file_inside, modality_of
from llm4seg_probe.data.layouts.plain import read_groups
from llm4seg_probe.data.leftovers import tables_of_patients, unused
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.names import IRREGULAR, is_file_there, is_irregular, is_there

LISTS = {"training": "train", "validation": "val"}
"""Lists of ``dataset.json`` that hold labels, and the side that their images are on."""


def is_decathlon(folder: Path) -> bool:
    """Whether ``dataset.json`` lists images that lie under the names it gives.

    nnU-Net's first version wrote the list too, but its files have a channel's number in addition.
    """
    if not is_file_there(folder / DESCRIPTION, DataError):
        return False
    listed = read_json(folder / DESCRIPTION).get("training")
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], dict):
        return False
    first = str(listed[0].get("image", ""))
    there = is_there(folder / first)
    return bool(first) and (there or not is_there(folder / _numbered(first)))


def _numbered(name: str) -> str:
    path = Path(name)
    stem = stem_of(path)
    return str(path.with_name(f"{stem}_0000{path.name[len(stem) :]}"))


def read_decathlon(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open such a folder; raises DataError that names the file and the entry."""
    path = folder / DESCRIPTION
    description = read_json(path)
    labels: Labels = labels_in(description, path)
    check_classes(classes, labels, path)
    modality = modality_named(channels_in(description))
    listed = [
        stem_of(Path(str(entry.get("image", ""))))
        for name in LISTS
        for entry in _entries(description, name, path)
        if isinstance(entry, dict)
    ]
    groups, noticed = read_groups(folder, listed)
    both = "validation" in description
    samples = [
        _sample(folder, entry, modality, groups, LISTS[name] if both else "")
        for name in LISTS
        for entry in _entries(description, name, path)
    ]
    names = [sample.image for sample in samples]
    for name, count in Counter(names).items():
        if count > 1:
            raise DataError(f"{path}: the image '{name}' is listed more than once")
    return Collection(
        name=str(description.get("name") or folder.resolve().name),
        samples=tuple(samples),
        classes=classes,
        labels=labels,
        licence=str(description.get("licence") or description.get("license") or ""),
        source=str(description.get("reference", "")),
        note=str(description.get("description", "")),
        noticed=(
            *noticed,
            *counted(description, len(samples)),
            *_left_over(folder, samples, description),
        ),
    )


def _left_over(
    folder: Path, samples: list[Sample], description: dict[str, Any]
) -> Iterator[Finding]:
    """Findings on images and labels beside those listed, and on the list without labels."""
    yield from tables_of_patients(folder)
    used = {path.absolute() for sample in samples for path in sample.files}
    reason = f"{DESCRIPTION} does not list it"
    for place in sorted({path.parent for path in used if path.parent != folder.absolute()}):
        if place.is_relative_to(folder.absolute()):
            yield from unused(folder.absolute(), place, used, is_image, reason)
    if isinstance(test := description.get("test"), list) and test:
        what = f"{len(test)} image(s) of the list 'test' have no labels"
        yield Finding("note", "not used", (), what, "Nothing needs to be done")


def _entries(description: dict[str, Any], name: str, path: Path) -> list[Any]:
    entries = description.get(name, [])
    if not isinstance(entries, list):
        raise DataError(f"{path}: '{name}' is no list of images and labels")
    return entries


def _sample(
    folder: Path, entry: Any, modality: str, groups: dict[str, dict[str, str]], side: str
) -> Sample:
    path = folder / DESCRIPTION
    if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
        raise DataError(f"{path}: an entry of its lists is {entry!r}; expected image and label")
    image, label = (_listed(folder, entry[key]) for key in ("image", "label"))
    name = stem_of(image)
    row = groups.get(name, {})
    return Sample(
        image=name,
        group=row.get("group") or name,
        modality=modality_of(row.get("modality") or modality, image, str(image)),
        image_file=image,
        mask_files=(label,),
        together=row.get("together", ""),
        side=side,
    )


def _listed(folder: Path, name: Any) -> Path:
    found = file_inside(folder, str(name), folder / DESCRIPTION)
    if is_irregular(found):
        raise DataError(f"{folder / DESCRIPTION}: {found} {IRREGULAR}")
    if not found.is_file():
        raise DataError(f"{folder / DESCRIPTION}: there is no file {found}")
    return found
