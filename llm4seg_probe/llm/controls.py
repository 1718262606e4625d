"""Layers that stand in for the pre-trained one: random, or its own entries in another order.

Each control makes the tensors of one layer; all draws have the address (seed, "layer", place,
tensor), where place counts the layers of a stack from 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from llm4seg_probe.randomness import generator, seeded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Init = Literal["reference", "normal", "matched"]
Tensors = dict[str, Tensor]


def normal_layer(model: PreTrainedModel, module: nn.Module, seed: int, place: int) -> Tensors:
    """Tensors of a layer of ``model`` as the model's own initialiser draws them, in float32.

    All of them: weights from N(0, initializer_range), biases 0, norm scales neutral. ``module``
    may lie on the meta device; it is left as it was.
    """
    import copy

    fresh = copy.deepcopy(module).to_empty(device="cpu").float()
    with seeded(seed, "layer", place), torch.no_grad():
        fresh.apply(model._init_weights)
    return {name: tensor.detach() for name, tensor in fresh.state_dict().items()}


def reference_layer(pretrained: Mapping[str, Tensor], seed: int, place: int) -> Tensors:
    """The published code's random layer, in float32.

    Linear weights Xavier-uniform, biases 0, the pre-trained norm scales kept.
    """
    drawn: Tensors = {}
    for name, tensor in pretrained.items():
        if tensor.dim() == 2:
            limit = math.sqrt(6 / sum(tensor.shape))
            uniform = torch.rand(tensor.shape, generator=generator(seed, "layer", place, name))
            drawn[name] = (2 * uniform - 1) * limit
        elif name.endswith(".bias"):
            drawn[name] = torch.zeros(tensor.shape)
        else:
            drawn[name] = tensor.float()
    return drawn


def matched_layer(
    normal: Mapping[str, Tensor], pretrained: Mapping[str, Tensor], seed: int, place: int
) -> Tensors:
    """A random layer in which each tensor has the Frobenius norm of the pre-trained one.

    What the initialiser leaves at zero cannot be scaled: biases are drawn from a Gaussian first,
    norm scales are constant.
    """
    drawn: Tensors = {}
    for name, tensor in normal.items():
        if not tensor.any():
            source = generator(seed, "layer", place, name)
            is_bias = name.endswith(".bias")
            tensor = torch.randn(tensor.shape, generator=source) if is_bias else tensor + 1
        wanted = pretrained[name].double().norm()
        drawn[name] = (tensor.double() * (wanted / tensor.double().norm())).float()
    return drawn


def shuffled_layer(pretrained: Mapping[str, Tensor], seed: int, place: int) -> Tensors:
    """The pre-trained layer with the entries of every tensor permuted, vectors and biases too."""
    drawn: Tensors = {}
    for name, tensor in pretrained.items():
        source = generator(seed, "layer", place, name)
        order = torch.randperm(tensor.numel(), generator=source)
        drawn[name] = tensor.flatten()[order].reshape(tensor.shape)
    return drawn
