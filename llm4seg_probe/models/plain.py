"""The plain network of a configuration: one of the backbones, or a callable from outside."""

from __future__ import annotations

from torch import nn

from llm4seg_probe.config import BackboneConfig, Config
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.models.backbones import BACKBONES, Backbone, imported
from llm4seg_probe.models.output import output_channels


def build_plain(config: Config) -> nn.Module:
    """The plain network of a configuration, its weights from the global random state.

    Raises ConfigError where there is no such network, or the image does not fit it.
    """
    channels, classes = config.data.channels, output_channels(config)
    if ":" in config.backbone.name:
        return _from_outside(config.backbone, channels, classes)
    row = _row(config.backbone)
    _check_options(config.backbone, row)
    _check_image_size(config, row)
    widths = config.backbone.widths or row.widths
    return row.build(channels, classes, widths, config.backbone.deep_supervision)


def _row(config: BackboneConfig) -> Backbone:
    if config.name not in BACKBONES:
        hint = "; or name a callable of your own as package.module:callable"
        raise ConfigError("backbone.name: " + unknown("backbone", config.name, BACKBONES) + hint)
    return BACKBONES[config.name]


def _check_options(config: BackboneConfig, row: Backbone) -> None:
    if config.widths and len(config.widths) != len(row.widths):
        raise ConfigError(
            f"backbone.widths has {len(config.widths)} entries, {list(config.widths)}; "
            f"{config.name} has {len(row.widths)} stages: {list(row.widths)}"
        )
    if config.options:
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
    if any(side % row.stride for side in size):
        raise ConfigError(
            f"data.image_size is {list(size)}, but backbone {config.backbone.name} needs "
            f"multiples of {row.stride}"
        )


def _from_outside(config: BackboneConfig, channels: int, classes: int) -> nn.Module:
    try:
        build = imported(config.name)
    except (ImportError, AttributeError, ValueError) as error:
        reason = f"which cannot be had: {error}"
        raise ConfigError(f"backbone.name is '{config.name}', {reason}") from error
    for option in ("widths", "deep_supervision"):
        if getattr(config, option):
            raise ConfigError(
                f"backbone.{option} is {getattr(config, option)}, but {config.name} takes its "
                "arguments from backbone.options"
            )
    try:
        network = build(in_channels=channels, out_channels=classes, **config.options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{config.name}(in_channels={channels}, out_channels={classes}, "
            f"**{config.options}) fails: {error}. See backbone.options"
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{config.name} returns a {type(network).__name__}, no torch module")
    return network
