"""What holds for every decoder: masks, halves, precision, freezing, and torch's own tools."""

from __future__ import annotations

import copy

import pytest
import torch

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.decoder import decoder_of_tensors, load_decoder
from llm4seg_probe.llm.stored_weights import LayerIdentity, joint_sha256

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma3_text"]


def tokens_of(count, batch=1, seed=0):
    return torch.randn(batch, count, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_causal_is_causal_and_bidirectional_is_not(family, layer, model_folder):
    folder, grid = str(model_folder(family)), (5, 6)
    tokens = tokens_of(30)
    changed = tokens.clone()
    changed[:, -1] += 1
    causal, both = (
        load_decoder(BoosterConfig(source=folder, layer=layer, attention=attention))
        for attention in ("causal", "bidirectional")
    )
    before = causal(tokens, grid), causal(changed, grid)
    assert torch.equal(before[0][:, :-1], before[1][:, :-1])
    assert not torch.equal(before[0][:, -1], before[1][:, -1])
    # A window of 8 hides the last token from the first; its neighbour is within every window.
    moved = (both(tokens, grid) != both(changed, grid)).any(-1)[0]
    assert moved[-2]
    assert moved[0] == (both.blocks[0].window is None)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (16, 16), (20, 3), (2, 3, 5)], ids=str)
def test_any_grid_and_batch_goes_through_and_images_do_not_mix(grid, folder):
    decoder = load_decoder(BoosterConfig(source=folder, layer=1))
    count = torch.Size(grid).numel()
    tokens = tokens_of(count, batch=3)
    together = decoder(tokens, grid)
    assert together.shape == tokens.shape
    alone = torch.cat([decoder(image[None], grid) for image in tokens])
    torch.testing.assert_close(together, alone)


def test_tokens_that_do_not_fill_the_grid_are_refused(folder):
    with pytest.raises(ValueError, match=r"6 tokens do not fill a grid of \(2, 4\)"):
        load_decoder(BoosterConfig(source=folder, layer=1))(tokens_of(6), (2, 4))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_two_halves_add_up_to_the_layer(family, model_folder):
    booster = BoosterConfig(source=str(model_folder(family)), layer=1)
    whole, attention, mlp = (
        load_decoder(booster, halves=halves) for halves in ("both", "attention", "mlp")
    )
    tokens, grid = tokens_of(12), (3, 4)
    assert torch.equal(mlp(attention(tokens, grid), grid), whole(tokens, grid))
    assert not torch.equal(attention(tokens, grid), whole(tokens, grid))
    alone = mlp(tokens[:, 4:5], (1, 1))
    torch.testing.assert_close(mlp(tokens, grid)[:, 4:5], alone)  # no token sees another


def test_the_stream_after_attention_and_after_the_layer_can_be_read_and_replaced(folder):
    booster = BoosterConfig(source=folder, layer=(1, 2))
    decoder = load_decoder(booster)
    tokens, grid = tokens_of(12), (3, 4)
    seen = []
    for block in decoder.blocks:
        block.after_attention.register_forward_hook(lambda _, __, out: seen.append(out))
        block.register_forward_hook(lambda _, __, out: seen.append(out))
    output = decoder(tokens, grid)
    first = load_decoder(BoosterConfig(source=folder, layer=1), halves="attention")
    assert torch.equal(seen[0], first(tokens, grid))
    assert len(seen) == 4
    assert torch.equal(seen[-1], output)

    decoder.blocks[1].after_attention.register_forward_hook(lambda _, __, out: out * 0)
    assert torch.equal(decoder(tokens, grid), torch.zeros_like(tokens))


