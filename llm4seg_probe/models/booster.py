"""The booster: linear adapter, something in the middle, linear adapter; same shape in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import BoosterConfig, refuse_misfits
from llm4seg_probe.llm.architectures import config_from
from llm4seg_probe.llm.decoder import Decoder, load_decoder
from llm4seg_probe.llm.mixing import Mixing, is_own
from llm4seg_probe.llm.sources import open_source
from llm4seg_probe.llm.stored_weights import read_config
from llm4seg_probe.randomness import seeded

Initialiser = Literal["pytorch", "xavier", "orthogonal"]


def as_tokens(features: Tensor) -> Tensor:
    """Read features as tokens (B, N, C), in raster order.

    features: a grid, (B, C, H, W) or (B, C, D, H, W); tokens already; or (B, C), which is one
    token of each image. A view where the memory layout allows one.
    """
    if features.ndim == 2:
        return features[:, None]
    return features if features.ndim == 3 else features.flatten(2).transpose(1, 2)


def as_grid(tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Put tokens (B, N, C) back onto their grid: (B, C, *grid)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


class Tokenwise(nn.Module):
    """A function of each token by itself, called as a decoder is: with tokens and their grid."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Tokens (B, N, C) in, the same shape out; the grid does not matter."""
        return self.function(tokens)


class Gate(nn.Module):
    """Adds the booster's output to its input, times tanh of a learned scalar that starts at zero.

    At first the network is the plain CNN, exactly; from there the slope of the opening is 1. It
    stays between -1 and 1 (Alayrac et al. 2022, Flamingo), so that an opening can be read beside
    another one, and none grows without bound.
    """

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(()))

    @property
    def opening(self) -> Tensor:
        """The factor of the booster's output, between -1 and 1."""
        return self.raw.tanh()

    def forward(self, features: Tensor, boosted: Tensor) -> Tensor:
        """Features of any shape, and what the booster made of them, in the same shape."""
        return features + self.opening * boosted


class Booster(nn.Module):
    """Adapter, middle, adapter over the tokens of a grid in raster order, in 2D or 3D.

    ``middle`` maps tokens (B, N, width) and their grid to tokens of the same shape. A frozen
    middle stays in evaluation mode whatever mode the network is put in, and has no gradients, but
    for the weights of a mixture. ``gate`` joins the output with the input, where there is one.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        middle: nn.Module,
        *,
        frozen: bool = False,
        residual: bool = False,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        self.adapter1 = nn.Linear(channels, width)
        self.middle = middle
        self.adapter2 = nn.Linear(width, channels)
        self.frozen = frozen
        self.residual = residual
        self.gate = gate
        if frozen:
            self.middle.eval()
            for name, parameter in self.middle.named_parameters():
                parameter.requires_grad_(not is_own(name))

    def train(self, mode: bool = True) -> Booster:
        """Set the mode of the adapters, and of the middle unless it is frozen."""
        super().train(mode)
        if self.frozen:
            self.middle.eval()
        return self

    def frozen_tensors(self) -> Iterator[Tensor]:
        """Parameters and buffers of a frozen middle, without what is trained beside it."""
        if self.frozen:
            for name, tensor in self.middle.state_dict(keep_vars=True).items():
                if is_own(name):
                    yield tensor

    @property
    def mixing(self) -> Mixing | None:
        """The weights of a mixture of layers, where that is the middle."""
        return self.middle.mixing if isinstance(self.middle, Decoder) else None

    def gates(self) -> Iterator[nn.Parameter]:
        """Parameters that say how much goes on: of the gate, and of a mixture's weights."""
        for module in (self.gate, self.mixing):
            if module is not None:
                yield from module.parameters()

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) or (B, C, D, H, W) in, the same shape and layout out."""
        grid = tuple(features.shape[2:])
        tokens = self.adapter1(as_tokens(features))
        tokens = self.adapter2(self.middle(tokens, grid))
        boosted = as_grid(tokens, grid)
        if features.is_contiguous():  # what follows may rely on it, with .view for one
            boosted = boosted.contiguous()
        if self.gate is not None:
            joined: Tensor = self.gate(features, boosted)
            return joined
        return features + boosted if self.residual else boosted


def build_booster(
    arm: str,
    options: BoosterConfig,
    channels: int,
    seed: int,
    decoder: Decoder | None = None,
    width: int | None = None,
) -> Booster:
    """The booster of an arm for features with this many channels.

    Adapters are drawn from ``address(seed, "adapters")``, a random layer from addresses that
    begin with (seed, "layer"). ``decoder`` is used instead of loading the layer from its source,
    and ``width``, that of its tokens, instead of reading it there.

    Raises ConfigError for a layer in low precision that would be trained, a residual beside a gate,
    and a mixture whose layers would run one after another.
    """
    row = ARMS[arm]
    refuse_misfits(arm, options)
    middle: nn.Module
    if row.middle == "layer":
        middle = decoder or load_decoder(
            options, weights=row.weights, halves=row.halves, mixed=row.mixed, seed=seed
        )
        width = middle.width
    else:
        middle, width = Tokenwise(_TOKENWISE[row.middle]()), width or _width(options.source)
    with seeded(seed, "adapters"):
        booster = Booster(
            channels,
            width,
            middle,
            frozen=row.middle == "layer" and not row.trainable,
            residual=options.residual,
            gate=Gate() if row.gated else None,
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
