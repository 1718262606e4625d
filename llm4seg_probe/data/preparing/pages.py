"""How the page of each data set of the paper lays out what it delivers, and which image is whose.

Each function takes a :class:`Delivery` and returns its images, or raises DataError: something else
was given, or an image has no mask.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from llm4seg_probe.data.folders import by_stem
from llm4seg_probe.data.layout import read_table
from llm4seg_probe.data.preparing.delivery import Delivery, Found, paired
from llm4seg_probe.errors import DataError

_BUSI_MASK = re.compile(r"(?P<image>.+)_mask(_\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"\d+$")
_IMAGE_COLUMNS = ("isic_id", "image", "image_id", "image_name")
_LESION = "lesion_id"


def busi(delivery: Delivery) -> list[Found]:
    """Benign and malignant lesions of BUSI; all masks of one image belong together."""
    return [*_busi_class(delivery, "benign"), *_busi_class(delivery, "malignant")]


def busi_normal(delivery: Delivery) -> list[Found]:
    """BUSI's images without a lesion, whose masks are black."""
    return _busi_class(delivery, "normal")


def _busi_class(delivery: Delivery, name: str) -> list[Found]:
    folder = delivery.folder(name)
    if folder is None:
        raise delivery.refusal()
    images: dict[str, Path] = {}
    masks: dict[str, list[Path]] = {}
    for stem, path in by_stem(folder).items():
        match = _BUSI_MASK.fullmatch(stem)
        if match is None:
            images[stem] = path
        else:
            masks.setdefault(match["image"], []).append(path)
    for stem, parts in masks.items():
        if stem not in images:
            raise DataError(f"{parts[0]}: is the mask of '{stem}', which is not in {folder}")
    for stem, path in images.items():
        if stem not in masks:
            raise DataError(f"{path}: has no mask {stem}_mask in {folder}")
    return [Found(stem, path, tuple(masks[stem])) for stem, path in images.items()]


def tnscui(delivery: Delivery) -> list[Found]:
    """Thyroid nodules: a folder of masks, and the folder whose images have the same names."""
    folders = {folder: by_stem(folder) for folder in delivery.folders()}
    filled = {folder: stems for folder, stems in folders.items() if stems}
    masks = [folder for folder in filled if "mask" in folder.name.lower()]
    others = [folder for folder in filled if folder not in masks]
    if len(masks) != 1 or not others:
        raise delivery.refusal()
    stems = filled[masks[0]].keys()
    images = max(others, key=lambda folder: len(stems & filled[folder].keys()))
    if not stems & filled[images].keys():
        raise delivery.refusal()
    return paired(images, masks[0])


def isic2018(delivery: Delivery) -> list[Found]:
    """The training images of task 1, grouped by lesion where a table with lesion ids lies there."""
    return _isic_part(delivery, "Training", "train")


def isic2018_validation(delivery: Delivery) -> list[Found]:
    """The challenge's own validation images."""
    return _isic_part(delivery, "Validation", "val")


def isic2018_test(delivery: Delivery) -> list[Found]:
    """The challenge's own test images."""
    return _isic_part(delivery, "Test", "test")


def _isic_part(delivery: Delivery, part: str, side: str) -> list[Found]:
    images = delivery.folder(f"ISIC2018_Task1-2_{part}_Input")
    masks = delivery.folder(f"ISIC2018_Task1_{part}_GroundTruth")
    if images is None or masks is None:
        raise delivery.refusal()
    lesions = _lesions(delivery)
    found = paired(images, masks, "_segmentation", side)
    return [replace(one, group=lesions.get(one.name, "")) for one in found]


def _lesions(delivery: Delivery) -> dict[str, str]:
    """Lesion of each image, from any table of the delivery that has both columns."""
    found: dict[str, str] = {}
    for path in delivery.tables():
        table = read_table(path, ())
        column = next((name for name in _IMAGE_COLUMNS if name in table.columns), None)
        if column is not None and _LESION in table.columns:
            found |= dict(zip(table[column], table[_LESION], strict=True))
    return found


def kvasir(delivery: Delivery) -> list[Found]:
    """Polyps: ``images`` and ``masks`` with the same names."""
    images, masks = delivery.folder("images"), delivery.folder("masks")
    if images is None or masks is None:
        raise delivery.refusal()
    return paired(images, masks)


def btcv(delivery: Delivery) -> list[Found]:
    """Abdominal CT: ``img`` and ``label`` of the training part, or renamed as in nnU-Net's layout.

    Image and label share their number.
    """
    images = delivery.folder("img", "Training") or delivery.folder("imagesTr")
    labels = delivery.folder("label", "Training") or delivery.folder("labelsTr")
    if images is None or labels is None:
        raise delivery.refusal()
    numbered = {_number(path, stem): path for stem, path in by_stem(labels).items()}
    found = []
    for stem, path in by_stem(images).items():
        label = numbered.get(_number(path, stem))
        if label is None:
            raise DataError(f"{path}: has no label of its number in {labels}")
        found.append(Found(stem, path, (label,)))
    return found


def _number(path: Path, stem: str) -> int:
    digits = _NUMBER.search(stem.removesuffix("_0000"))
    if digits is None:
        raise DataError(f"{path}: its name ends in no number, such as img0001")
    return int(digits.group())
