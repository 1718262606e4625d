"""Small language models of every family, with weights that are random in all their parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma3_text"]
DEPTH, WIDTH, WINDOW = 3, 32, 8

_SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 256,
    "pad_token_id": None,
}
# Each with what sets its family apart: scaled rotary bases, windows in some or all layers.
_SPECIAL: dict[str, dict[str, Any]] = {
    "llama": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "qwen2": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    # YaRN also scales sine and cosine.
    "qwen3": {
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "mistral": {"sliding_window": WINDOW},
    "gemma3_text": {
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0},
        },
    },
}

MakeFolder = Callable[..., Path]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """A function (family, sharded, dtype) -> folder that transformers wrote, made once each."""
    made: dict[tuple[str, bool, torch.dtype], Path] = {}

    def make(family: str, *, sharded: bool = False, dtype: torch.dtype = torch.float32) -> Path:
        key = (family, sharded, dtype)
        if key not in made:
            made[key] = tmp_path_factory.mktemp(family)
            _random_model(family).to(dtype).save_pretrained(
                made[key], max_shard_size="20KB" if sharded else "1GB"
            )
            assert len(list(made[key].glob("*.safetensors"))) > 1 if sharded else True
        return made[key]

    return make


def _random_model(family: str) -> torch.nn.Module:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[family](**_SIZES, **_SPECIAL[family])
    noise = torch.Generator().manual_seed(7)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            # Norm scales and biases too: a layer that mixes up its norms must be found out.
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=noise))
            if parameter.dim() == 1:
                parameter.add_(1.0)
    return model


@pytest.fixture
def folder(model_folder: MakeFolder) -> str:
    """The plain case: a LLaMA of three layers in one float32 file."""
    return str(model_folder("llama"))
