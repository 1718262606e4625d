"""What the pages of the paper's data sets deliver, in miniature: layout and traps, noise inside."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

SIZE = (20, 24)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, SIZE, dtype=np.uint8)


def disc(row: int, column: int = 8) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[row : row + 4, column : column + 4] = 255
    return mask


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def busi(folder: Path) -> Path:
    """Three lesions and a normal image; two masks for one; 'benign (10)' copies 'malignant (1)'."""
    top = folder / "Dataset_BUSI_with_GT"
    for name, seed, rows in (
        ("benign/benign (2)", 2, (3, 12)),
        ("benign/benign (10)", 10, (5,)),
        ("malignant/malignant (1)", 10, (5,)),
    ):
        save(top / f"{name}.png", np.stack([picture(seed)] * 3, axis=-1))
        for number, row in enumerate(rows):
            save(top / f"{name}_mask{f'_{number}' if number else ''}.png", disc(row))
    save(top / "normal/normal (1).png", picture(3))
    save(top / "normal/normal (1)_mask.png", np.zeros(SIZE, np.uint8))
    return top


def tnscui(folder: Path) -> Path:
    for name in ("1", "2"):
        save(folder / "train" / "image" / f"{name}.PNG", picture(int(name)))
        save(folder / "train" / "mask" / f"{name}.PNG", disc(int(name)))
    (folder / "train" / "train.csv").write_text("ID,CATE\n1.PNG,0\n2.PNG,1\n")
    save(folder / "test" / "3.PNG", picture(3))
    return folder


def isic2018(folder: Path, part: str = "Training", first: int = 0) -> Path:
    images, masks = f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth"
    for number in range(first, first + 3):
        name = f"ISIC_{number:07d}"
        save(folder / images / f"{name}.jpg", np.stack([picture(number)] * 3, axis=-1))
        save(folder / masks / f"{name}_segmentation.png", disc(number))
    (folder / images / "LICENSE.txt").write_text("CC-0")
    (folder / images / "ATTRIBUTION.txt").write_text("somebody")
    return folder


def kvasir(folder: Path) -> Path:
    top = folder / "Kvasir-SEG"
    for name in ("cju0", "cju1"):
        save(top / "images" / f"{name}.jpg", np.stack([picture(len(name))] * 3, axis=-1))
        mask = np.repeat(disc(4)[..., None], 3, axis=-1)
        save(top / "masks" / f"{name}.jpg", mask, quality=70)
    (top / "kavsir_bboxes.json").write_text("{}")
    return top


def btcv(folder: Path) -> Path:
    """Two labelled scans with numbers that do not follow each other, and one without labels."""
    top = folder / "RawData"
    draw = np.random.default_rng(0)
    for number in (1, 21):
        scan = draw.integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
        labels = (np.arange(120) % 14).reshape(6, 5, 4).astype(np.uint8)
        save_volume(top / "Training" / "img" / f"img{number:04d}.nii.gz", scan)
        save_volume(top / "Training" / "label" / f"label{number:04d}.nii.gz", labels)
    save_volume(top / "Testing" / "img" / "img0061.nii.gz", scan)
    return top


def save_volume(path: Path, pixels: np.ndarray, turned: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.0 if turned else 1.0, 1.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(pixels, affine), path)


DELIVERIES = {
    "busi": busi,
    "tnscui": tnscui,
    "isic2018": isic2018,
    "kvasir": kvasir,
    "btcv": btcv,
}


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(folder.rglob("*")):
            out.write(path, path.relative_to(folder.parent))
    return archive
