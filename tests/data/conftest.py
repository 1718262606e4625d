"""Miniature data sets: a few small images that the tests write themselves, no real patients."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data.collection import Collection, Sample


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four grey 8-bit images of 20 x 24 pixels with masks of 0 and 255."""
    folder = tmp_path / "pictures"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in (1, 2, 10, 11):
        mask = np.zeros((20, 24), np.uint8)
        mask[4 : 6 + number // 2, 5:15] = 255
        image = draw.integers(0, 100, mask.shape, dtype=np.uint8) + mask // 2
        Image.fromarray(image).save(folder / "images" / f"scan {number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"scan {number}.png")
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """One CT-like NIfTI volume, 6 x 5 x 4 in RAS, every voxel another value, and its mask."""
    folder = tmp_path / "volumes"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    pixels = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(pixels, affine), folder / "images" / "a.nii.gz")
    labels = (pixels % 3).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "masks" / "a.nii.gz")
    return folder


@pytest.fixture(scope="session")
def slices_of() -> Callable[..., Collection]:
    """A collection of slices, without files: for what needs only names and places."""

    def build(slices: dict[str, int], mm: float | None = 3.0, together: str = "") -> Collection:
        samples = tuple(
            Sample(
                image=f"{case}-{i:03d}",
                group=case,
                modality="ct",
                image_file=Path("none"),
                mask_files=(Path("none"),),
                slice=i,
                slice_spacing=mm,
                together=together,
            )
            for case, n in slices.items()
            for i in range(n)
        )
        collection = Collection("toy", samples, ("foreground",))
        collection.__dict__["fingerprint"] = "0" * 64
        return collection

    return build
