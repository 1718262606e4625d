"""Folders of images of the kinds that the eighth round of fresh files found wrong."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data import checks
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.errors import DataError


def pictures(folder: Path, images: str, masks: str) -> None:
    """Grey pictures and their masks, in two folders of any names."""
    draw = np.random.default_rng(0)
    for place in (images, masks):
        (folder / place).mkdir(parents=True)
        for number in range(4):
            pixels = draw.integers(0, 255, (16, 16), dtype=np.uint8)
            pixels = np.where(pixels > 128, 255, 0).astype(np.uint8) if place == masks else pixels
            Image.fromarray(pixels).save(folder / place / f"a{number}.png")


def volumes(folder: Path, image: np.ndarray, modality: str = "ct") -> Path:
    """Four volumes and masks with a stated modality."""
    mask = np.zeros(image.shape, np.uint8)
    mask[2:5, 2:5, 2:5] = 1
    for place, array in (("images", image), ("masks", mask)):
        (folder / place).mkdir(parents=True)
        for number in range(4):
            stored = nibabel.Nifti1Image(array + (number if place == "images" else 0), np.eye(4))
            nibabel.save(stored, folder / place / f"c{number}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"modality": modality}))
    return folder


def told(folder: Path, **options: tuple[str, ...]) -> str:
    """All findings on a data set."""
    found = checks.check_collection(open_collection(str(folder), **options))
    return " ".join(finding.sentence for finding in found.findings)


HU = np.random.default_rng(0).normal(40, 15, (8, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (HU + 1024, "nothing below -50, neither air nor fat"),
        ((HU + 100) / 300, "lies between -1 and 1"),
        ((HU - 40) / 200, "lies between -1 and 1"),
    ],
)
def test_numbers_of_a_ct_that_are_no_hounsfield_units_are_doubted(tmp_path, image, says):
    assert says in told(volumes(tmp_path / "set", image.astype(np.float32)))


def test_a_ct_with_air_is_not_doubted_nor_is_an_mr(tmp_path):
    air = HU.copy()
    air[:, :2] = -1000
    assert "Hounsfield" not in told(volumes(tmp_path / "ct", air))
    assert "Hounsfield" not in told(volumes(tmp_path / "mr", HU + 1024, "mr"))


def test_named_labels_that_are_read_as_one_class_are_told(tmp_path):
    folder = tmp_path / "Dataset001_Liver"
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir(parents=True)
    mask = np.zeros(HU.shape, np.uint8)
    mask[2:5, 2:5], mask[5:7, 5:7] = 1, 2
    for number in range(3):
        for place, array in ((f"imagesTr/c{number}_0000", HU), (f"labelsTr/c{number}", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / f"{place}.nii.gz")
    content = {"channel_names": {"0": "MR"}, "file_ending": ".nii.gz", "numTraining": 3,
               "labels": {"background": 0, "liver": 1, "tumour": 2}}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(content))
    said = told(folder)
    assert "the labels liver, tumour are read as one class" in said
    assert "--classes liver,tumour" in said
    assert "read as one class" not in told(folder, classes=("liver", "tumour"))
    assert "read as one class" not in told(folder, classes=("liver",))


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("Bilder", "Masken"),
        ("imagenes", "mascaras"),
        ("raw", "labelled"),
        ("Bild", "Segmentierung"),
    ],
)
def test_folders_in_other_languages_are_named_with_what_to_call_them(tmp_path, images, masks):
    pictures(tmp_path / "set", images, masks)
    with pytest.raises(DataError, match=f"{images}/ and {masks}/ seem to hold images"):
        open_collection(str(tmp_path / "set"))


@pytest.mark.parametrize(
    ("image", "mask"), [("imaging", "segmentation"), ("p_t1", "p_seg"), ("ct", "label")]
)
def test_an_image_beside_its_mask_in_a_folder_of_its_case(tmp_path, image, mask):
    for number in range(3):
        case = tmp_path / "set" / f"case_{number:05d}"
        case.mkdir(parents=True)
        for name in (image, mask):
            nibabel.save(nibabel.Nifti1Image(HU, np.eye(4)), case / f"{name}.nii.gz")
    with pytest.raises(DataError, match="seems to hold an image and its mask"):
        open_collection(str(tmp_path / "set"))
