"""nnU-Net's raw layout, of its first and second version.

::

    Dataset001_NAME/
      dataset.json   labels {"liver": 1, "tumour": 2}, or regions {"whole": [1, 2]};
                     channel_names {"0": "T1", "1": "T2"} (``modality`` in the first version)
      imagesTr/      CASE_0000.nii.gz, CASE_0001.nii.gz, …: one file per channel
      labelsTr/      CASE.nii.gz

A colour picture is one file, CASE_0000.png. Images of ``imagesTs`` have no labels and are left
out. A table ``groups.csv`` (image, group) says which cases are of one patient.
"""

from __future__ import annotations

import re
from pathlib import Path

from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.folders import by_stem, read_groups
from llm4seg_probe.data.layout import check_classes, modality_of
from llm4seg_probe.data.layouts.described import (
    DESCRIPTION,
    channels_in,
    labels_in,
    modality_named,
    read_json,
)
from llm4seg_probe.errors import DataError

IMAGES, LABELS = "imagesTr", "labelsTr"
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def is_nnunet(folder: Path) -> bool:
    """Whether a folder has ``imagesTr``."""
    return (folder / IMAGES).is_dir()


def read_nnunet(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open such a folder; raises DataError that names the file."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise DataError(f"{folder}: has {IMAGES}, but no {DESCRIPTION}, which names the labels")
    if not (folder / LABELS).is_dir():
        raise DataError(f"{folder}: has {IMAGES}, but no {LABELS}")
    description = read_json(path)
    labels = labels_in(description, path)
    check_classes(classes, labels, path)
    channels = channels_in(description)
    masks = by_stem(folder / LABELS)
    groups = read_groups(folder)
    samples = []
    for case, files in _cases(folder / IMAGES, channels).items():
        if case not in masks:
            raise DataError(
                f"{files[0]}: has no mask {case} in {folder / LABELS}: add it, or take the "
                "image out"
            )
        row = groups.get(case, {})
        stated = row.get("modality") or modality_named(channels)
        samples.append(
            Sample(
                image=case,
                group=row.get("group") or case,
                modality=modality_of(stated, files[0], str(files[0])),
                image_file=files[0],
                mask_files=(masks[case],),
                together=row.get("together", ""),
                channel_files=files[1:],
            )
        )
    return Collection(
        name=str(description.get("name") or folder.resolve().name),
        samples=tuple(samples),
        classes=classes,
        labels=labels,
        licence=str(description.get("licence") or description.get("license") or ""),
        source=str(description.get("reference", "")),
        note=str(description.get("description", "")),
    )


def _cases(folder: Path, channels: tuple[str, ...]) -> dict[str, tuple[Path, ...]]:
    """Files of each case in the order of their channels."""
    found: dict[str, dict[int, Path]] = {}
    for stem, path in by_stem(folder).items():
        match = _CHANNEL.fullmatch(stem)
        if match is None:
            raise DataError(f"{path}: the name ends in no channel, such as {stem}_0000")
        found.setdefault(match["case"], {})[int(match["channel"])] = path
    if not found:
        raise DataError(f"{folder}: no images in this folder")
    # One file may hold the three channels of a colour picture, so the files count, not the names.
    expected = max(len(files) for files in found.values())
    if channels and expected not in (1, len(channels)):
        raise DataError(
            f"{folder}: cases have {expected} files each, but {DESCRIPTION} names "
            f"{len(channels)} channels ({', '.join(channels)})"
        )
    if channels and expected == 1 and len(channels) not in (1, 3):
        expected = len(channels)
    for case, files in found.items():
        missing = sorted(set(range(expected)) - files.keys())
        if missing:
            named = f" ({channels[missing[0]]})" if missing[0] < len(channels) else ""
            raise DataError(f"{folder}: case '{case}' has no file {case}_{missing[0]:04d}{named}")
    return {case: tuple(files[i] for i in sorted(files)) for case, files in found.items()}
