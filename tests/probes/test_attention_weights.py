"""The weights that the attention probe measures are those that the layer really uses."""

from __future__ import annotations

import pytest
import torch

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SiteError
from llm4seg_probe.llm.architectures import ARCHITECTURES
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.models.network import build_network
from llm4seg_probe.probes.attention.weights import (
    attending,
    attention_weights,
    has_attention,
    visible_keys,
)

SPECIAL = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 8},
    "gemma3_text": {
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "sliding_window": 8,
        "layer_types": ["full_attention", "sliding_attention"],
    },
}
GRID = (4, 5)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def source(request, tmp_path_factory):
    """A two-layer language model of each family, every tensor random, in a folder."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[request.param](
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=40, pad_token_id=None, **SPECIAL[request.param],
    )  # fmt: skip
    folder = tmp_path_factory.mktemp(request.param)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.3)
    model.save_pretrained(folder)
    return str(folder)


def seen_in(network, *inputs):
    found = []
    with torch.no_grad(), attending(network, found.append):
        output = network(*inputs)
    return found, output


def heads_by_hand(module, arguments, weights):
    """Weights times values, through the output projection, head by head."""
    hidden = arguments["hidden_states"]
    values = module.v_proj(hidden).unflatten(-1, (-1, module.head_dim))
    group = module.num_key_value_groups
    heads = [weights[:, head] @ values[:, :, head // group] for head in range(weights.shape[1])]
    return module.o_proj(torch.cat(heads, -1))


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_weights_times_values_through_the_output_projection_are_the_layers_attention(
    source, layer, attention
):
    decoder = load_decoder(
        BoosterConfig(source=source, layer=layer, attention=attention, position="rope")
    ).eval()
    tokens = torch.randn(3, 20, 32, generator=torch.Generator().manual_seed(1))
    calls = []
    module = decoder.blocks[0].get_submodule("self_attn")
    handle = module.register_forward_hook(
        lambda _, __, named, output: calls.append((named, output[0])), with_kwargs=True
    )
    found, output = seen_in(decoder, tokens, GRID)
    handle.remove()
    ((arguments, attended),) = calls
    weights = torch.stack([one.weights for one in found])
    assert weights.shape == (3, 4, 20, 20)
    with torch.no_grad():
        rebuilt = heads_by_hand(module, arguments, weights)
        again, _ = attention_weights(module, arguments, found[0].visible)
    torch.testing.assert_close(rebuilt, attended, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(again, attended, rtol=1e-5, atol=1e-5)
    assert weights.sum(-1).flatten().tolist() == pytest.approx([1] * 240)
    assert (weights[..., ~found[0].visible] == 0).all()
    assert torch.equal(decoder(tokens, GRID), output)  # looking changed nothing


def test_a_window_and_the_causal_mask_are_the_layers_own(source):
    decoder = load_decoder(BoosterConfig(source=source, layer=2, position="none"))
    found, _ = seen_in(decoder, torch.randn(1, 20, 32), GRID)
    window = decoder.blocks[0].window or 20
    expected = torch.ones(20, 20, dtype=torch.bool).tril().triu(1 - window)
    assert torch.equal(found[0].visible, expected)


def test_visible_keys_without_a_mask():
    cpu = torch.device("cpu")
    assert visible_keys(2, None, True, cpu).tolist() == [[True, False], [True, True]]
    assert visible_keys(2, None, False, cpu).all()


def test_several_layers_are_told_apart_and_the_grid_is_the_boosters(tiny_config):
    booster = tiny_config.booster.model_copy(update={"layer": (4, 2)})
    config = tiny_config.model_copy(update={"booster": booster, "arm": "llm-lora"})
    network = build_network(config).eval()
    found, _ = seen_in(network, torch.randn(2, 1, 32, 32))
    assert [(one.place, one.layer, one.image) for one in found] == [
        (1, 4, 0), (1, 4, 1), (2, 2, 0), (2, 2, 1),
    ]  # fmt: skip
    assert {one.grid for one in found} == {(2, 2)}
    assert not found[0].weights.requires_grad


@pytest.mark.parametrize("raises", [False, True])
def test_looking_leaves_the_network_as_it_was(run, fingerprint, raises):
    before = fingerprint(run.network)
    module = next(m for name, m in run.network.named_modules() if name.endswith("self_attn"))
    assert module.config._attn_implementation == "sdpa"

    def see(_):
        if raises:
            raise RuntimeError("seen enough")

    try:
        with torch.no_grad(), attending(run.network, see):
            run.network(torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    except RuntimeError:
        assert raises
    assert fingerprint(run.network) == before
    assert module.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("arm", ["cnn", "adapters", "mlp", "mlp-only"])
def test_arms_without_attention(tiny_config, arm):
    network = build_network(tiny_config.model_copy(update={"arm": arm}))
    assert not has_attention(network)
    with (
        pytest.raises(SiteError, match="this network has no attention"),
        attending(network, print),
    ):
        pass


@pytest.mark.parametrize(
    "arm",
    ["llm", "llm-trainable", "transformer", "random-frozen", "shuffled-frozen", "attention-only",
     "llm-lora"],
)  # fmt: skip
def test_arms_with_attention(tiny_config, arm):
    network = build_network(tiny_config.model_copy(update={"arm": arm})).eval()
    found, _ = seen_in(network, torch.randn(1, 1, 32, 32))
    assert [one.weights.shape for one in found] == [(4, 4, 4)]
