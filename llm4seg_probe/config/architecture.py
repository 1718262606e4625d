"""Fields of a configuration that make the network: its backbone and its booster."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.functional_validators import AfterValidator

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config.section import Section
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.reading.bounds import at_most

_Layer = Annotated[int, AfterValidator(lambda value: at_most("layers", value))]
_Width = Annotated[int, Field(ge=1), AfterValidator(lambda value: at_most("width", value))]
_Rank = Annotated[int, AfterValidator(lambda value: at_most("rank", value))]


class BackboneConfig(Section):
    """The CNN whose encoder and decoder the booster stands between."""

    name: str = Field(
        "cmunext",
        description="a name of `llm4seg-probe list backbones`, or 'package.module:callable' that "
        "takes in_channels and out_channels and returns a torch module",
    )
    widths: tuple[_Width, ...] | None = Field(
        None, description="channels of each stage; null: those of the published network"
    )
    deep_supervision: bool = Field(
        False,
        description="coarser outputs are supervised too, in networks whose original does so",
    )
    at: str | None = Field(
        None,
        description="module after which the booster goes; null: the bottleneck of the backbone",
    )
    output: int | str | None = Field(
        None, description="which entry is boosted where that module returns a tuple, list or dict"
    )
    options: dict[str, Any] = Field(
        {}, description="further arguments of a callable that is not one of the backbones"
    )


class BoosterConfig(Section):
    """What stands between encoder and decoder, in every arm but ``cnn``."""

    source: str = Field(
        "smollm2-135m",
        description="where the decoder layer comes from: an embedded name, a folder in Hugging "
        "Face layout, or a Hub id",
    )
    layer: _Layer | tuple[_Layer, ...] = Field(
        15, description="which layer, counted from 1; negative from the end; several run in order"
    )
    mixture: tuple[_Layer, ...] | None = Field(
        None,
        min_length=1,
        description="layers that the arms llm-mix and random-mix have side by side; null: at most "
        "five, evenly spaced over the language model, layer among them",
    )
    mix_weights: Literal["learned", "uniform"] = Field(
        "learned", description="'uniform': the weights of a mixture stay all alike, as they start"
    )
    attention: Literal["causal", "bidirectional", "reference"] = Field(
        "causal",
        description="attention mask over the tokens in raster order; 'reference' is an alias of "
        "'causal'",
    )
    position: Literal["reference", "rope", "axial-rope", "none"] = Field(
        "reference",
        description="'reference': one angle per token, sine and cosine exchanged, as published; "
        "'rope': the model's own; 'axial-rope': by row and column; 'none'",
    )
    residual: bool = Field(False, description="add the booster's input to its output")
    final_norm: bool = Field(False, description="the language model's final norm after the layer")
    init: Literal["reference", "normal", "matched"] = Field(
        "normal",
        description="random layers: 'reference' (Xavier-uniform, pre-trained norm scales kept), "
        "'normal' (the model's own initialiser), 'matched' (normal, each tensor with the "
        "Frobenius norm of the pre-trained one)",
    )
    adapter_init: Literal["pytorch", "xavier", "orthogonal"] = Field(
        "pytorch", description="initial weights of the two linear adapters"
    )
    layer_precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="precision in which a frozen layer is stored and computed"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute the layer in the backward pass instead of storing it"
    )
    lora_rank: _Rank = Field(8, ge=1, description="rank of the low-rank adapters of arm llm-lora")
    lora_alpha: int = Field(
        16, ge=1, lt=2**31, description="their output is scaled by lora_alpha / lora_rank"
    )

    @model_validator(mode="after")
    def _so_many_layers(self) -> Self:
        at_most("layers", len(self.layers), "the layers are ")
        at_most("layers", len(self.mixture or ()), "the layers of the mixture are ")
        return self

    @property
    def layers(self) -> tuple[int, ...]:
        """The wanted layers as a tuple, in the order in which they run."""
        return self.layer if isinstance(self.layer, tuple) else (self.layer,)


def refuse_misfits(arm: str, booster: BoosterConfig) -> None:
    """Raise ConfigError, which begins with the field, where a booster cannot be that of an arm."""
    row = ARMS[arm]
    if row.trainable and booster.layer_precision != "fp32":
        raise ConfigError(
            f"layer_precision is '{booster.layer_precision}', but arm '{arm}' trains its layer, "
            "which needs fp32: set it to fp32 for this arm"
        )
    if row.gated and booster.residual:
        raise ConfigError(
            f"residual is true, but arm '{arm}' adds the booster's input through its gate: leave "
            "it at false for this arm"
        )
    if row.mixed and booster.mixture is None and isinstance(booster.layer, tuple):
        raise ConfigError(
            f"layer is {list(booster.layer)}, layers that run one after another, but arm '{arm}' "
            "has its layers side by side: name them in booster.mixture"
        )
