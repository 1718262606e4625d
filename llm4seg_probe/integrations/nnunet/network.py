"""Put the booster after the bottleneck of nnU-Net's networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from llm4seg_probe.arms import ARMS
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.integrations.nnunet.sealing import Identity, Keeper
from llm4seg_probe.llm.decoder import Decoder, hollow_decoder, load_decoder
from llm4seg_probe.models.insertion import insert
from llm4seg_probe.models.nnunet_plans import Section


def bottleneck_of(network: nn.Module) -> str:
    """Find the module whose output the decoder starts from: the encoder's last stage.

    So it is in PlainConvUNet and ResidualEncoderUNet. Raises ConfigError for other networks.
    """
    stages = getattr(getattr(network, "encoder", None), "stages", None)
    if not isinstance(stages, nn.Sequential | nn.ModuleList) or len(stages) == 0:
        raise ConfigError(
            f"{type(network).__name__} has no encoder.stages, after whose last one the booster "
            "goes: it stands in PlainConvUNet and ResidualEncoderUNet and what is built like them"
        )
    return f"encoder.stages.{len(stages) - 1}"


def boosted(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    arm: str,
    seed: int,
    section: Section,
) -> nn.Module:
    """Put the booster of an arm into the network itself, and a keeper on its state dict.

    The layer's weights are zeros at first, and the network refuses to run: they come from a
    checkpoint, or from the source by :meth:`Keeper.fill`.
    """
    row = ARMS[arm]
    decoder = load = None
    if row.middle == "layer":
        decoder = hollow(section, arm)

        def load() -> Decoder:
            return from_source(section, arm, seed)

    insert(
        network,
        bottleneck_of(network),
        input_shape,
        arm=arm,
        options=section.booster,
        seed=seed,
        decoder=decoder,
        width=section.width,
    )
    options = section.booster.model_dump(mode="json")
    Keeper(network, Identity(arm, seed, options), load=load, store_layer=section.store_layer)
    return network


def hollow(section: Section, arm: str) -> Decoder:
    """Build the decoder of an arm with zeros for weights, without its source."""
    row = ARMS[arm]
    decoder = hollow_decoder(
        section.booster, section.values, weights=row.weights, halves=row.halves, mixed=row.mixed
    )
    # One zero seen many times cannot be written to.
    full = {
        name: tensor.clone(memory_format=_whole()) for name, tensor in decoder.state_dict().items()
    }
    decoder.load_state_dict(full, assign=True)
    return decoder


def from_source(section: Section, arm: str, seed: int) -> Decoder:
    """Load the decoder of an arm, comparing the pre-trained layer with the plans' hash.

    The plans have the hash of ``booster.layer``: for a mixture it says that the source is theirs.
    Raises SourceError where it is another one, or none.
    """
    row = ARMS[arm]
    needs_tensors = row.weights != "random" or section.booster.init != "normal"
    is_of_plans = row.weights == "pretrained" and not row.mixed
    if needs_tensors and not is_of_plans:
        load_decoder(section.booster, expect_sha256=section.sha256)
    expected = section.sha256 if is_of_plans else None
    return load_decoder(
        section.booster,
        weights=row.weights,
        halves=row.halves,
        mixed=row.mixed,
        seed=seed,
        expect_sha256=expected,
    )


def small_input(
    channels: int, patch_size: Sequence[int], arguments: Mapping[str, Any]
) -> tuple[int, ...]:
    """Choose an input on which a network of these arguments shows its channels: (C, *sides).

    Twice what one position of the bottleneck stands for, where the strides say that; at most the
    patch.
    """
    strides = arguments.get("strides")
    if not isinstance(strides, list | tuple):
        return (channels, *patch_size)
    total = [1] * len(patch_size)
    for step in strides:
        steps = step if isinstance(step, list | tuple) else [step] * len(total)
        total = [side * by for side, by in zip(total, steps, strict=True)]
    return (channels, *(min(side, 2 * by) for side, by in zip(patch_size, total, strict=True)))


def _whole() -> Any:
    import torch

    return torch.contiguous_format
