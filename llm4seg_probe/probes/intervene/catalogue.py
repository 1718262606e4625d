"""The interventions, with the needs of each, and those that suit a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from llm4seg_probe.activations import interventions as make
from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.interventions import Intervention, layer_parameters, patched
from llm4seg_probe.activations.passes import Pool, Run, checked, recorded
from llm4seg_probe.arms import ARMS, Arm
from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import ConfigError, SourceError, unknown
from llm4seg_probe.llm.architectures import config_from, skeleton
from llm4seg_probe.llm.blocks import Position
from llm4seg_probe.llm.controls import normal_layer, shuffled_layer
from llm4seg_probe.llm.decoder import Decoder, load_decoder
from llm4seg_probe.probes.intervene import Options
from llm4seg_probe.randomness import address

IMAGES = 32


class Donors:
    """The activations of a few images at some sites; the same images for all runs.

    An image is given those of one that is not itself, of another group where there is one:
    neighbouring slices of one person are nearly the same image.
    """

    def __init__(self, run: Run, batches: Iterable[Batch], sites: Sequence[str]) -> None:
        pool = Pool(IMAGES)
        for batch in checked(run, batches, sites, "Other images"):
            pool.add(batch)
        parts: dict[str, list[Tensor]] = {site: [] for site in sites}
        self._images: list[tuple[str, str]] = []
        for batch in pool.batches():
            recording, _ = recorded(run.network, batch.images, sites)
            self._images += zip(batch.names, batch.groups, strict=True)
            for site in sites:
                parts[site].append(recording[site])
        self._tokens = {site: torch.cat(seen) for site, seen in parts.items()}

    def patches(self, batch: Batch) -> list[Intervention]:
        """An intervention per site for the images of a batch; none where an image has no other."""
        partners = [self._partner(*image) for image in zip(batch.names, batch.groups, strict=True)]
        chosen = [partner for partner in partners if partner is not None]
        if len(chosen) < len(partners):
            return []
        return [patched(site, tokens[chosen]) for site, tokens in self._tokens.items()]

    def _partner(self, name: str, group: str) -> int | None:
        others = [index for index, (other, _) in enumerate(self._images) if other != name]
        groups = [of_other for _, of_other in self._images]
        return nulls.partner(name, group, groups, others, "intervene", "patched")


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


SITE = "after"
"""Where tokens are projected."""

Part = Literal[
    "booster", "decoder layer", "attention", "MLP", "pre-trained layer", "layer of its own seed"
]


@dataclass(frozen=True)
class Subject:
    """A run with what is done to it; ``other_seed`` is the network of a run of another seed."""

    run: Run
    options: Options
    other_seed: nn.Module | None

    @property
    def network(self) -> nn.Module:
        """The network of the run."""
        return self.run.network

    @property
    def decoder(self) -> Any:
        """The decoder in it."""
        return make.decoder_of(self.network)[1]

    @property
    def booster(self) -> BoosterConfig:
        """How its booster was configured."""
        return self.run.config.booster

    @property
    def draw(self) -> int:
        """Seed of random and shuffled weights: another than those that the run was built from."""
        return address("intervene", self.run.seed)


@dataclass(frozen=True)
class Recipe:
    """One intervention: what it is, the part it needs, how it is made, why there may be none.

    ``made`` gives one or several settings. It is None where each batch has its own (``patched``).
    """

    description: str
    needs: Part | None
    made: Callable[[Subject], list[Intervention]] | None
    without: str = "nothing was asked for"


def _mask(subject: Subject) -> list[Intervention]:
    is_full = subject.decoder.attention == "bidirectional"
    return [make.mask_exchanged("causal" if is_full else "bidirectional")]


def _positions(subject: Subject) -> list[Intervention]:
    own = subject.decoder.position
    return [make.position_exchanged(name) for name in get_args(Position) if name != own]


def _random(subject: Subject) -> list[Intervention]:
    tensors = random_weights(subject.decoder, subject.draw)
    return [make.weights_exchanged("random-weights", "", tensors)]


def _shuffled(subject: Subject) -> list[Intervention]:
    tensors = shuffled_weights(subject.decoder, subject.draw)
    return [make.weights_exchanged("shuffled-weights", "", tensors)]


def _other_seed(subject: Subject) -> list[Intervention]:
    if subject.other_seed is None:
        return []
    tensors = own_weights(make.decoder_of(subject.other_seed)[1])
    return [make.weights_exchanged("other-seed-weights", "", tensors)]


def _other_layer(subject: Subject) -> list[Intervention]:
    layer = subject.options.other_layer
    if layer is None:
        return []
    tensors = other_layer_weights(subject.decoder, subject.booster, layer)
    return [make.weights_exchanged("other-layer-weights", str(layer), tensors)]


CATALOGUE: dict[str, Recipe] = {
    "bypass": Recipe(
        "the tokens skip what stands between the adapters", "booster", lambda _: [make.bypass()]
    ),
    "attention-off": Recipe(
        "the layer's attention adds nothing", "attention", lambda _: [make.attention_off()]
    ),
    "mlp-off": Recipe("the layer's MLP adds nothing", "MLP", lambda _: [make.mlp_off()]),
    "head-off": Recipe(
        "one attention head gives zero",
        "attention",
        lambda subject: [make.head_off(name) for name in make.heads_of(subject.network)],
    ),
    "permuted": Recipe(
        "tokens in another order before the layer, in their own after it",
        "booster",
        lambda _: [make.permuted()],
    ),
    "mask": Recipe("the other attention mask", "attention", _mask),
    "position": Recipe("another position encoding", "attention", _positions),
    "random-weights": Recipe("weights of the model's own initialiser", "decoder layer", _random),
    "shuffled-weights": Recipe("the layer's own weights, permuted", "decoder layer", _shuffled),
    "other-seed-weights": Recipe(
        "the layer of a run with another seed",
        "layer of its own seed",
        _other_seed,
        "no checkpoint of this arm with another seed was given",
    ),
    "other-layer-weights": Recipe(
        "another layer of the same language model",
        "pre-trained layer",
        _other_layer,
        "no layer was named (--other-layer)",
    ),
    "patched": Recipe(
        "another image's activations at a site", None, None, "there is no other image, or no site"
    ),
    "low-rank": Recipe(
        "tokens after the booster projected to their own largest directions",
        None,
        lambda subject: [make.low_rank(SITE, rank) for rank in subject.options.ranks],
        "no rank was named",
    ),
    "direction-removed": Recipe(
        "tokens after the booster without one of their own singular directions",
        None,
        lambda subject: [
            make.without_direction(SITE, number + 1) for number in range(subject.options.directions)
        ],
        "the number of directions is 0",
    ),
}
"""In the order in which they are done, tabled and drawn."""


def parts_of(arm: Arm) -> frozenset[Part]:
    """What an arm has for an intervention to act on."""
    has_layer = arm.middle == "layer"
    there: dict[Part, bool] = {
        "booster": arm.middle != "nothing",
        "decoder layer": has_layer,
        "attention": has_layer and arm.halves != "mlp",
        "MLP": has_layer and arm.halves != "attention",
        "pre-trained layer": has_layer and arm.weights == "pretrained",
        "layer of its own seed": has_layer and (arm.trainable or arm.weights != "pretrained"),
    }
    return frozenset(part for part, is_there in there.items() if is_there)


def wanted(names: Sequence[str] | None) -> list[str]:
    """Names of interventions in their order, all for None. Raises ConfigError for unknown ones."""
    if names is None:
        return list(CATALOGUE)
    for name in names:
        if name not in CATALOGUE:
            raise ConfigError(unknown("intervention", name, CATALOGUE))
    return [name for name in CATALOGUE if name in names]


def applicable(subject: Subject) -> tuple[dict[str, list[Intervention]], dict[str, str]]:
    """The interventions of a run by kind, and by name why the others are left out.

    Raises ConfigError for a name that there is not, SourceError for a layer that cannot be had.
    """
    parts = parts_of(ARMS[subject.run.config.arm])
    found: dict[str, list[Intervention]] = {}
    skipped: dict[str, str] = {}
    for name in wanted(subject.options.only):
        kind = CATALOGUE[name]
        if kind.needs is not None and kind.needs not in parts:
            skipped[name] = f"arm {subject.run.arm} has no {kind.needs}"
            continue
        found[name] = [] if kind.made is None else kind.made(subject)
        if kind.made is not None and not found[name]:
            skipped[name] = kind.without
    return found, skipped
