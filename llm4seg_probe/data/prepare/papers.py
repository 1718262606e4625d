"""Find image and mask pairs in the published archives of the paper's five data sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from llm4seg_probe.data.layouts.documented import read_table
from llm4seg_probe.data.layouts.plain import by_stem
from llm4seg_probe.data.prepare.archives import Delivery, Found, paired
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


Find = Callable[[Delivery], list[Found]]

ORGANS = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "oesophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal and splenic veins",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)
"""BTCV's labels 1 to 13."""


@dataclass(frozen=True)
class PaperSet:
    """One data set as its page delivers it, and as it is opened afterwards."""

    summary: str
    page: str
    licence: str
    published: int
    """Images with a mask, by its page: more or fewer are said, not refused."""
    expected: str
    """What its archive or folder holds, for messages."""
    find: Find
    labels: Mapping[str, int]
    modality: str
    note: str
    extras: Mapping[str, Find] = field(default_factory=dict)
    """Further images that are left out unless they are asked for."""
    archives: tuple[str, ...] = ()
    """Names of the archives, where the page delivers several: a folder that holds them will do."""


SETS: dict[str, PaperSet] = {
    "busi": PaperSet(
        summary="breast ultrasound, benign and malignant lesions",
        page="the Cairo University scholar page of A. Fahmy, or Kaggle: "
        "breast-ultrasound-images-dataset",
        licence="unclear (its paper is open access, mirrors say CC0 or other): do not redistribute",
        published=647,
        expected="the folders benign and malignant (and normal) of Dataset_BUSI_with_GT, with "
        "'benign (1).png' and 'benign (1)_mask.png'",
        find=busi,
        labels={"lesion": 255},
        modality="photo",
        note="Masks in several files (_mask_1, _mask_2) are merged. There are no patient ids. "
        "Published: near-duplicates, and eight lesions that are both benign and malignant (letter "
        "by Pawłowska, Karwat and Żołek, Data in Brief 2023, 109247).",
        extras={"normal": busi_normal},
    ),
    "tnscui": PaperSet(
        summary="TN-SCUI 2020, thyroid nodules in ultrasound",
        page="the TN-SCUI 2020 page on grand-challenge, on request",
        licence="by agreement with the challenge: do not redistribute",
        published=3644,
        expected="a folder of images and a folder whose name holds 'mask', files of the same "
        "names in both",
        find=tnscui,
        labels={"nodule": 255},
        modality="photo",
        note="The table of benign and malignant is not needed, and left out. There are no patient "
        "ids. Images have black borders and overlays of the scanner.",
    ),
    "isic2018": PaperSet(
        summary="ISIC 2018 task 1, skin lesions in dermoscopy",
        page="the ISIC Challenge archive: 2018, task 1, training input and ground truth",
        licence="CC0 as far as known: see its page",
        published=2594,
        expected="the folders ISIC2018_Task1-2_Training_Input and "
        "ISIC2018_Task1_Training_GroundTruth (or their two archives in one folder)",
        find=isic2018,
        labels={"lesion": 255},
        modality="photo",
        note="Pictures are very large: --longest-side stores them smaller. Lesion ids are not part "
        "of task 1: with a table of image (or isic_id) and lesion_id "
        "beside the folders, images of one lesion become one group.",
        extras={"validation": isic2018_validation, "test": isic2018_test},
        archives=("ISIC2018_Task1*",),
    ),
    "kvasir": PaperSet(
        summary="Kvasir-SEG, polyps in colonoscopy",
        page="the Simula datasets page of Kvasir-SEG",
        licence="research and education, as far as known: see its page, and cite it",
        published=1000,
        expected="the folders images and masks of Kvasir-SEG, JPEG files of the same names",
        find=kvasir,
        labels={"polyp": 255},
        modality="photo",
        note="Masks come as JPEG, with noise round their edges: foreground is above 127. Frames "
        "follow each other and there are no patient ids, so neighbours may look alike.",
    ),
    "btcv": PaperSet(
        summary="BTCV, 13 abdominal organs in CT, volumes",
        page="Synapse syn3193805 (registration): RawData",
        licence="the terms of Synapse: no redistribution",
        published=30,
        expected="RawData/Training/img/img0001.nii.gz and RawData/Training/label/label0001.nii.gz "
        "(or imagesTr and labelsTr)",
        find=btcv,
        labels={name: value for value, name in enumerate(ORGANS, start=1)},
        modality="ct",
        note="Scans without labels are left out. Two protocols are in use and not comparable: 24 "
        "and 6 scans with 13 organs, and 18 and 12 with 8 organs.",
        archives=("RawData*",),
    ),
}
"""Data sets that `data prepare` knows, by name."""
