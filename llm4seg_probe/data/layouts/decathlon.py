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

from pathlib import Path
from typing import Any

from llm4seg_probe.data.collection import Collection, Labels, Sample
from llm4seg_probe.data.folders import read_groups
from llm4seg_probe.data.formats import stem_of
from llm4seg_probe.data.layout import check_classes, modality_of
from llm4seg_probe.data.layouts.described import (
    DESCRIPTION,
    channels_in,
    labels_in,
    modality_named,
    read_json,
)
from llm4seg_probe.errors import DataError

LISTS = {"training": "train", "validation": "val"}
"""Lists of ``dataset.json`` that hold labels, and the side that their images are on."""


def is_decathlon(folder: Path) -> bool:
    """Whether ``dataset.json`` lists images that lie under the names it gives.

    nnU-Net's first version wrote the list too, but its files have a channel's number in addition.
    """
    if not (folder / DESCRIPTION).is_file():
        return False
    listed = read_json(folder / DESCRIPTION).get("training")
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], dict):
        return False
    first = str(listed[0].get("image", ""))
    there = (folder / first).exists()
    return bool(first) and (there or not (folder / _numbered(first)).exists())


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
    groups = read_groups(folder)
    both = "validation" in description
    samples = [
        _sample(folder, entry, modality, groups, LISTS[name] if both else "")
        for name in LISTS
        for entry in description.get(name, [])
    ]
    names = [sample.image for sample in samples]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: the image '{name}' is listed more than once")
    return Collection(
        name=str(description.get("name") or folder.resolve().name),
        samples=tuple(samples),
        classes=classes,
        labels=labels,
        licence=str(description.get("licence") or description.get("license") or ""),
        source=str(description.get("reference", "")),
        note=str(description.get("description", "")),
    )


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
    found = folder / str(name)
    if not found.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{folder / DESCRIPTION}: '{name}' lies outside the folder")
    if not found.is_file():
        raise DataError(f"{folder / DESCRIPTION}: there is no file {found}")
    return found
