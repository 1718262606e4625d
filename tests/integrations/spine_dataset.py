"""A data set in nnU-Net's raw layout, made from the volumes of `spine`.

    python tests/integrations/spine_dataset.py FOLDER [--slices 8] [--side 96] [--ct]

Six cases to train on, or the four of CT with ``--ct``, cut around the vertebrae, and two images
without labels to predict.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import nibabel
import numpy as np

from llm4seg_probe.data.datasets import open_collection


def middle(mask: np.ndarray, sides: tuple[int, ...]) -> tuple[slice, ...]:
    """A window of these sides, or of the image's where it is smaller, around the foreground."""
    centre = np.argwhere(mask).mean(0).round().astype(int)
    window = []
    for place, side, length in zip(centre, sides, mask.shape, strict=True):
        size = min(side, length)
        low = int(np.clip(place - size // 2, 0, length - size))
        window.append(slice(low, low + size))
    return tuple(window)


def make(folder: Path, *, slices: int = 8, side: int = 96, ct: bool = False) -> None:
    """Write ``imagesTr``, ``labelsTr``, ``imagesTs`` and ``dataset.json``."""
    collection = open_collection("spine-volumes")
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    number = 0
    for sample in collection.samples:
        if ct and sample.modality != "ct":
            continue
        raw = collection.read(sample)
        window = middle(raw.mask[0], (slices, side, side))
        # Stored as nibabel has it, (x, y, z), with the right to left of the display.
        z, y, x = raw.spacing or (1.0, 1.0, 1.0)
        affine = np.diag([-x, -y, z, 1.0])
        name = sample.image.replace("-", "_")
        image = np.ascontiguousarray(raw.image[0][window].transpose(2, 1, 0))
        label = np.ascontiguousarray(raw.mask[0][window].transpose(2, 1, 0)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(image, affine), folder / f"imagesTr/{name}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, affine), folder / f"labelsTr/{name}.nii.gz")
        if number < 2:
            later = nibabel.Nifti1Image(image[:, ::-1] + 0.0, affine)
            nibabel.save(later, folder / f"imagesTs/new_{number}_0000.nii.gz")
        number += 1
    description = {
        "channel_names": {"0": "CT" if ct else "zscore"},
        "labels": {"background": 0, "vertebra": 1},
        "numTraining": number,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--ct", action="store_true")
    given = parser.parse_args()
    make(given.folder, slices=given.slices, side=given.side, ct=given.ct)
