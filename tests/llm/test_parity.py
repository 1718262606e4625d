"""The layer that is read alone against the same layer inside the full model of transformers."""

from __future__ import annotations

import pytest
import torch

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.llm.decoder import load_decoder

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma3_text"]
GRIDS = [(2, 4), (2, 5), (2, 3, 4), (5, 6)]  # 8 tokens fill the windows, more overflow them
CASES = [(False, torch.float32, grid) for grid in GRIDS] + [
    (True, torch.float32, (5, 6)),
    (False, torch.bfloat16, (5, 6)),
    (True, torch.bfloat16, (5, 6)),
]


def in_the_full_model(folder, dtype, tokens):
    """Input and output of every layer of the full model, and what follows its final norm."""
    from transformers import AutoModelForCausalLM

    full = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    seen = []
    for layer in full.eval().model.layers:
        layer.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    with torch.no_grad():
        final = full.model(inputs_embeds=tokens.to(dtype)).last_hidden_state
    return seen, final


def tokens_on(grid, batch=2, width=32):
    count = torch.Size(grid).numel()
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("sharded", "stored", "grid"), CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_equals_the_full_models_bit_for_bit(
    family, sharded, stored, grid, model_folder
):
    folder = model_folder(family, sharded=sharded, dtype=stored)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        seen, _ = in_the_full_model(folder, dtype, tokens_on(grid))
        for number, (before, after) in enumerate(seen, start=1):
            decoder = load_decoder(
                BoosterConfig(
                    source=str(folder), layer=number, position="rope", layer_precision=precision
                )
            )
            assert isinstance(after, torch.Tensor)  # transformers 4 gave a tuple
            assert torch.equal(decoder(before, grid), after)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stack_of_all_layers_and_the_final_norm_is_the_full_model(family, model_folder):
    folder, grid = model_folder(family), (5, 6)
    _, final = in_the_full_model(folder, torch.float32, tokens_on(grid))
    decoder = load_decoder(
        BoosterConfig(source=str(folder), layer=(1, 2, -1), position="rope", final_norm=True)
    )
    embedded = tokens_on(grid)
    assert torch.equal(decoder(embedded, grid), final)
    assert decoder.identity.layers == (1, 2, 3)


def test_the_order_of_layers_is_the_order_in_which_they_run(model_folder):
    folder, grid = str(model_folder("gemma3_text")), (5, 6)
    one, two, both = (
        load_decoder(BoosterConfig(source=folder, layer=layer, position="rope"))
        for layer in (3, 2, (3, 2))
    )
    tokens = tokens_on(grid)
    assert torch.equal(both(tokens, grid), two(one(tokens, grid), grid))
    assert [block.window for block in both.blocks] == [8, None]


def test_a_gemma_that_also_sees_images_gives_the_layers_of_its_language_model(
    model_folder, tmp_path
):
    import json

    from safetensors.torch import load_file, save_file

    folder = model_folder("gemma3_text")
    text = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {f"language_model.{name}": tensor for name, tensor in tensors.items()}
        | {"vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": torch.zeros(2)},
        tmp_path / "model.safetensors",
    )
    plain = load_decoder(BoosterConfig(source=str(folder), layer=2))
    inside = load_decoder(BoosterConfig(source=str(tmp_path), layer=2))
    assert inside.identity.sha256 == plain.identity.sha256
