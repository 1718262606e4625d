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
from collections.abc import Iterator
from pathlib import Path

from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.formats import PICTURES, is_image, suffix_of
from llm4seg_probe.data.layouts.dataset_json import (
    DESCRIPTION,
    channels_in,
    counted,
    ct_beside_others,
    labels_in,
    modality_for_nnunet,
    read_json,
)
from llm4seg_probe.data.layouts.documented import check_classes, modality_of
from llm4seg_probe.data.layouts.plain import by_stem, none_in, other_format, read_groups
from llm4seg_probe.data.leftovers import tables_of_patients, unused
from llm4seg_probe.data.names import Matcher
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.names import is_file_there

IMAGES, LABELS, UNLABELLED = "imagesTr", "labelsTr", "imagesTs"
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def is_nnunet(folder: Path) -> bool:
    """Whether a folder has ``imagesTr``."""
    return (folder / IMAGES).is_dir()


def read_nnunet(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open such a folder; raises DataError that names the file."""
    path = folder / DESCRIPTION
    if not is_file_there(path, DataError):
        raise DataError(f"{folder}: has {IMAGES}, but no {DESCRIPTION}, which names the labels")
    if not (folder / LABELS).is_dir():
        raise DataError(f"{folder}: has {IMAGES}, but no {LABELS}")
    description = read_json(path)
    labels = labels_in(description, path)
    check_classes(classes, labels, path)
    channels = channels_in(description)
    cases = _cases(folder / IMAGES, channels)
    masks = {
        known: path
        for stem, path in by_stem(folder / LABELS).items()
        if (known := Matcher(cases).find(stem)) is not None
    }
    groups, noticed = read_groups(folder, cases)
    written = description.get("modality")
    named = written if isinstance(written, str) else ""
    samples = []
    for case, files in cases.items():
        if case not in masks:
            raise DataError(
                f"{files[0]}: has no mask {case} in {folder / LABELS}: "
                f"{other_format(folder / LABELS, case) or 'add it'}, or take the image out"
            )
        row = groups.get(case, {})
        picture = suffix_of(files[0]) in PICTURES  # says by itself that it is one
        by_channels = "" if picture else modality_for_nnunet(channels)
        stated = row.get("modality") or named or by_channels
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
        noticed=(
            *noticed,
            *counted(description, len(samples)),
            *ct_beside_others(channels, samples),
            *_left_over(folder, samples),
        ),
    )


def _left_over(folder: Path, samples: list[Sample]) -> Iterator[Finding]:
    """Findings on images and labels that belong to no case, and on the cases without labels."""
    yield from tables_of_patients(folder)
    used = {path for sample in samples for path in sample.files}
    beside = [
        path for path in sorted((folder / IMAGES).glob("*.json"))
        if any((folder / IMAGES / f"{path.stem}_0000{end}").is_file() for end in (".tif", ".tiff"))
    ]  # fmt: skip
    if beside:
        used |= set(beside)
        used |= {folder / LABELS / path.name for path in beside}
        what = f"the spacing in {len(beside)} file(s) beside TIFF images is not read"
        advice = "Distances are in pixels; store NIfTI for millimetres"
        yield Finding("warning", "spacing", tuple(path.stem for path in beside), what, advice)
    for place in (IMAGES, LABELS):
        reason = f"no case of {IMAGES} has its name"
        yield from unused(folder, folder / place, used, is_image, reason)
    if (folder / UNLABELLED).is_dir() and (
        count := sum(1 for _ in (folder / UNLABELLED).iterdir())
    ):
        what = f"{count} file(s) of {UNLABELLED} have no labels"
        yield Finding("note", "not used", (), what, "Nothing needs to be done")


def _cases(folder: Path, channels: tuple[str, ...]) -> dict[str, tuple[Path, ...]]:
    """Files of each case in the order of their channels."""
    found: dict[str, dict[int, Path]] = {}
    for stem, path in by_stem(folder).items():
        match = _CHANNEL.fullmatch(stem)
        if match is None:
            raise DataError(f"{path}: the name ends in no channel, such as {stem}_0000")
        found.setdefault(match["case"], {})[int(match["channel"])] = path
    if not found:
        raise none_in(folder)
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
