"""Checks of a network before training: signs of failure, each with the field to change.

They are those that the paper's summary names. What shows after training is in
:mod:`llm4seg_probe.training.result_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.llm.mixing import is_own
from llm4seg_probe.models.booster import Booster
from llm4seg_probe.models.costs import Costs, costs_of, layer_macs
from llm4seg_probe.models.sites import boosters_of

PAPER_MACS, PAPER_TOKENS = 16e9, 256
"""What the paper's booster adds for one 2D image, and on how many tokens."""

_TOLERANCE = 0.01
_MUCH_MORE = 1.5


@dataclass(frozen=True)
class SetupCheck:
    """Sentences on what is wrong with a network, and its costs where it runs at all."""

    sentences: tuple[str, ...]
    costs: Costs | None


def check_setup(config: Config, network: nn.Module) -> SetupCheck:
    """Check a network before it is trained; it is used up by this."""
    misfits = widths(config, network)
    sentences = [*freezing(config, network), *misfits]
    if misfits:  # it does not run
        return SetupCheck(tuple(sentences), None)
    costs = costs_of(network, config)
    return SetupCheck((*sentences, *operations(config, network, costs)), costs)


def freezing(config: Config, network: nn.Module) -> list[str]:
    """Parameters that are trained although the arm freezes them, or frozen although it does not."""
    layer: dict[str, nn.Parameter] = {}
    for path, booster in boosters_of(network):
        for name, parameter in booster.middle.named_parameters():
            if is_own(name):
                layer[f"{path}.middle.{name}"] = parameter
    others = {
        name: parameter for name, parameter in network.named_parameters() if name not in layer
    }
    wanted = ARMS[config.arm].trainable
    wrong = [name for name, parameter in layer.items() if parameter.requires_grad != wanted]
    still = [name for name, parameter in others.items() if not parameter.requires_grad]
    sentences = []
    if wrong and wanted:
        sentences.append(
            f"{_of(wrong, layer)} of the decoder layer are frozen, although arm {config.arm} "
            "trains them: unfreeze them, or set arm to one that freezes the layer, such as llm"
        )
    elif wrong:
        sentences.append(
            f"{_of(wrong, layer)} of the decoder layer are trained, although arm {config.arm} "
            "freezes them: freeze them, or set arm to llm-trainable"
        )
    if still:
        sentences.append(
            f"{_of(still, others)} outside the decoder layer are frozen, although every arm trains "
            "them: unfreeze them; in a network of your own, see backbone.options"
        )
    return sentences


def widths(config: Config, network: nn.Module) -> list[str]:
    """Adapters that do not fit the features before them, each other, or the layer between them."""
    sentences = []
    for path, booster in boosters_of(network):
        channels = _channels_into(network, booster, config)
        inner = getattr(booster.middle, "width", booster.adapter1.out_features)
        features, layer = (f"features of {channels}", channels), (f"layer of {inner}", inner)
        for name, given, (what, wanted) in (
            ("adapter1 takes", booster.adapter1.in_features, features),
            ("adapter1 gives", booster.adapter1.out_features, layer),
            ("adapter2 takes", booster.adapter2.in_features, layer),
            ("adapter2 gives", booster.adapter2.out_features, features),
        ):
            if given != wanted:
                sentences.append(
                    f"{path}.{name} {given} channels, which does not fit the {what}: build the "
                    "adapters anew for this booster.source, backbone.widths and backbone.at"
                )
    return sentences


def operations(config: Config, network: nn.Module, costs: Costs) -> list[str]:
    """Multiply-accumulates that are not those of such a layer, or far more than the paper's."""
    sentences = []
    for _, booster in boosters_of(network):
        grid = costs.sites["before"][1:] if "before" in costs.sites else ()
        tokens = int(torch.Size(grid).numel())
        if not grid or not isinstance(booster.middle, Decoder):
            continue
        counted, expected = costs.part("layer").macs, layer_macs(booster.middle, tokens)
        if abs(counted / expected - 1) > _TOLERANCE:
            sentences.append(
                f"the decoder layer takes {counted / 1e9:.2f} G multiply-accumulates an image, but "
                f"{_layers(booster.middle)} of {config.booster.source} on {tokens} tokens should "
                f"take {expected / 1e9:.2f} G: see that it runs once, and booster.layer, "
                "booster.mixture and backbone.at"
            )
        added = counted + costs.part("adapters").macs
        if len(grid) == 2 and added > _MUCH_MORE * PAPER_MACS:
            sentences.append(
                f"the booster adds {added / 1e9:.1f} G multiply-accumulates an image on {tokens} "
                f"tokens, where the paper's adds about {PAPER_MACS / 1e9:.0f} G on {PAPER_TOKENS}: "
                "lower data.image_size, name a coarser module in backbone.at, or fewer layers in "
                f"booster.{'mixture' if booster.mixing is not None else 'layer'}"
            )
    return sentences


class _ArrivedError(Exception):
    """Ends a dry run where the features reach the booster."""


def _channels_into(network: nn.Module, booster: Booster, config: Config) -> int:
    """Channels of the features that reach a booster, whether or not it can take them."""
    seen: list[int] = []

    def note(module: nn.Module, inputs: Any) -> None:
        seen.append(inputs[0].shape[1])
        raise _ArrivedError

    hook = booster.register_forward_pre_hook(note)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            network.eval()(torch.zeros(1, config.data.channels, *config.data.image_size))
    except _ArrivedError:
        pass
    finally:
        hook.remove()
    return seen[0] if seen else booster.adapter1.in_features


def _of(names: Sequence[str], all_of_them: Mapping[str, Any]) -> str:
    return f"{len(names)} of {len(all_of_them)} tensors ({names[0]}{', …' * (len(names) > 1)})"


def _layers(decoder: Decoder) -> str:
    layers = decoder.identity.layers
    return f"layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}"