@pytest.mark.parametrize("incoming", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tokens_leave_in_the_dtype_in_which_they_came(precision, incoming, folder):
    decoder = load_decoder(BoosterConfig(source=folder, layer=1, layer_precision=precision))
    exact = load_decoder(BoosterConfig(source=folder, layer=1))(tokens_of(12), (3, 4))
    output = decoder(tokens_of(12).to(incoming), (3, 4))
    assert output.dtype == incoming
    assert {p.dtype for p in decoder.parameters()} == {decoder.dtype}
    assert (output - exact).norm() < 0.02 * exact.norm()


def test_autocast_computes_what_float32_does_up_to_bf16(folder):
    decoder = load_decoder(BoosterConfig(source=folder, layer=1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = decoder(tokens_of(12), (3, 4))
    exact = decoder(tokens_of(12), (3, 4))
    assert 0 < (output - exact).norm() < 0.02 * exact.norm()


def test_checkpointing_gives_the_same_output_and_gradients(folder):
    results = []
    for checkpointing in (False, True):
        booster = BoosterConfig(
            source=folder, layer=(1, 2), gradient_checkpointing=checkpointing, final_norm=True
        )
        decoder, tokens = load_decoder(booster), tokens_of(12).requires_grad_()
        output = decoder(tokens, (3, 4))
        output.square().sum().backward()
        results.append([output, tokens.grad, *(p.grad for p in decoder.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        assert torch.equal(plain, recomputed)


def test_a_frozen_layer_passes_gradients_on_and_keeps_its_fingerprint(folder):
    decoder = load_decoder(BoosterConfig(source=folder, layer=2))
    free = load_decoder(BoosterConfig(source=folder, layer=2))
    decoder.freeze()
    adapter = torch.nn.Linear(32, 32)
    before = decoder.fingerprint()
    everything = [*adapter.parameters(), *decoder.parameters(), *free.parameters()]
    optimiser = torch.optim.AdamW(everything, lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        tokens = adapter(tokens_of(12))
        (decoder(tokens, (3, 4)) + free(tokens, (3, 4))).square().mean().backward()
        assert adapter.weight.grad.abs().sum() > 0
        optimiser.step()
    assert decoder.fingerprint() == before == decoder.identity.sha256
    assert free.fingerprint() != before


def test_copies_compiled_and_exported_decoders_give_the_same(folder):
    decoder = load_decoder(BoosterConfig(source=folder, layer=(1, 3), position="axial-rope"))
    decoder.requires_grad_(False).eval()
    tokens, grid = tokens_of(12), (3, 4)
    expected = decoder(tokens, grid)
    twin = copy.deepcopy(decoder)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.load_state_dict(decoder.state_dict())
    assert torch.equal(twin(tokens, grid), expected)
    compiled = torch.compile(decoder, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(tokens, grid), expected)
    exported = torch.export.export(decoder, (tokens, grid))
    torch.testing.assert_close(exported.module()(tokens, grid), expected)


def test_the_state_dict_holds_the_names_of_transformers_and_nothing_else(folder):
    decoder = load_decoder(BoosterConfig(source=folder, layer=1, final_norm=True))
    names = {name.removeprefix("layers.0.") for name in decoder.state_dict()}
    assert names == {
        *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
        *(f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")),
        "input_layernorm.weight",
        "post_attention_layernorm.weight",
        "norm.weight",
    }


def test_an_identity_survives_json(folder):
    import json

    identity = load_decoder(BoosterConfig(source=folder, layer=(1, -1))).identity
    assert LayerIdentity.from_dict(json.loads(json.dumps(identity.to_dict()))) == identity
    assert (identity.layers, identity.depth, identity.width) == ((1, 3), 3, 32)


def test_the_hash_of_a_stack_depends_on_the_order():
    assert joint_sha256(["a"]) == "a"
    assert joint_sha256(["a", "b"]) != joint_sha256(["b", "a"])


@pytest.mark.parametrize("family", ["qwen2", "gemma3_text"])
def test_a_decoder_is_made_again_from_its_tensors_and_config(family, model_folder):
    booster = BoosterConfig(source=str(model_folder(family)), layer=(3, 2), final_norm=True)
    first = load_decoder(booster)
    elsewhere = booster.model_copy(update={"source": "org/gone"})
    again = decoder_of_tensors(elsewhere, first.values, first.state_dict())
    tokens, grid = tokens_of(12), (3, 4)
    assert torch.equal(again(tokens, grid), first(tokens, grid))
    assert again.identity.sha256 == first.identity.sha256
    with pytest.raises(SourceError, match=r"given for org/gone are not those of layer 3, 2 of a"):
        decoder_of_tensors(elsewhere, first.values, {"layers.0.weight": torch.zeros(1)})
