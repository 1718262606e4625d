"""Folders that hold images and masks under other names than ``images/`` and ``masks/``."""

from __future__ import annotations

import re
from pathlib import Path

from llm4seg_probe.data import formats
from llm4seg_probe.data.layouts.documented import SIDE_OF
from llm4seg_probe.data.leftovers import is_of_a_system

IMAGES, MASKS = "images", "masks"
_IMAGES = frozenset([
    "images", "image", "img", "imgs", "im", "ims", "imagestr", "picture", "pictures", "pic",
    "pics", "photo", "photos", "scan", "scans", "input", "inputs", "original", "originals", "raw",
    "frame", "frames", "volume", "volumes", "slice", "slices", "data", "jpegimages", "bild",
    "bilder", "bilddaten", "imagenes", "imagen", "immagini", "imagens",
])  # fmt: skip
_MASKS = frozenset([
    "masks", "mask", "msk", "msks", "maske", "masken", "label", "labels", "lbl", "lbls",
    "labelstr", "gt", "gts", "groundtruth", "groundtruths", "truth", "seg", "segs", "segm",
    "segmentation", "segmentations", "segmentationclass", "annotation", "annotations", "annot",
    "annots", "mascara", "mascaras", "masque", "masques", "maschere", "segmentierung",
    "segmentierungen", "labelled", "labeled", "contour", "contours", "delineation",
    "delineations", "manual", "target", "targets",
])  # fmt: skip
"""Words that stand for either in the names of folders, in lower case, without what is no letter."""


def under_other_names(folder: Path) -> str:
    """What to do where folders hold images and masks under other names; empty where none do.

    They may lie in the folder, or one deeper: in folders of its sides, or of patients.
    """
    inner = _folders(folder)
    found = _pair(inner)
    if found is not None:
        image, mask = found
        called = [
            f"call {path.name}/ {name}/"
            for path, name in ((image, IMAGES), (mask, MASKS))
            if path.name != name
        ]
        return (
            f"{image.name}/ and {mask.name}/ seem to hold images and their masks: "
            f"{' and '.join(called)}"
            if called
            else ""
        )
    below = [(path, pair) for path in inner if (pair := _pair(_folders(path))) is not None]
    if not below:
        return _of_cases(inner)
    named = [path.relative_to(folder).as_posix() for path in below[0][1]]
    said = f"{named[0]}/ and {named[1]}/ seem to hold images and their masks"
    if len(below) == 1:
        return f"{said}: give {below[0][0]} as the data set"
    sides = all(path.name.lower() in SIDE_OF for path, _ in below)
    column, kept = (
        ("split", "; data.split=own then keeps the sides")
        if sides
        else ("group", ", with the patient as the group if each folder is one")
    )
    return (
        f"{said}: move those of all {len(below)} such folders to {IMAGES}/ and {MASKS}/, or list "
        f"the files in a CSV table (image, mask, {column}) and give that as the data set{kept}"
    )


_MOST_FILES = 10
"""Images of one case: channels, phases and masks."""


def _of_cases(folders: list[Path]) -> str:
    """What to do where each folder is a case, with its mask beside its image, as in KiTS."""
    found = []
    for folder in folders:
        names = [
            path for path in sorted(folder.iterdir())
            if not is_of_a_system(path) and formats.is_image(path)
        ]  # fmt: skip
        masks = [path for path in names if _means(path.name.split(".")[0], _MASKS)]
        if 2 <= len(names) <= _MOST_FILES and len(masks) == 1:
            found.append((masks[0], next(path for path in names if path not in masks)))
    if not found or 2 * len(found) <= len(folders):
        return ""
    mask, image = found[0]
    return (
        f"{image.parent.name}/ seems to hold an image and its mask ({image.name}, {mask.name}), "
        f"and {len(found) - 1} other folders alike: list the files in a CSV table (image, mask, "
        "group) and give that as the data set"
    )


def images_below(folder: Path) -> Path | None:
    """The first image in the folders directly below a folder without images; None without any."""
    for inner in _folders(folder):
        for path in sorted(inner.iterdir()):
            if not is_of_a_system(path) and formats.is_image(path):
                return path
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_of_a_system(path))


def _pair(folders: list[Path]) -> tuple[Path, Path] | None:
    """The one folder of images and the one of masks, where there are both."""
    # Where several could be meant, as in VOC's, those that hold images directly.
    ordered = sorted(folders, key=lambda path: not _holds_images(path))
    images = [path for path in ordered if _means(path.name, _IMAGES)]
    masks = [path for path in ordered if _means(path.name, _MASKS)]
    return (images[0], masks[0]) if images and masks else None


def _holds_images(folder: Path) -> bool:
    return any(not is_of_a_system(path) and formats.is_image(path) for path in folder.iterdir())


def _means(name: str, words: frozenset[str]) -> bool:
    """Whether a name is one of the words, or ends in one (``ISIC2018_Task1_GroundTruth``)."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    last = re.split(r"[\W_\d]+", re.sub(r"[\W_\d]+$", "", name.lower()))[-1]
    return plain in words or last in words
