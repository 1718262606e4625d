"""The model families whose decoder layers can be taken, and one layer of them without weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from llm4seg_probe.errors import SourceError, unknown
from llm4seg_probe.reading.bounds import as_error, bound, refuse_deep_values, refuse_more
from llm4seg_probe.reading.names import shown

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Architecture:
    """The differences between the decoder layers of the families that descend from LLaMA.

    Each half of a layer adds ``after(half(before(x)))`` to the residual stream x; ``before_*``
    and ``after_*`` name the norms as transformers does. ``window`` says which layers see only
    the nearest tokens: none, every one, or those that the config's ``layer_types`` lists.
    """

    window: Literal["none", "every", "by-type"]
    before_attention: str = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str = "post_attention_layernorm"
    after_mlp: str | None = None


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(window="none"),
    "qwen2": Architecture(window="by-type"),
    "qwen3": Architecture(window="by-type"),
    "mistral": Architecture(window="every"),
    "gemma3_text": Architecture(
        window="by-type",
        after_attention="post_attention_layernorm",
        before_mlp="pre_feedforward_layernorm",
        after_mlp="post_feedforward_layernorm",
    ),
}


def config_from(values: dict[str, Any], source: str) -> PretrainedConfig:
    """The transformers config of a language model from the contents of its ``config.json``.

    A Gemma 3 that also sees images has its language model's config inside. Raises SourceError
    for a family that is not in ``ARCHITECTURES``, and for quantised weights.
    """
    from transformers import CONFIG_MAPPING

    if values.get("model_type") == "gemma3":
        inner = values.get("text_config", {})
        if not isinstance(inner, dict):
            raise SourceError(f"{source}: text_config in its config.json holds no named values")
        values = {"model_type": "gemma3_text", **inner}
    family = str(values.get("model_type", "none"))
    if family not in ARCHITECTURES:
        raise SourceError(f"{source}: {unknown('architecture', shown(family), ARCHITECTURES)}")
    _refuse_implausible(values, source)
    if values.get("quantization_config"):
        raise SourceError(
            f"{source} holds quantised weights; give the model before quantisation, whose tensors "
            "are plain float32, bfloat16 or float16"
        )
    with as_error(source, SourceError, f"does not fit {family} by its config.json"):
        config = CONFIG_MAPPING[family].from_dict(_harmless(values))
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        if heads % keys:
            raise ValueError(f"{heads} heads do not share {keys} for keys and values")
        if not getattr(config, "head_dim", None) and config.hidden_size % heads:
            raise ValueError(f"width {config.hidden_size} is not divided by {heads} heads")
        return config


_SIZES = {
    # What must be a whole number from 1, and how many times a bound it may be.
    "num_hidden_layers": ("layers", 1),
    "hidden_size": ("width", 1),
    "head_dim": ("width", 1),
    "num_attention_heads": ("width", 1),
    "num_key_value_heads": ("width", 1),
    "intermediate_size": ("width", 16),
    "vocab_size": ("width", 256),
    "max_position_embeddings": ("width", 4096),
    "sliding_window": ("width", 4096),
}
_NOT_FROM_A_FILE = (
    *("auto_map", "_attn_implementation", "attn_implementation", "torch_dtype", "dtype"),
    *("_name_or_path", "_commit_hash", "use_kernels", "kernel_config"),
)


def _refuse_implausible(values: dict[str, Any], source: str) -> None:
    """Raise SourceError for sizes that no language model has: they would decide about memory."""
    refuse_deep_values(values, f"{source}: config.json", SourceError)
    for name, (limit, factor) in _SIZES.items():
        value = values.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SourceError(f"{source}: {name} in its config.json is {shown(repr(value))}")
        what = f"{source}: {name} in its config.json is {value:,}"
        refuse_more(limit, value / factor, what, SourceError)
    kinds = values.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or len(kinds) > bound("layers")):
        raise SourceError(f"{source}: layer_types in its config.json is no list of layers")


def _harmless(values: dict[str, Any]) -> dict[str, Any]:
    """The values without those that name code, kernels or a precision; ours are set here."""
    return {name: value for name, value in values.items() if name not in _NOT_FROM_A_FILE}


@dataclass(frozen=True)
class Skeleton:
    """A model with the wanted layers alone, on the meta device: all of it but the weights."""

    model: PreTrainedModel
    layers: tuple[nn.Module, ...]
    norm: nn.Module


def skeleton(config: PretrainedConfig, layers: Sequence[int]) -> Skeleton:
    """The model with these layers alone (from 1, in this order) and without weights.

    Each layer keeps the kind of attention that its number gives it. The attention implementation
    is set: under SDPA no mask and ``is_causal`` mean causal, under eager attention they would not.
    Raises SourceError where the config is that of no model.
    """
    with as_error("config.json", SourceError, "is no language model that can be built"):
        return _skeleton(config, layers)


def _skeleton(config: PretrainedConfig, layers: Sequence[int]) -> Skeleton:
    from transformers import AutoModel

    cut = copy.deepcopy(config)
    cut.num_hidden_layers = len(layers)
    if getattr(config, "layer_types", None):
        cut.layer_types = [config.layer_types[number - 1] for number in layers]
    with torch.device("meta"):
        model: Any = AutoModel.from_config(cut, attn_implementation="sdpa")
    return Skeleton(model, tuple(model.layers), model.norm)


def shapes_of(module: nn.Module) -> dict[str, torch.Size]:
    """Names and shapes of a module's tensors."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def window_of(config: PretrainedConfig, layer: int) -> int | None:
    """Tokens that a layer (from 1) sees at most, itself included; None where it sees all."""
    kind = ARCHITECTURES[config.model_type].window
    sliding = kind == "every" or (
        kind == "by-type" and config.layer_types[layer - 1] == "sliding_attention"
    )
    return config.sliding_window if sliding else None


def spectrum_of(skeleton: Skeleton, place: int) -> tuple[Tensor, float]:
    """Rotary frequencies of the layer at a place (from 0) of the skeleton, in radians per token.

    Returns (head_dim / 2,) float32, one per pair of head dimensions, and the factor by which
    the model scales sine and cosine.
    """
    config = skeleton.model.config
    rotary: Any = type(skeleton.model.rotary_emb)(config)
    by_type = hasattr(rotary, "layer_types")
    prefix = f"{config.layer_types[place]}_" if by_type else ""
    frequencies: Tensor = getattr(rotary, f"{prefix}inv_freq")
    return frequencies.detach().clone(), float(getattr(rotary, f"{prefix}attention_scaling"))
