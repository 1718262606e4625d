"""What the tests share: a tiny language model, a tiny data set, and runs trained on them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.config import Config

# Toy networks gain nothing from a second thread, and lose much where another process has the core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY_WIDTHS = (4, 8, 8, 8, 8)


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of four random layers, width 32, as a folder that transformers wrote."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llm")
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50, max_position_embeddings=128,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty 32-pixel images of a bright disc on noise, in a plain images/ + masks/ folder."""
    folder = tmp_path_factory.mktemp("tiny-data")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    for index in range(40):
        centre = draw.integers(10, 22, size=2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < draw.integers(25, 60)
        image = np.clip(draw.normal(80, 25, (32, 32)) + 90 * disc, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"disc{index:02d}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / "masks" / f"disc{index:02d}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_llm: Path, tiny_data: Path) -> Config:
    """A run of seconds: two epochs of a narrow CMUNeXt on the tiny data."""
    return Config.model_validate(
        {
            "arm": "llm",
            "data": {"name": str(tiny_data), "split": "groups", "image_size": [32, 32]},
            "backbone": {"widths": TINY_WIDTHS},
            "booster": {"source": str(tiny_llm), "layer": 3},
            "training": {"epochs": 2},
            "compute": {"threads": 1, "accelerator": "cpu"},
        }
    )
