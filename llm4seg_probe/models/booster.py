"""The booster: linear adapter, something in the middle, linear adapter; same shape in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from torch import Tensor, nn

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.llm.architectures import config_from
from llm4seg_probe.llm.decoder import Decoder, load_decoder
from llm4seg_probe.llm.reading import read_config
from llm4seg_probe.llm.sources import open_source
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.randomness import seeded

Initialiser = Literal["pytorch", "xavier", "orthogonal"]


class Tokenwise(nn.Module):
    """A function of each token by itself, called as a decoder is: with tokens and their grid."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Tokens (B, N, C) in, the same shape out; the grid does not matter."""
        return self.function(tokens)


class Booster(nn.Module):
    """Adapter, middle, adapter over the tokens of a grid in raster order, in 2D or 3D.

    ``middle`` maps tokens (B, N, width) and their grid to tokens of the same shape. A frozen
    middle has no gradients, and stays in evaluation mode whatever mode the network is put in.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        middle: nn.Module,
        *,
        frozen: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.adapter1 = nn.Linear(channels, width)
        self.middle = middle
        self.adapter2 = nn.Linear(width, channels)
        self.frozen = frozen
        self.residual = residual
        if frozen:
            self.middle.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Booster:
        """Set the mode of the adapters, and of the middle unless it is frozen."""
        super().train(mode)
        if self.frozen:
            self.middle.eval()
        return self

    def frozen_tensors(self) -> Iterator[Tensor]:
        """Parameters and buffers of a frozen middle; low-rank adapters beside it are trained."""
        if self.frozen:
            for name, tensor in self.middle.state_dict(keep_vars=True).items():
                if ".lora_" not in name:
                    yield tensor

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) or (B, C, D, H, W) in, the same shape and layout out."""
        grid = tuple(features.shape[2:])
        tokens = self.adapter1(features.flatten(2).transpose(1, 2))
        tokens = self.adapter2(self.middle(tokens, grid))
        boosted = tokens.transpose(1, 2).reshape(features.shape)
        if features.is_contiguous():  # what follows may rely on it, with .view for one
            boosted = boosted.contiguous()
        return features + boosted if self.residual else boosted


def build_booster(
    arm: str,
    options: BoosterConfig,
    channels: int,
    seed: int,
    decoder: Decoder | None = None,
) -> Booster:
    """The booster of an arm for features with this many channels.

    Adapters are drawn from ``address(seed, "adapters")``, a random layer from addresses that
    begin with (seed, "layer"). ``decoder`` is used instead of loading the layer from its source.

    Raises ConfigError for a layer in low precision that would be trained.
    """
    row = ARMS[arm]
    if row.trainable and options.layer_precision != "fp32":
        raise ConfigError(
            f"layer_precision is '{options.layer_precision}', but arm '{arm}' trains its layer, "
            "which needs fp32"
        )
    middle: nn.Module
    if row.middle == "layer":
        middle = decoder or load_decoder(options, weights=row.weights, halves=row.halves, seed=seed)
        width = middle.width
    else:
        middle, width = Tokenwise(_TOKENWISE[row.middle]()), _width(options.source)
    with seeded(seed, "adapters"):
        booster = Booster(
            channels,
            width,
            middle,
            frozen=row.middle == "layer" and not row.trainable,
            residual=options.residual,
        )
        for adapter in (booster.adapter1, booster.adapter2):
            _initialise(adapter, options.adapter_init)
    if row.low_rank:
        _add_low_rank(booster.middle, options, seed)
    return booster


_TOKENWISE: dict[str, Callable[[], nn.Module]] = {"identity": nn.Identity, "gelu": nn.GELU}


def _width(source: str) -> int:
    """Channels of a token in a language model, from its config alone."""
    opened = open_source(source)
    return int(config_from(read_config(opened), opened.name).hidden_size)


def _initialise(adapter: nn.Linear, initialiser: Initialiser) -> None:
    if initialiser == "pytorch":
        return
    draw = nn.init.xavier_uniform_ if initialiser == "xavier" else nn.init.orthogonal_
    draw(adapter.weight)
    nn.init.zeros_(adapter.bias)


def _add_low_rank(layers: nn.Module, options: BoosterConfig, seed: int) -> None:
    """Put trainable low-rank adapters (LoRA) beside every linear map of a frozen layer."""
    from peft import LoraConfig, inject_adapter_in_model

    linear = [name for name, module in layers.named_modules() if isinstance(module, nn.Linear)]
    low_rank = LoraConfig(r=options.lora_rank, lora_alpha=options.lora_alpha, target_modules=linear)
    with seeded(seed, "low-rank"):
        inject_adapter_in_model(low_rank, layers)
