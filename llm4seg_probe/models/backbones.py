"""The CNN backbones: a registry, and the plain network of a configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import nn

from llm4seg_probe.config import BackboneConfig, Config
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.models.heads import output_channels
from llm4seg_probe.reading.bounds import as_error, reason, refuse_more


@dataclass(frozen=True)
class Backbone:
    """One network: how it is built, and what in it is where.

    ``maker`` is a callable as ``package.module:callable``, imported when it is needed; it takes
    in_channels, out_channels, widths and ``arguments``.

    ``bottleneck`` is the module whose output the decoder starts from. ``encoder`` and
    ``decoder`` are modules by scale, the finest first: ``decoder.1`` has the resolution of
    ``encoder.1``. ``stride`` is the side of what one position of the bottleneck stands for, and
    divides every side of the image; ``positions`` is the fewest that the network can be trained on
    (instance norm needs two). ``deep_supervision`` says whether the original supervises
    coarser outputs too; such a network then returns a tuple in training, the full logits first,
    and the logits alone in evaluation.

    ``parameters`` is the count that ``source`` gives for the published network, with
    ``channels`` in and ``classes`` out, and None where there is none. ``note`` gives the reason
    where ours is more than 1 % away.
    """

    description: str
    maker: str
    dimensions: int
    widths: tuple[int, ...]
    stride: int
    bottleneck: str
    encoder: tuple[str, ...]
    decoder: tuple[str, ...]
    parameters: int | None
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 3
    classes: int = 1
    deep_supervision: bool = False
    positions: int = 1
    note: str = ""

    def build(
        self,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        deep_supervision: bool = False,
    ) -> nn.Module:
        """The network with these channels, its weights from the global random state."""
        supervised = {"deep_supervision": deep_supervision} if self.deep_supervision else {}
        network: nn.Module = imported(self.maker)(
            in_channels=in_channels,
            out_channels=out_channels,
            widths=widths,
            **self.arguments,
            **supervised,
        )
        return network


def imported(path: str) -> Any:
    """Import the object named ``package.module:name``.

    Raises ImportError, AttributeError or ValueError.
    """
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _cmunext(
    description: str,
    widths: tuple[int, ...],
    depths: tuple[int, ...],
    kernels: tuple[int, ...],
    parameters: int,
    source: str,
    note: str = "",
) -> Backbone:
    return Backbone(
        description,
        "llm4seg_probe.models.cmunext:CMUNeXt",
        dimensions=2,
        widths=widths,
        stride=16,
        bottleneck="encoder5",
        encoder=tuple(f"encoder{k}" for k in range(1, 6)),
        decoder=tuple(f"Up_conv{k}" for k in range(2, 6)),
        parameters=parameters,
        source=source,
        arguments={"depths": depths, "kernels": kernels},
        note=note,
    )


def _dynunet(
    description: str,
    dimensions: int,
    widths: tuple[int, ...],
    parameters: int | None,
    source: str,
) -> Backbone:
    downs = len(widths) - 2
    return Backbone(
        description,
        "llm4seg_probe.models.monai_networks:dynunet",
        dimensions,
        widths,
        stride=2 ** (downs + 1),
        bottleneck="bottleneck",
        encoder=("input_block", *[f"downsamples.{k}" for k in range(downs)], "bottleneck"),
        decoder=tuple(f"upsamples.{k}" for k in reversed(range(downs + 1))),
        parameters=parameters,
        source=source,
        arguments={"dimensions": dimensions},
        channels=3 if dimensions == 2 else 1,
        classes=1 if dimensions == 2 else 14,
        deep_supervision=True,
        positions=2,
    )


def _mednext(size: str, parameters: int) -> Backbone:
    return Backbone(
        f"MedNeXt-{size} with 3 x 3 x 3 kernels (MONAI)",
        "llm4seg_probe.models.monai_networks:mednext",
        dimensions=3,
        widths=(32, 64, 128, 256, 512),
        stride=16,
        bottleneck="bottleneck",
        encoder=(*[f"enc_stages.{k}" for k in range(4)], "bottleneck"),
        decoder=tuple(f"dec_stages.{k}" for k in reversed(range(4))),
        parameters=parameters,
        source="README of MIC-DKFZ/MedNeXt",
        arguments={"size": size},
        channels=1,
        classes=14,
        deep_supervision=True,
    )


def row_of(config: BackboneConfig) -> Backbone | None:
    """The row of a configured backbone; None for a callable from outside, or an unknown name."""
    if config.name == "nnunet":  # planned for its data, so that its options are its row
        from llm4seg_probe.models.nnunet_plans import row_of as planned_row

        return Backbone(**planned_row(config.options))
    return BACKBONES.get(config.name)


_INNER = ".submodule.1"  # one scale down in MONAI's Attention U-Net

BACKBONES: dict[str, Backbone] = {
    "cmunext": _cmunext(
        "CMUNeXt, the network of the published code",
        (16, 32, 128, 160, 256),
        (1, 1, 1, 3, 1),
        (3, 3, 7, 7, 7),
        3_149_185,
        "the published code, run",
    ),
    "cmunext-s": _cmunext(
        "CMUNeXt-S",
        (8, 16, 32, 64, 128),
        (1, 1, 1, 1, 1),
        (3, 3, 7, 7, 9),
        410_000,
        "CMUNeXt, arXiv 2308.01239",
        note="the paper cuts its counts off instead of rounding: 0.41 M for 417,505, as it prints "
        "3.14 M for the 3,149,185 of CMUNeXt",
    ),
    "cmunext-l": _cmunext(
        "CMUNeXt-L",
        (32, 64, 128, 256, 512),
        (1, 1, 1, 6, 3),
        (3, 3, 7, 7, 7),
        8_290_000,
        "CMUNeXt, arXiv 2308.01239",
    ),
    "unet": Backbone(
        "U-Net, the classical one",
        "llm4seg_probe.models.unet:UNet",
        dimensions=2,
        widths=(64, 128, 256, 512, 1024),
        stride=16,
        bottleneck="encoder.4",
        encoder=tuple(f"encoder.{k}" for k in range(5)),
        decoder=tuple(f"decoder.{k}" for k in range(4)),
        parameters=34_520_000,
        source="README of FengheTan9/Medical-Image-Segmentation-Benchmarks",
    ),
    "attention-unet": Backbone(
        "Attention U-Net (MONAI)",
        "llm4seg_probe.models.monai_networks:attention_unet",
        dimensions=2,
        widths=(64, 128, 256, 512, 1024),
        stride=16,
        bottleneck="model.1" + 3 * _INNER + ".submodule",
        encoder=(
            "model.0",
            *["model.1" + scale * _INNER + ".submodule.0" for scale in range(3)],
            "model.1" + 3 * _INNER + ".submodule",
        ),
        decoder=tuple("model.1" + scale * _INNER for scale in range(4)),
        parameters=34_870_000,
        source="README of FengheTan9/Medical-Image-Segmentation-Benchmarks",
        note="MONAI merges skip and upsampled features with one convolution, the benchmarks' "
        "network with two",
    ),
    "dynunet-2d": _dynunet(
        "nnU-Net's network for 256-pixel images (MONAI's DynUNet)",
        2,
        (32, 64, 128, 256, 512, 512, 512),
        None,
        "nnU-Net configures it for the data at hand and publishes no count",
    ),
    "dynunet-3d": _dynunet(
        "nnU-Net's 3D network in full resolution (MONAI's DynUNet)",
        3,
        (32, 64, 128, 256, 320, 320),
        31_190_000,
        "SegResMamba, table 7 (nnU-Net)",
    ),
    "segresnet-3d": Backbone(
        "SegResNet without its variational branch (MONAI)",
        "llm4seg_probe.models.monai_networks:segresnet",
        dimensions=3,
        widths=(16, 32, 64, 128),
        stride=8,
        bottleneck="down_layers.3",
        encoder=tuple(f"down_layers.{k}" for k in range(4)),
        decoder=tuple(f"up_layers.{k}" for k in reversed(range(3))),
        parameters=4_700_000,
        source="README of IMOP-lab/PaR-Pytorch",
        channels=1,
        classes=14,
    ),
    "mednext-s": _mednext("S", 5_600_000),
    "mednext-b": _mednext("B", 10_500_000),
    "mednext-m": _mednext("M", 17_600_000),
    "mednext-l": _mednext("L", 61_800_000),
    "uxnet-3d": Backbone(
        "3D UX-Net",
        "llm4seg_probe.models.uxnet:UXNet",
        dimensions=3,
        widths=(48, 96, 192, 384, 768),
        stride=16,
        bottleneck="encoder5",
        encoder=tuple(f"encoder{k}" for k in range(1, 6)),
        decoder=tuple(f"decoder{k}" for k in range(2, 6)),
        parameters=53_010_000,
        source="SegResMamba, table 7",
        channels=1,
        classes=14,
    ),
}


def build_plain(config: Config) -> nn.Module:
    """The plain network of a configuration, its weights from the global random state.

    Raises ConfigError where there is no such network, or the image does not fit it.
    """
    channels, classes = config.data.channels, output_channels(config)
    if ":" in config.backbone.name:
        return _from_outside(config.backbone, channels, classes)
    refuse_misfit(config)
    row = _row(config.backbone)
    widths = config.backbone.widths or row.widths
    if config.backbone.widths:
        _check_count(config, row)
    return row.build(channels, classes, widths, config.backbone.deep_supervision)


def refuse_misfit(config: Config) -> None:
    """Raise ConfigError where a backbone of ours is not there, or image or options do not fit it.

    Nothing is built, so that each run of a study can be looked at before the first one begins.
    """
    if ":" not in config.backbone.name:
        row = _row(config.backbone)
        _check_options(config.backbone, row)
        _check_image_size(config, row)


def _row(config: BackboneConfig) -> Backbone:
    row = row_of(config)
    if row is None:
        hint = "; or name a callable of your own as package.module:callable"
        raise ConfigError("backbone.name: " + unknown("backbone", config.name, BACKBONES) + hint)
    return row


def _check_options(config: BackboneConfig, row: Backbone) -> None:
    if config.widths and len(config.widths) != len(row.widths):
        raise ConfigError(
            f"backbone.widths has {len(config.widths)} entries, {list(config.widths)}; "
            f"{config.name} has {len(row.widths)} stages: {list(row.widths)}"
        )
    if config.options and config.name in BACKBONES:
        raise ConfigError(
            f"backbone.options is {config.options}, but {config.name} has no further options; "
            "they are for a callable named as package.module:callable"
        )
    if config.deep_supervision and not row.deep_supervision:
        able = [name for name, other in BACKBONES.items() if other.deep_supervision]
        raise ConfigError(
            f"backbone.deep_supervision is true, but {config.name} has one output; those that "
            f"supervise more: {', '.join(able)}"
        )


def _check_image_size(config: Config, row: Backbone) -> None:
    size = config.data.image_size
    if len(size) != row.dimensions:
        fitting = [name for name, other in BACKBONES.items() if other.dimensions == len(size)]
        raise ConfigError(
            f"data.image_size is {list(size)}, but backbone {config.backbone.name} is "
            f"{row.dimensions}D. For {len(size)}D images there are: {', '.join(fitting)}"
        )
    if config.backbone.name in BACKBONES and any(side % row.stride for side in size):
        raise ConfigError(
            f"data.image_size is {list(size)}, but backbone {config.backbone.name} needs "
            f"multiples of {row.stride}"
        )
    if math.prod(side // row.stride for side in size) < row.positions:
        raise ConfigError(
            f"data.image_size is {list(size)}, which leaves backbone {config.backbone.name} one "
            f"position at its bottleneck; take {2 * row.stride} for a side"
        )


def _check_count(config: Config, row: Backbone) -> None:
    with as_error("backbone.widths", ConfigError, "does not make a network"):
        with torch.device("meta"):
            hollow = row.build(
                config.data.channels, output_channels(config), config.backbone.widths or row.widths,
                config.backbone.deep_supervision,
            )  # fmt: skip
        count = sum(tensor.numel() for tensor in hollow.state_dict().values())
    what = f"backbone.widths is {list(config.backbone.widths or ())}, which makes {count:,} weights"
    refuse_more("parameters", count, what, ConfigError)


def _from_outside(config: BackboneConfig, channels: int, classes: int) -> nn.Module:
    try:
        build = imported(config.name)
    except Exception as error:  # of whatever kind: importing runs the user's own module
        why = f"which cannot be had: {reason(error)}"
        raise ConfigError(f"backbone.name is '{config.name}', {why}") from error
    for option in ("widths", "deep_supervision"):
        if getattr(config, option):
            raise ConfigError(
                f"backbone.{option} is {getattr(config, option)}, but {config.name} takes its "
                "arguments from backbone.options"
            )
    try:
        network = build(in_channels=channels, out_channels=classes, **config.options)
    except Exception as error:  # of whatever kind: the code is the user's own
        raise ConfigError(
            f"{config.name}(in_channels={channels}, out_channels={classes}, "
            f"**{config.options}) fails: {reason(error)}. See backbone.options"
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{config.name} returns a {type(network).__name__}, no torch module")
    return network
