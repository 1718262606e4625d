import pytest
import torch

from llm4seg_probe.config import Config
from llm4seg_probe.randomness import seeded


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    """A LLaMA of three small layers with random weights, as transformers saves it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=32,
    )
    folder = tmp_path_factory.mktemp("tiny-llama")
    with seeded("tests", "tiny-llama"):
        model = LlamaForCausalLM(config)
        for parameter in model.parameters():  # so that shuffled vectors differ from the plain ones
            parameter.data.normal_(parameter.data.mean(), 0.2)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def config_of(tiny_llama):
    """A narrow CMUNeXt on 32-pixel images, by arm, seed and fields of the booster."""

    def make(arm="llm", seed=0, backbone=None, data=None, **booster):
        return Config(
            arm=arm,
            seed=seed,
            data={"image_size": (32, 32), "channels": 1, **(data or {})},
            backbone={"widths": (4, 4, 8, 8, 12), **(backbone or {})},
            booster={"source": tiny_llama, "layer": 2, **booster},
        )

    return make


@pytest.fixture
def images():
    return torch.randn((2, 1, 32, 32), generator=torch.Generator().manual_seed(5))
