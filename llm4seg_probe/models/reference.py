"""Checkpoints of the published code of LLM4Seg: which network they are, under our names.

Their state dict holds CMUNeXt as ours does, and ``llm4seg.*``: the two adapters and the decoder
layer's weights, frozen or not. Which language model it is shows in the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.arms import ArmName
from llm4seg_probe.config import Config, validated
from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.models.backbones import BACKBONES
from llm4seg_probe.models.network import build_network, decoder_from_embedded

LAYER = 15
"""Every command of the published code builds this layer, whatever its option says."""

LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-3.2-1B": {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 8192,
        "rms_norm_eps": 1e-5,
        "num_hidden_layers": 16,
        "max_position_embeddings": 131_072,
        "vocab_size": 128_256,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": {
        "model_type": "qwen2",
        "hidden_size": 1536,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "intermediate_size": 8960,
        "rms_norm_eps": 1e-6,
        "num_hidden_layers": 28,
        "max_position_embeddings": 131_072,
        "vocab_size": 151_936,
        "use_sliding_window": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    },
}
"""Contents of the ``config.json`` of the two language models, as far as a layer depends on it."""

_LAYER_PREFIX = "llm4seg.llm."
_BOTTLENECK = f"{BACKBONES['cmunext'].bottleneck}."
_BOOSTER = {
    "llm4seg.adapter1.": f"{_BOTTLENECK}booster.adapter1.",
    "llm4seg.adapter2.": f"{_BOTTLENECK}booster.adapter2.",
    _LAYER_PREFIX: f"{_BOTTLENECK}booster.middle.layers.0.",
}


def from_reference(
    state: Mapping[str, Tensor], arm: ArmName | None = None
) -> tuple[Config, nn.Module]:
    """The network of a reference checkpoint, in eval mode, and the configuration it amounts to.

    ``arm`` is what the checkpoint does not say: whether the layer was pre-trained, random or
    trained. By default it is ``cnn`` without a layer in the state dict, and ``llm`` with one.
    Data and split are those of a run that we know nothing of: ``unknown``.

    Raises CheckpointError for a state dict that is not one of the published code's, SourceError
    for a layer with other tensors than its language model's, ConfigError for channels that no
    network of ours takes.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    layer = {
        f"layers.0.{name.removeprefix(_LAYER_PREFIX)}": tensor
        for name, tensor in state.items()
        if name.startswith(_LAYER_PREFIX)
    }
    source = _language_model(layer) if layer else None
    config = _config(state, source, arm or ("llm" if layer else "cnn"))
    decoder = None
    if source is not None:
        embedded = {"values": LANGUAGE_MODELS[source], "tensors": layer}
        decoder = decoder_from_embedded(config, embedded)
    network = build_network(config, decoder)
    _load(network, {our_name(name, source is not None): value for name, value in state.items()})
    return config, network.eval()


def our_name(name: str, boosted: bool) -> str:
    """Name of a tensor in our network from its name in the reference checkpoint.

    >>> our_name("llm4seg.llm.mlp.up_proj.weight", boosted=True)
    'encoder5.booster.middle.layers.0.mlp.up_proj.weight'
    >>> our_name("encoder5.up.conv.0.bias", boosted=True)
    'encoder5.host.up.conv.0.bias'
    """
    for theirs, ours in _BOOSTER.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    if boosted and name.startswith(_BOTTLENECK):
        return f"{_BOTTLENECK}host.{name.removeprefix(_BOTTLENECK)}"
    return name


def _language_model(layer: Mapping[str, Tensor]) -> str:
    shapes = {name: tuple(tensor.shape) for name, tensor in layer.items()}
    for source, values in LANGUAGE_MODELS.items():
        width, inner = values["hidden_size"], values["intermediate_size"]
        if shapes.get("layers.0.mlp.gate_proj.weight") == (inner, width):
            return source
    known = ", ".join(
        f"{source} {(values['intermediate_size'], values['hidden_size'])}"
        for source, values in LANGUAGE_MODELS.items()
    )
    raise CheckpointError(
        "the decoder layer is of no language model of the published code: its mlp.gate_proj has "
        f"the shape {shapes.get('layers.0.mlp.gate_proj.weight')}. Known: {known}"
    )


def _config(state: Mapping[str, Tensor], source: str | None, arm: ArmName) -> Config:
    """The published code's settings, with channels, classes and widths as the shapes have them."""
    try:
        channels = state["stem.conv.0.weight"].shape[1]
        widths = [state[f"encoder{stage}.up.conv.0.weight"].shape[0] for stage in range(1, 6)]
        classes = state["Conv_1x1.weight"].shape[0]
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"no checkpoint of the published code: it lacks {error}. Expected is the state dict of "
            "its CMUNeXt, with or without llm4seg.*"
        ) from error
    if (source is None) != (arm == "cnn"):
        has = "no decoder layer" if source is None else "a decoder layer"
        raise CheckpointError(f"the checkpoint has {has}: it cannot be of arm '{arm}'")
    booster = {"layer": LAYER, "attention": "reference", "position": "reference"}
    if source is not None:
        booster["source"] = source
    return validated(
        {
            "arm": arm,
            "seed": 41,
            "data": {
                "name": "unknown",
                "split": "unknown",
                "image_size": (256, 256),
                "channels": channels,
                "classes": [f"class {number}" for number in range(1, classes + 1)]
                if classes > 1
                else ["foreground"],
                "normalisation": "reference",
                "augmentation": "reference",
            },
            "backbone": {"name": "cmunext", "widths": widths},
            "booster": {**booster, "init": "reference"},
            "training": {
                "epochs": 300,
                "batch_size": 8,
                "optimiser": {
                    "name": "sgd",
                    "lr": 0.01,
                    "momentum": 0.9,
                    "weight_decay": 1e-4,
                    "schedule": "polynomial",
                },
            },
            "compute": {"memory_format": "contiguous"},
        },
        Config,
        "as a configuration",
    )


def _load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    differing = [name for name in own if name not in state or state[name].shape != own[name].shape]
    differing += [name for name in state if name not in own]
    if differing:
        raise CheckpointError(
            "no checkpoint of the published code: its tensors differ from those of its CMUNeXt in "
            f"{len(differing)}, the first of them {differing[0]}"
        )
    with torch.no_grad():
        network.load_state_dict(dict(state))
