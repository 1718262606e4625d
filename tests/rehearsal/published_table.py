"""The published tables in miniature: from the archives of five data sets to two pages.

    python tests/rehearsal/published_table.py [--out FOLDER]      # make table-check

Each data set lies in its delivered layout, with a dozen made-up images. ``data prepare``,
``data check`` and ``data split`` run on each, then ``sweep analyses/table-2d.yaml --size paper``,
``table-3d.yaml`` and ``any-llm.yaml`` with every setting of the published scale but images of 128
by 128 pixels, two of them in a batch, one epoch and two seeds. The layers come from a 16-layer
LLaMA-shaped and a 28-layer Qwen2-shaped folder, random, in shards of bf16. The networks are as wide
as the published ones. A page that lacks a data set, a network or a verdict ends it with an error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from llm4seg_probe.cli.app import app

ANALYSES = Path(__file__).resolve().parents[2] / "analyses"
IMAGES = 12
VOLUMES = 6
SIDE = 40
ORGANS = 13
Pixels = np.ndarray


def lesion(seed: int) -> tuple[Pixels, Pixels]:
    """A grey image (side, side) with a bright ellipse on noise, and its mask of 0 and 255."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centre, radius = draw.uniform(12, SIDE - 12, 2), draw.uniform(5, 9, 2)
    inside = ((rows - centre[0]) / radius[0]) ** 2 + ((columns - centre[1]) / radius[1]) ** 2 < 1
    image = np.clip(70 + 90 * inside + draw.normal(0, 15, inside.shape), 0, 255)
    return image.astype(np.uint8), inside.astype(np.uint8) * 255


def save(path: Path, pixels: Pixels, **options: int) -> None:
    """Write a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def busi(folder: Path) -> None:
    """Benign and malignant lesions, one of them with two masks, and a normal image."""
    top = folder / "Dataset_BUSI_with_GT"
    for number in range(1, IMAGES + 1):
        kind = "benign" if number % 2 else "malignant"
        image, mask = lesion(number)
        save(top / kind / f"{kind} ({number}).png", np.stack([image] * 3, axis=-1))
        save(top / kind / f"{kind} ({number})_mask.png", mask)
    save(top / "benign" / "benign (1)_mask_1.png", lesion(100)[1])
    save(top / "normal" / "normal (1).png", lesion(200)[0])
    save(top / "normal" / "normal (1)_mask.png", np.zeros((SIDE, SIDE), np.uint8))


def tnscui(folder: Path) -> None:
    """The challenge's training part."""
    for number in range(1, IMAGES + 1):
        image, mask = lesion(300 + number)
        save(folder / "train" / "image" / f"{number}.PNG", image)
        save(folder / "train" / "mask" / f"{number}.PNG", mask)


def isic2018(folder: Path) -> None:
    """Task 1, training part: colour JPEG beside PNG masks."""
    for number in range(IMAGES):
        image, mask = lesion(400 + number)
        name = f"ISIC_{number:07d}"
        picture = np.stack([image] * 3, axis=-1)
        save(folder / "ISIC2018_Task1-2_Training_Input" / f"{name}.jpg", picture)
        save(folder / "ISIC2018_Task1_Training_GroundTruth" / f"{name}_segmentation.png", mask)


def kvasir(folder: Path) -> None:
    """Pictures and masks in JPEG, as they are delivered."""
    for number in range(IMAGES):
        image, mask = lesion(500 + number)
        name = f"cju{number:02d}.jpg"
        save(folder / "Kvasir-SEG" / "images" / name, np.stack([image] * 3, axis=-1))
        save(folder / "Kvasir-SEG" / "masks" / name, np.stack([mask] * 3, axis=-1), quality=70)


def btcv(folder: Path) -> None:
    """Labelled CT volumes with thirteen organs, each a box of its own."""
    for number in range(1, VOLUMES + 1):
        draw = np.random.default_rng(600 + number)
        labels = np.zeros((36, 36, 36), np.uint8)
        for organ in range(1, ORGANS + 1):
            at = draw.integers(1, 26, 3)
            labels[at[0] : at[0] + 9, at[1] : at[1] + 9, at[2] : at[2] + 9] = organ
        scan = (40 + 12 * labels + draw.normal(0, 20, labels.shape)).astype(np.int16)
        for kind, stem, pixels in (("img", "img", scan), ("label", "label", labels)):
            path = folder / "RawData" / "Training" / kind / f"{stem}{number:04d}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            spaced = np.diag([2.0, 1.5, 1.5, 1.0])
            nibabel.save(nibabel.Nifti1Image(pixels, spaced), path)


DELIVERED: dict[str, Callable[[Path], None]] = {
    "busi": busi, "tnscui": tnscui, "isic2018": isic2018, "kvasir": kvasir, "btcv": btcv,
}  # fmt: skip


