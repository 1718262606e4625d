"""Random and shuffled layers: what is drawn, what is kept, and from where."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.decoder import load_decoder

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma3_text"]
INITS = ["reference", "normal", "matched"]


def state(source, weights, *, init="normal", seed=0, layer=1, **fields):
    booster = BoosterConfig(source=str(source), layer=layer, init=init, **fields)
    return load_decoder(booster, weights=weights, seed=seed).state_dict()


def kinds(tensors):
    """Names of linear weights, biases and norm scales."""
    matrices = {name for name, tensor in tensors.items() if tensor.dim() == 2}
    biases = {name for name in tensors if name.endswith(".bias")}
    return matrices, biases, set(tensors) - matrices - biases


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("weights", ["random", "shuffled"])
def test_equal_seeds_give_equal_layers_and_the_global_generator_is_left_alone(
    weights, init, folder
):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (
        state(folder, weights, init=init, seed=seed, layer=(1, 1)) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.rand(3), expected)
    for name in kinds(first)[0]:
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
        # Two layers of one stack are two draws.
        assert not torch.equal(first[name], first[name.replace("layers.0", "layers.1")]) or (
            name.startswith("layers.1")
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_normal_is_the_initialiser_of_transformers_in_every_tensor(family, tmp_path, model_folder):
    from transformers import AutoConfig, AutoModel

    # A config alone, and wide enough that the spread of the draws can be told from another's.
    folder = model_folder(family)
    config = AutoConfig.from_pretrained(folder)
    config.hidden_size, config.intermediate_size = 128, 256
    config.initializer_range = 0.07
    config.save_pretrained(tmp_path)
    theirs = {
        f"layers.0.{name}": tensor
        for name, tensor in AutoModel.from_config(config).layers[0].state_dict().items()
    }
    ours = state(tmp_path, "random")
    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    matrices, biases, scales = kinds(ours)
    for name in biases | scales:
        assert torch.equal(ours[name], theirs[name])
    for name in matrices:
        assert ours[name].std().item() == pytest.approx(0.07, rel=0.05)
        assert theirs[name].std().item() == pytest.approx(0.07, rel=0.05)
        assert abs(ours[name].mean().item()) < 0.005


@pytest.mark.parametrize("init", ["reference", "matched"])
def test_what_needs_the_pretrained_weights_says_that_they_are_missing(init, tmp_path, model_folder):
    config = (model_folder("llama") / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    assert state(tmp_path, "random", init="normal")
    with pytest.raises(SourceError, match=r"holds no model\.safetensors"):
        state(tmp_path, "random", init=init)


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_is_xavier_uniform_with_the_pretrained_scales_kept(family, model_folder):
    pretrained = state(model_folder(family), "pretrained")
    drawn = state(model_folder(family), "random", init="reference")
    matrices, biases, scales = kinds(drawn)
    for name in matrices:
        limit = (6 / sum(drawn[name].shape)) ** 0.5
        layer = nn.Linear(*reversed(drawn[name].shape))
        nn.init.xavier_uniform_(layer.weight)
        assert drawn[name].abs().max() <= limit
        assert drawn[name].abs().max().item() == pytest.approx(limit, rel=0.05)
        assert drawn[name].std().item() == pytest.approx(layer.weight.std().item(), rel=0.1)
    assert all(not drawn[name].any() for name in biases)
    assert all(torch.equal(drawn[name], pretrained[name]) for name in scales)
    assert bool(biases) == (family == "qwen2")


@pytest.mark.parametrize("family", FAMILIES)
def test_matched_has_the_frobenius_norm_of_the_pretrained_layer_in_every_tensor(
    family, model_folder
):
    folder = model_folder(family)
    pretrained = state(folder, "pretrained", final_norm=True)
    drawn = state(folder, "random", init="matched", final_norm=True)
    matrices, biases, scales = kinds(drawn)
    for name, tensor in drawn.items():
        assert tensor.norm().item() == pytest.approx(pretrained[name].norm().item(), rel=1e-6)
        assert not torch.equal(tensor, pretrained[name])
    assert all(drawn[name].std() > 0 for name in matrices | biases)
    for name in scales:
        torch.testing.assert_close(drawn[name], drawn[name][:1].expand_as(drawn[name]))


@pytest.mark.parametrize("family", FAMILIES)
def test_shuffled_holds_the_same_entries_in_another_order(family, model_folder):
    pretrained = state(model_folder(family), "pretrained", final_norm=True)
    drawn = state(model_folder(family), "shuffled", final_norm=True)
    assert set(drawn) == set(pretrained)
    for name, tensor in drawn.items():
        assert torch.equal(tensor.flatten().sort().values, pretrained[name].flatten().sort().values)
        assert not torch.equal(tensor, pretrained[name])
    # Entries move across the whole tensor, not within rows.
    name = "layers.0.mlp.up_proj.weight"
    assert not torch.equal(drawn[name].sort(1).values, pretrained[name].sort(1).values)


def test_the_identity_tells_a_control_from_the_pretrained_layer(folder):
    booster = BoosterConfig(source=folder, layer=2)
    seen = {
        weights: load_decoder(booster, weights=weights).identity
        for weights in ("pretrained", "random", "shuffled")
    }
    assert {identity.weights for identity in seen.values()} == set(seen)
    assert len({identity.sha256 for identity in seen.values()}) == 3
    again = load_decoder(booster, weights="random", expect_sha256=seen["random"].sha256)
    assert again.identity == seen["random"]
    with pytest.raises(SourceError, match="it is not the layer that was used"):
        load_decoder(booster, weights="random", seed=1, expect_sha256=seen["random"].sha256)
