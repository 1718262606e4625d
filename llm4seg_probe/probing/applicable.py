"""Which interventions there are, what each needs of an arm, and those of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.llm.positions import Position
from llm4seg_probe.models.arms import ARMS, Arm
from llm4seg_probe.probing import interventions as make
from llm4seg_probe.probing import layer_weights
from llm4seg_probe.probing.interventions import Intervention
from llm4seg_probe.probing.passes import Run
from llm4seg_probe.randomness import address

SITE = "after"
"""Where tokens are projected."""

Part = Literal[
    "booster", "decoder layer", "attention", "MLP", "pre-trained layer", "layer of its own seed"
]


@dataclass(frozen=True)
class Options:
    """What is tried: ranks kept, first singular directions removed, sites patched.

    ``other_layer`` is the layer (from 1) whose weights are put in, None for none; ``only`` names
    the interventions that are done, None for all.
    """

    ranks: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    directions: int = 3
    patch_sites: tuple[str, ...] = (SITE,)
    other_layer: int | None = None
    only: tuple[str, ...] | None = None


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
class Kind:
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
    tensors = layer_weights.random_weights(subject.decoder, subject.draw)
    return [make.weights_exchanged("random-weights", "", tensors)]


def _shuffled(subject: Subject) -> list[Intervention]:
    tensors = layer_weights.shuffled_weights(subject.decoder, subject.draw)
    return [make.weights_exchanged("shuffled-weights", "", tensors)]


def _other_seed(subject: Subject) -> list[Intervention]:
    if subject.other_seed is None:
        return []
    tensors = layer_weights.own_weights(make.decoder_of(subject.other_seed)[1])
    return [make.weights_exchanged("other-seed-weights", "", tensors)]


def _other_layer(subject: Subject) -> list[Intervention]:
    layer = subject.options.other_layer
    if layer is None:
        return []
    tensors = layer_weights.other_layer_weights(subject.decoder, subject.booster, layer)
    return [make.weights_exchanged("other-layer-weights", str(layer), tensors)]


KINDS: dict[str, Kind] = {
    "bypass": Kind(
        "the tokens skip what stands between the adapters", "booster", lambda _: [make.bypass()]
    ),
    "attention-off": Kind(
        "the layer's attention adds nothing", "attention", lambda _: [make.attention_off()]
    ),
    "mlp-off": Kind("the layer's MLP adds nothing", "MLP", lambda _: [make.mlp_off()]),
    "head-off": Kind(
        "one attention head gives zero",
        "attention",
        lambda subject: [make.head_off(name) for name in make.heads_of(subject.network)],
    ),
    "permuted": Kind(
        "tokens in another order before the layer, in their own after it",
        "booster",
        lambda _: [make.permuted()],
    ),
    "mask": Kind("the other attention mask", "attention", _mask),
    "position": Kind("another position encoding", "attention", _positions),
    "random-weights": Kind("weights of the model's own initialiser", "decoder layer", _random),
    "shuffled-weights": Kind("the layer's own weights, permuted", "decoder layer", _shuffled),
    "other-seed-weights": Kind(
        "the layer of a run with another seed",
        "layer of its own seed",
        _other_seed,
        "no checkpoint of this arm with another seed was given",
    ),
    "other-layer-weights": Kind(
        "another layer of the same language model",
        "pre-trained layer",
        _other_layer,
        "no layer was named (--other-layer)",
    ),
    "patched": Kind(
        "another image's activations at a site", None, None, "there is no other image, or no site"
    ),
    "low-rank": Kind(
        "tokens after the booster projected to their own largest directions",
        None,
        lambda subject: [make.low_rank(SITE, rank) for rank in subject.options.ranks],
        "no rank was named",
    ),
    "direction-removed": Kind(
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
        return list(KINDS)
    for name in names:
        if name not in KINDS:
            raise ConfigError(unknown("intervention", name, KINDS))
    return [name for name in KINDS if name in names]


def applicable(subject: Subject) -> tuple[dict[str, list[Intervention]], dict[str, str]]:
    """The interventions of a run by kind, and by name why the others are left out.

    Raises ConfigError for a name that there is not, SourceError for a layer that cannot be had.
    """
    parts = parts_of(ARMS[subject.run.arm])
    found: dict[str, list[Intervention]] = {}
    skipped: dict[str, str] = {}
    for name in wanted(subject.options.only):
        kind = KINDS[name]
        if kind.needs is not None and kind.needs not in parts:
            skipped[name] = f"arm {subject.run.arm} has no {kind.needs}"
            continue
        found[name] = [] if kind.made is None else kind.made(subject)
        if kind.made is not None and not found[name]:
            skipped[name] = kind.without
    return found, skipped
