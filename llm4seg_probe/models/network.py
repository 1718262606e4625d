"""The network of a run: backbone and booster from a configuration, their parts, their state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import Parameter

from llm4seg_probe.config import Config
from llm4seg_probe.errors import CheckpointError, ConfigError
from llm4seg_probe.llm.decoder import Decoder, decoder_of_tensors
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.models.backbones import BACKBONES
from llm4seg_probe.models.boosting import find_module, insert
from llm4seg_probe.models.plain import build_plain
from llm4seg_probe.models.sites import SitePoint, boosters_of, mark
from llm4seg_probe.randomness import seeded


def build_network(config: Config, decoder: Decoder | None = None) -> nn.Module:
    """The network that a configuration describes, in training mode on the CPU.

    The CNN's initial weights come from ``address(seed, "cnn")`` and are the same for all arms
    of a seed; the adapters' from ``address(seed, "adapters")``, a random layer's from
    ``address(seed, "layer")``. ``decoder`` is used instead of loading the layer.

    Raises ConfigError where the parts do not fit, SourceError where the layer cannot be had.
    """
    backbone = config.backbone
    row = BACKBONES.get(backbone.name)
    with seeded(config.seed, "cnn"):
        network = build_plain(config)
    at = backbone.at or (row.bottleneck if row else None)
    if at is not None:
        find_module(network, at)
    mark(network, row, None if at is None else SitePoint(at, entry=backbone.output))
    if ARMS[config.arm].middle == "nothing":
        return network
    if at is None:
        raise ConfigError(
            f"backbone.at is null: name the module of {backbone.name} after which the booster goes"
        )
    size = config.data.image_size
    if row:  # channels do not depend on the size, and a small image is quick
        size = tuple(min(side, 2 * row.stride) for side in size)
    insert(
        network,
        at,
        (config.data.channels, *size),
        arm=config.arm,
        options=config.booster,
        seed=config.seed,
        output=backbone.output,
        decoder=decoder,
    )
    return network


def parameter_groups(network: nn.Module) -> dict[str, list[Parameter]]:
    """The parameters that are trained, by part: ``cnn``, ``adapters`` and ``layer``."""
    part: dict[Parameter, str] = {}
    for _, booster in boosters_of(network):
        part.update(dict.fromkeys(booster.parameters(), "adapters"))
        part.update(dict.fromkeys(booster.middle.parameters(), "layer"))
    groups: dict[str, list[Parameter]] = {"cnn": [], "adapters": [], "layer": []}
    for parameter in network.parameters():
        if parameter.requires_grad:
            groups[part.get(parameter, "cnn")].append(parameter)
    return groups


def frozen_decoder(network: nn.Module) -> Decoder | None:
    """The frozen decoder of a network's first booster, if it has one."""
    for _, booster in boosters_of(network):
        if booster.frozen and isinstance(booster.middle, Decoder):
            return booster.middle
    return None


def embedded_layer(network: nn.Module) -> dict[str, Any] | None:
    """What makes the decoder of a network again without its source, as plain values and tensors.

    None without a decoder. Low-rank adapters beside it are left to :func:`portable_state`.
    """
    for _, booster in boosters_of(network):
        if isinstance(booster.middle, Decoder):
            tensors = {
                name.replace(".base_layer.", "."): tensor
                for name, tensor in booster.middle.state_dict().items()
                if ".lora_" not in name
            }
            return {"values": booster.middle.values, "tensors": tensors}
    return None


def decoder_from_embedded(config: Config, embedded: Mapping[str, Any]) -> Decoder:
    """The decoder of a configuration from what :func:`embedded_layer` gave.

    Raises SourceError when the two do not belong together.
    """
    arm = ARMS[config.arm]
    return decoder_of_tensors(
        config.booster,
        embedded["values"],
        embedded["tensors"],
        weights=arm.weights,
        halves=arm.halves,
    )


def portable_state(network: nn.Module) -> dict[str, Tensor]:
    """The state dict without the tensors of frozen layers, which are had from their source."""
    frozen = {tensor for _, booster in boosters_of(network) for tensor in booster.frozen_tensors()}
    return {
        name: tensor.detach()
        for name, tensor in network.state_dict(keep_vars=True).items()
        if tensor not in frozen
    }


def load_portable_state(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what :func:`portable_state` gave into a network built from the same configuration.

    Raises CheckpointError that names tensors missing, unexpected, or of another shape; the
    network is then as it was.
    """
    own = portable_state(network)
    problems = {
        "lacks": [name for name in own if name not in state],
        "has in excess": [name for name in state if name not in own],
        "has in another shape": [
            f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if name in state and state[name].shape != tensor.shape
        ],
    }
    found = [f"{kind} {_first(names)}" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(f"the weights do not fit the network: the file {'; '.join(found)}")
    network.load_state_dict(dict(state), strict=False)


def _first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
