"""The data sets of the paper: where they come from, on which terms, and what is in them.

None is fetched by this program: each page has its own terms. What could not be checked on the page
itself says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llm4seg_probe.data.preparing import pages
from llm4seg_probe.data.preparing.delivery import Delivery, Found

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
        find=pages.busi,
        labels={"lesion": 255},
        modality="photo",
        note="Masks in several files (_mask_1, _mask_2) are merged. There are no patient ids. "
        "Published: near-duplicates, and eight lesions that are both benign and malignant (letter "
        "by Pawłowska, Karwat and Żołek, Data in Brief 2023, 109247).",
        extras={"normal": pages.busi_normal},
    ),
    "tnscui": PaperSet(
        summary="TN-SCUI 2020, thyroid nodules in ultrasound",
        page="the TN-SCUI 2020 page on grand-challenge, on request",
        licence="by agreement with the challenge: do not redistribute",
        published=3644,
        expected="a folder of images and a folder whose name holds 'mask', files of the same "
        "names in both",
        find=pages.tnscui,
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
        find=pages.isic2018,
        labels={"lesion": 255},
        modality="photo",
        note="Pictures are very large: --longest-side stores them smaller. Lesion ids are not part "
        "of task 1: with a table of image (or isic_id) and lesion_id "
        "beside the folders, images of one lesion become one group.",
        extras={"validation": pages.isic2018_validation, "test": pages.isic2018_test},
        archives=("ISIC2018_Task1*",),
    ),
    "kvasir": PaperSet(
        summary="Kvasir-SEG, polyps in colonoscopy",
        page="the Simula datasets page of Kvasir-SEG",
        licence="research and education, as far as known: see its page, and cite it",
        published=1000,
        expected="the folders images and masks of Kvasir-SEG, JPEG files of the same names",
        find=pages.kvasir,
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
        find=pages.btcv,
        labels={name: value for value, name in enumerate(ORGANS, start=1)},
        modality="ct",
        note="Scans without labels are left out. Two protocols are in use and not comparable: 24 "
        "and 6 scans with 13 organs, and 18 and 12 with 8 organs.",
        archives=("RawData*",),
    ),
}
"""Data sets that `data prepare` knows, by name."""