def archives(folder: Path, name: str) -> Path:
    """The data set as it is downloaded: its zip file, or a folder of several."""
    made, downloads = folder / "unpacked" / name, folder / name
    DELIVERED[name](made)
    downloads.mkdir()
    for part in sorted(made.iterdir()):
        with zipfile.ZipFile(downloads / f"{part.name}.zip", "w", zipfile.ZIP_DEFLATED) as out:
            for path in sorted(part.rglob("*")):
                out.write(path, path.relative_to(made))
    found = list(downloads.iterdir())
    return found[0] if len(found) == 1 else downloads


def language_model(folder: Path, kind: type[LlamaConfig] | type[Qwen2Config], layers: int) -> Path:
    """A narrow causal language model with random weights, in shards of bf16."""
    torch.manual_seed(layers)
    config = kind(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="400KB")
    shards = len(list(folder.glob("*.safetensors")))
    if shards < 2:
        raise SystemExit(f"{folder}: the model lies in {shards} file; shards were wanted")
    return folder


def run(*words: object) -> None:
    """Run a command of ours; an error of it ends the rehearsal."""
    command = [str(word) for word in words]
    print(f"$ llm4seg-probe {' '.join(command)}", flush=True)
    try:
        app(command, standalone_mode=True)
    except SystemExit as ended:
        if ended.code:
            raise SystemExit(f"llm4seg-probe {command[0]} ended with {ended.code}") from None


def swept(analysis: Path, out: Path, settings: Sequence[str], columns: dict[str, set[str]]) -> None:
    """Sweep an analysis at the published size in miniature, and read what it wrote."""
    shared = (
        "factors.seed=[0, 1]", "base.training.epochs=1", "base.training.batch_size=2",
        "base.compute.threads=1",
    )  # fmt: skip
    name = analysis.stem
    chosen = [word for text in (*shared, *settings) for word in ("--set", text)]
    run("sweep", analysis, "--size", "paper", "--out", out / name, *chosen)
    runs = pd.read_csv(out / name / "runs.csv", keep_default_na=False)
    for column, expected in columns.items():
        found = set(runs[column])
        if found != expected:
            raise SystemExit(f"{name}: {column} of the runs are {found}, not {expected}")
    claims = pd.read_csv(out / name / "claims.csv")
    if claims.empty or claims["verdict"].isna().any():
        raise SystemExit(f"{name}: a claim has no verdict")
    if not (out / name / "index.html").is_file():
        raise SystemExit(f"{name}: no page")
    print(f"{name}: {len(runs)} runs; " + "; ".join(claims["claim"] + " " + claims["verdict"]))


def main() -> None:
    """Run all of it and say how long each part took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder to keep; a temporary one without it")
    out = parser.parse_args().out or Path(tempfile.mkdtemp(prefix="published-table-"))
    out.mkdir(parents=True, exist_ok=True)
    os.environ["LLM4SEG_PROBE_CACHE"] = str(out / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    started = time.monotonic()
    llama = language_model(out / "llama-16", LlamaConfig, 16)
    qwen = language_model(out / "qwen2-28", Qwen2Config, 28)
    for name in DELIVERED:
        run("data", "prepare", name, archives(out / "downloads", name))
        run("data", "check", name, "--out", out / "check" / name)
        run("data", "split", name, "--out", out / "splits" / f"{name}.yaml")
    print(f"data: {time.monotonic() - started:.0f} s", flush=True)
    source = f"base.booster.source={llama}"
    flat = ("base.data.image_size=[128, 128]",)
    swept(
        ANALYSES / "table-2d.yaml", out, (source, *flat),
        {
            "dataset": set(DELIVERED) - {"btcv"}, "arm": {"cnn", "llm"},
            "backbone": {"cmunext", "unet", "dynunet-2d"},
        },
    )  # fmt: skip
    print(f"table-2d: {time.monotonic() - started:.0f} s", flush=True)
    swept(
        ANALYSES / "table-3d.yaml", out,
        (source, "base.data.image_size=[32, 32, 32]", "base.data.patches_per_image=1"),
        {
            "dataset": {"btcv"}, "arm": {"cnn", "llm"},
            "backbone": {"uxnet-3d", "mednext-m"},
        },
    )  # fmt: skip
    print(f"table-3d: {time.monotonic() - started:.0f} s", flush=True)
    shutil.copytree(ANALYSES, out / "analyses", ignore=shutil.ignore_patterns("benchmarks"))
    second = out / "analyses" / "any-llm.yaml"
    second.write_text(second.read_text().replace("Qwen/Qwen2.5-0.5B", str(qwen)))
    swept(second, out, (source, *flat), {"dataset": {"busi"}, "llm": {"", str(llama), str(qwen)}})
    print(f"all: {time.monotonic() - started:.0f} s; results in {out}")


if __name__ == "__main__":
    main()
