"""The network of a run: backbone and booster from a configuration, their parts, their state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.errors import CheckpointError, ConfigError
from llm4seg_probe.llm.decoder import Decoder, decoder_of_tensors
from llm4seg_probe.llm.mixing import is_own
from llm4seg_probe.models.backbones import Backbone, build_plain, row_of
from llm4seg_probe.models.heads import BACKBONE, PooledNetwork, output_channels
from llm4seg_probe.models.insertion import find_module, insert
from llm4seg_probe.models.sites import SitePoint, boosters_of, mark
from llm4seg_probe.randomness import seeded
from llm4seg_probe.tasks import TASKS


def build_network(
    config: Config, decoder: Decoder | None = None, width: int | None = None
) -> nn.Module:
    """The network that a configuration describes, in training mode on the CPU.

    The CNN's initial weights come from ``address(seed, "cnn")`` and are the same for all arms
    of a seed; the adapters' from ``address(seed, "adapters")``, a random layer's from
    ``address(seed, "layer")``. ``decoder`` is used instead of loading the layer, and
    ``width``, that of its tokens, instead of reading it from the source.

    Raises ConfigError where the parts do not fit, SourceError where the layer cannot be had.
    """
    network, row, at = _plain(config)
    mark(network, row, None if at is None else SitePoint(at, entry=config.backbone.output))
    if ARMS[config.arm].middle == "nothing":
        return network
    if at is None:
        raise _unnamed(config, "after which the booster goes")
    insert(
        network,
        at,
        (config.data.channels, *_small_image(config, row)),
        arm=config.arm,
        options=config.booster,
        seed=config.seed,
        output=config.backbone.output,
        decoder=decoder,
        width=width or _planned_width(config),
    )
    return network


def _plain(config: Config) -> tuple[nn.Module, Backbone | None, str | None]:
    """The network without a booster, its row, and the path of the module that one goes after."""
    row = row_of(config.backbone)
    at = config.backbone.at or (row.bottleneck if row else None)
    with seeded(config.seed, "cnn"):
        network = build_plain(config)
        if at is not None:
            find_module(network, at)
        if not TASKS[config.task].pooled:
            return network, row, at
        if at is None:
            raise _unnamed(config, "whose features are pooled")
        shape = (config.data.channels, *_small_image(config, row))
        channels = output_channels(config)
        network = PooledNetwork(network, at, config.backbone.output, shape, channels)
    inside = f"{BACKBONE}.{{}}".format
    if row is not None:
        encoder = tuple(map(inside, row.encoder))
        row = replace(row, bottleneck=inside(row.bottleneck), encoder=encoder, decoder=())
    return network, row, inside(at)


def _small_image(config: Config, row: Backbone | None) -> tuple[int, ...]:
    """A size of image on which channels are seen: they do not depend on it, and small is quick."""
    size = config.data.image_size
    return tuple(min(side, 2 * row.stride) for side in size) if row else size


def _unnamed(config: Config, what: str) -> ConfigError:
    return ConfigError(f"backbone.at is null: name the module of {config.backbone.name} {what}")


def numbers_of(config: Config) -> int:
    """How many numbers the network of a backbone of ours holds, without its booster.

    Nothing of it is made. Raises ConfigError where there is no such network.
    """
    with torch.device("meta"):
        network, _, _ = _plain(config)
    return sum(tensor.numel() for tensor in network.state_dict().values())


def _planned_width(config: Config) -> int | None:
    """Channels of a token, where nnU-Net's plans say it, so that no source is needed for it."""
    if config.data.nnunet is None:
        return None
    from llm4seg_probe.models.nnunet_plans import section_of

    return section_of(config.data.nnunet["plans"]).width


def parameter_groups(network: nn.Module) -> dict[str, list[Parameter]]:
    """The parameters that are trained, by part: ``cnn``, ``adapters``, ``layer``, ``gates``.

    Gates are those of :meth:`Booster.gates`.
    """
    part: dict[Parameter, str] = {}
    for _, booster in boosters_of(network):
        part.update(dict.fromkeys(booster.parameters(), "adapters"))
        part.update(dict.fromkeys(booster.middle.parameters(), "layer"))
        part.update(dict.fromkeys(booster.gates(), "gates"))
    groups: dict[str, list[Parameter]] = {"cnn": [], "adapters": [], "layer": [], "gates": []}
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
    """Collect what rebuilds a network's decoder without its source: plain values and tensors.

    None without a decoder. What is trained beside it is left to :func:`portable_state`.
    """
    for _, booster in boosters_of(network):
        if isinstance(booster.middle, Decoder):
            tensors = {
                name.replace(".base_layer.", "."): tensor
                for name, tensor in booster.middle.state_dict().items()
                if is_own(name)
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
        mixed=arm.mixed,
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
    sentences = [f"{kind} {_first(names)}" for kind, names in problems.items() if names]
    if sentences:
        raise CheckpointError(
            f"the weights do not fit the network: the file {'; '.join(sentences)}"
        )
    strange = [
        f"{name} ({why})"
        for name, tensor in own.items()
        if (why := _why_strange(name, state[name], tensor))
    ]
    if strange:
        raise CheckpointError(
            f"the weights are no numbers to compute with: {_first(strange)}. The training diverged "
            "or the file is damaged: it says nothing, so train it again"
        )
    network.load_state_dict(dict(state), strict=False)


def _why_strange(name: str, given: Tensor, own: Tensor) -> str:
    """Why a stored tensor cannot stand in the network; empty where it can."""
    if not _is_plain(given, own):
        return str(given.dtype)
    if not _is_finite(given):
        return "not finite"
    # A normalisation takes the root of it: every output behind would be NaN.
    if name.rpartition(".")[2] == "running_var" and bool((given < 0).any()):
        return "a variance below 0"
    return ""


def _is_plain(given: Tensor, own: Tensor) -> bool:
    """Whether a tensor is of the kind of the network's own: floating, or the same whole numbers."""
    if own.is_floating_point():
        return given.is_floating_point()
    return given.dtype == own.dtype


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _first(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
