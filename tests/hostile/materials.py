"""The good inputs that are damaged, made once in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from corpus import Materials
from demo_study import write_demo
from PIL import Image

WIDTHS = (4, 8, 8, 8, 8)


def make_materials(folder: Path) -> Materials:
    """A tiny language model, data set, run with its last.pt, and folder of results."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from llm4seg_probe.config import Config
    from llm4seg_probe.training.train import train

    llm, data = folder / "llm", folder / "data"
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50, max_position_embeddings=128,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(llm)
    draw = np.random.default_rng(0)
    for part in ("images", "masks"):
        (data / part).mkdir(parents=True)
    for index in range(12):
        mask = np.zeros((32, 32), np.uint8)
        mask[8 : 20 + index % 4, 8:20] = 255
        image = np.clip(draw.normal(80, 25, (32, 32)) + mask / 3, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(data / "images" / f"disc{index:02d}.png")
        Image.fromarray(mask).save(data / "masks" / f"disc{index:02d}.png")
    values = {
        "arm": "llm",
        "data": {"name": str(data), "split": "groups", "image_size": [32, 32]},
        "backbone": {"widths": list(WIDTHS)},
        "booster": {"source": str(llm), "layer": 1},
        "training": {"epochs": 1, "batch_size": 4},
        "compute": {"threads": 1, "device": "cpu"},
    }
    run = train(Config.model_validate(values), folder / "run")
    analysis = {
        "name": "s", "title": "t", "question": "q", "rests_on": "r", "base": values,
        "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]},
        "sizes": {"quick": {"base": {"training": {"epochs": 1}}}},
        "claims": [{"id": "c", "statement": "s", "table": "scores", "margin": 0.01,
                    "comparisons": [{"a": "llm", "b": "cnn"}]}],
    }  # fmt: skip
    return Materials(
        run, llm, data, write_demo(folder / "results"), json.dumps(values), json.dumps(analysis)
    )
