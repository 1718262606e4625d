"""Weights to put in the place of a layer's own: random, shuffled, or another layer's."""

from __future__ import annotations

from torch import Tensor

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.architectures import config_from, skeleton
from llm4seg_probe.llm.controls import normal_layer, shuffled_layer
from llm4seg_probe.llm.decoder import Decoder, load_decoder
from llm4seg_probe.probing.interventions import layer_parameters

Tensors = dict[str, Tensor]


def own_weights(decoder: Decoder) -> Tensors:
    """The weights that a decoder has, by their names in its state dict; low-rank adapters left out.

    They share memory with it.
    """
    return {name: parameter.detach() for name, parameter in layer_parameters(decoder).items()}


def random_weights(decoder: Decoder, seed: int) -> Tensors:
    """All weights as the language model's own initialiser draws them, final norm included."""
    identity = decoder.identity
    bones = skeleton(config_from(dict(decoder.values), identity.source), identity.layers)
    drawn = [
        normal_layer(bones.model, layer, seed, place) for place, layer in enumerate(bones.layers)
    ]
    found = _joined(drawn)
    if decoder.norm is not None:
        norm = normal_layer(bones.model, bones.norm, seed, len(drawn))
        found |= {f"norm.{name}": tensor for name, tensor in norm.items()}
    return found


def shuffled_weights(decoder: Decoder, seed: int) -> Tensors:
    """The decoder's own weights, the entries of every tensor permuted, final norm included."""
    own = own_weights(decoder)
    layers = [f"layers.{place}." for place in range(len(decoder.blocks))]
    found: Tensors = {}
    for place, part in enumerate([*layers, "norm."]):
        tensors = {n.removeprefix(part): t for n, t in own.items() if n.startswith(part)}
        shuffled = shuffled_layer(tensors, seed, place)
        found |= {f"{part}{name}": tensor for name, tensor in shuffled.items()}
    return found


def other_layer_weights(decoder: Decoder, booster: BoosterConfig, layer: int) -> Tensors:
    """The pre-trained weights of another layer of the same language model; a final norm stays.

    ``booster`` names the source. Raises SourceError where the source or the layer cannot be had,
    when the decoder has several layers, and for the layer that it has already.
    """
    numbers, depth = decoder.identity.layers, decoder.identity.depth
    if len(numbers) != 1:
        raise SourceError(
            f"the decoder has layers {', '.join(map(str, numbers))}: another layer can stand in "
            "for one, not for several"
        )
    if layer in (numbers[0], numbers[0] - depth - 1):
        raise SourceError(f"layer {layer} of {decoder.identity.source} is the network's own")
    other = load_decoder(booster.model_copy(update={"layer": layer, "final_norm": False}))
    return own_weights(decoder) | own_weights(other)


def _joined(layers: list[Tensors]) -> Tensors:
    return {
        f"layers.{place}.{name}": tensor
        for place, layer in enumerate(layers)
        for name, tensor in layer.items()
    }
