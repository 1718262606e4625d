"""Masks and channels that do not lie where their image lies, and files that state no place."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.datasets import listed_collection
from llm4seg_probe.data.findings import Finding

HERE = np.diag([0.7, 0.7, 2, 1])


def moved(**changes: float) -> np.ndarray:
    affine = HERE.copy()
    affine[0, 3] = changes.get("x", 0)
    return affine


def turned(degrees: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    return turn @ HERE


def found(
    folder: Path, image: np.ndarray, mask: np.ndarray, second: np.ndarray | None = None
) -> list[Finding]:
    names = {"0": "T1"} if second is None else {"0": "T1", "1": "T2"}
    described = {"channel_names": names, "labels": {"background": 0, "lesion": 1}}
    (folder / "dataset.json").write_text(json.dumps(described))
    pixels = np.random.default_rng(0).normal(100, 9, (60, 60, 4)).astype(np.int16)
    for affine, name in (
        (image, "imagesTr/p_0000"),
        (second, "imagesTr/p_0001"),
        (mask, "labelsTr/p"),
    ):
        if affine is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            stored = (pixels > 110).astype(np.uint8) if "labels" in name else pixels
            nibabel.save(nibabel.Nifti1Image(stored, affine), folder / f"{name}.nii.gz")
    findings = check_collection(listed_collection(str(folder))).findings
    return [finding for finding in findings if finding.kind == "orientation"]


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        (np.diag([0.74, 0.74, 2, 1]), "2.36 mm"),  # 0.04 x 59 voxels
        (np.diag([0.7, 0.7, 5, 1]), "9 mm"),
        (moved(x=30), "30 mm"),
        (turned(10), "7.8 mm"),  # 59 x 0.7 x (1 - cos + sin of 10 degrees)
    ],
    ids=["voxels", "slices", "shift", "turn"],
)
def test_corners_that_lie_apart_are_found_in_masks_and_channels(tmp_path, other, apart):
    (mask,) = found(tmp_path, HERE, other)
    assert f"labelsTr/p.nii.gz: lies elsewhere in space than its image (up to {apart})" in mask.what
    (channel,) = found(tmp_path, HERE, HERE, other)
    assert f"p_0001.nii.gz: lies elsewhere in space than its image (up to {apart})" in channel.what


def test_a_channel_of_another_orientation_is_an_error(tmp_path):
    (channel,) = found(tmp_path, HERE, HERE, np.diag([-0.7, 0.7, 2, 1]))
    assert channel.severity == "error"
    assert "this channel's axes run LAS, those of its image RAS" in channel.what


@pytest.mark.parametrize("noise", [0, 1e-7, 1e-5])
def test_rounding_is_no_finding(tmp_path, noise):
    assert found(tmp_path, HERE, HERE + noise * np.eye(4)[:, [1, 2, 0, 3]]) == []


def test_the_same_place_stored_in_another_order_is_no_finding(tmp_path):
    flipped = HERE @ np.array([[-1, 0, 0, 59], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    assert found(tmp_path, HERE, flipped, flipped) == []


@pytest.mark.parametrize("suffix", [".npy", ".png", ".nii"])
def test_one_of_two_that_states_no_place_is_told(tmp_path, suffix):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    pixels = np.random.default_rng(0).integers(0, 99, (8, 8, 1)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "images" / "p.nii.gz")
    labels = (pixels > 50).astype(np.uint8)
    if suffix == ".npy":
        np.save(tmp_path / "masks" / "p.npy", labels[..., 0])
    elif suffix == ".png":
        Image.fromarray(labels[..., 0]).save(tmp_path / "masks" / "p.png")
    else:
        volume = nibabel.Nifti1Image(labels, np.eye(4))
        volume.set_sform(None, 0)
        volume.set_qform(None, 0)
        nibabel.save(volume, tmp_path / "masks" / "p.nii")
    findings = check_collection(listed_collection(str(tmp_path))).findings
    said = [f.what for f in findings if f.kind == "orientation"]
    assert "the image states its place in space, the mask states none" in said
