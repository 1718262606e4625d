"""The embedded model for real: fetched once if it is not in the cache."""

from __future__ import annotations

import pytest
import torch

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.llm.catalogue import show_source
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.llm.embedded import SMOLLM2

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder():
    return SMOLLM2.file("model.safetensors").parent


@pytest.fixture(scope="module")
def full(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()


@pytest.fixture(scope="module")
def words(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def test_it_is_a_language_model(full, words):
    prompt = words("The capital of France is", return_tensors="pt")
    with torch.no_grad():
        best = full(**prompt).logits[0, -1].argmax()
    assert words.decode([best]) == " Paris"


@pytest.mark.parametrize("number", [1, 2, 15, 30])
def test_each_layer_is_that_of_the_full_model_on_text(number, full, words):
    seen = []
    layer = full.model.layers[number - 1]
    hook = layer.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    with torch.no_grad():
        full(**words("A vertebra is one of the bones of the spine. " * 8, return_tensors="pt"))
    hook.remove()
    (before, after) = seen[0]
    decoder = load_decoder(BoosterConfig(layer=number, position="rope"))
    assert torch.equal(decoder(before, (1, before.shape[1])), after)


def test_the_layer_of_the_demo_is_the_one_that_was_pinned():
    identity = load_decoder(BoosterConfig(layer=15)).identity
    assert identity.sha256 == "a22179d9abb33614dd3b138d626fa3729fe0729ecb714bbdbc524aed6aa6a620"
    assert identity.sha256 == show_source("smollm2-135m").layers[14].sha256
    assert load_decoder(BoosterConfig(layer=-16)).identity == identity


def test_the_packaged_config_agrees_with_the_gguf_file(full):
    embedding = full.model.embed_tokens.weight
    assert embedding.shape == (SMOLLM2.config["vocab_size"], SMOLLM2.config["hidden_size"])
    assert full.config.rope_parameters["rope_theta"] == 100_000
    assert full.lm_head.weight is embedding
