"""Layers side by side: which ones, and the convex weights with which their outputs are averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.llm.stored_weights import layer_numbers

MOST = 5
"""How many layers a mixture has at most, where the configuration does not name them."""
_MIXING = "mixing."


def is_own(name: str) -> bool:
    """Whether a tensor of a decoder, by its name in it, is the language model's.

    Those of low-rank adapters and of a mixture's weights are not: they are trained beside layers
    that are frozen.

    >>> is_own("layers.0.mlp.up_proj.weight"), is_own("mixing.logits")
    (True, False)
    """
    return ".lora_" not in name and not name.startswith(_MIXING)


def evenly_spaced(layer: int, depth: int) -> tuple[int, ...]:
    """At most five layers at equal distances over the whole depth, ``layer`` (from 1) among them.

    >>> evenly_spaced(15, 30), evenly_spaced(15, 16)
    ((3, 9, 15, 21, 27), (3, 7, 11, 15))
    """
    step = -(-depth // MOST)
    return tuple(range((layer - 1) % step + 1, depth + 1, step))


def chosen_layers(
    booster: BoosterConfig, depth: int, source: str, *, mixed: bool
) -> tuple[int, ...]:
    """Numbers (from 1) of the layers that an arm of a configuration has, of a source this deep.

    In a mixture they stand side by side, those of ``booster.mixture``, or evenly spaced ones
    through ``booster.layer``; else they run in order. Raises SourceError for a layer outside of
    the source, ConfigError for one that stands twice in a mixture.
    """
    if not mixed:
        return layer_numbers(booster.layers, depth, source)
    if booster.mixture is None:
        return evenly_spaced(layer_numbers(booster.layers, depth, source)[0], depth)
    numbers = layer_numbers(booster.mixture, depth, source)
    twice = [number for number in numbers if numbers.count(number) > 1]
    if twice:
        raise ConfigError(
            f"booster.mixture is {list(booster.mixture)}, in which layer {twice[0]} of {source} "
            "stands twice: its two weights could not be told apart, so name each layer once"
        )
    return numbers


class Mixing(nn.Module):
    """A convex average of several residual streams, of the layers with these numbers.

    Its weights are the softmax of ``logits``, which start at zero: all alike. They are learned, or
    stay as they start.
    """

    logits: Tensor

    def __init__(self, layers: Sequence[int], *, learned: bool = True) -> None:
        super().__init__()
        self.layers = tuple(layers)
        start = torch.zeros(len(self.layers))
        if learned:
            self.logits = nn.Parameter(start)
        else:  # nothing to store
            self.register_buffer("logits", start, persistent=False)

    @property
    def weights(self) -> Tensor:
        """Weights (layers,), each above 0, which sum to 1."""
        return self.logits.softmax(0)

    def forward(self, streams: Sequence[Tensor]) -> Tensor:
        """The average of streams (B, N, width), one of each layer, in the dtype of theirs."""
        first, *others = (
            weight * stream for weight, stream in zip(self.weights, streams, strict=True)
        )
        return sum(others, start=first)
