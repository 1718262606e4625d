"""Published costs of these networks, beside those counted here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.models.backbones import BACKBONES
from llm4seg_probe.models.costs import Costs, language_model
from llm4seg_probe.models.heads import output_channels
from llm4seg_probe.models.reference import LANGUAGE_MODELS

Quantity = Literal["parameters", "trainable", "macs"]
Portion = Literal["cnn", "adapters", "layer", "booster"]

_PORTIONS: dict[Portion, tuple[str, ...]] = {
    "cnn": ("cnn", "encoder", "decoder", "unused"),
    "adapters": ("adapters",),
    "layer": ("layer",),
    "booster": ("adapters", "layer"),
}
_LLAMA, _DEEPSEEK = LANGUAGE_MODELS
_BENCHMARKS = "README of FengheTan9/Medical-Image-Segmentation-Benchmarks, printed as GFLOPs"
_SUMMARY = "a machine-made summary of arXiv 2506.18034, printed as FLOPs; which LLM is not said"
_NOTE = "a third party's note on arXiv 2506.18034"
_COUNTED = "computed from the model's config.json"


@dataclass(frozen=True)
class Published:
    """One number: of which quantity and portion, in which setting, and who gives it.

    ``backbone`` and ``model`` are the setting's, None where the number does not depend on them;
    multiply-accumulates are those of an image of 256 x 256.
    """

    quantity: Quantity
    portion: Portion
    value: float
    source: str
    backbone: str | None = None
    model: str | None = None


PUBLISHED: tuple[Published, ...] = (
    Published("macs", "cnn", 7.41e9, _BENCHMARKS, backbone="cmunext"),
    Published("macs", "cnn", 65.52e9, _BENCHMARKS, backbone="unet"),
    Published("trainable", "adapters", 1.05e6, _NOTE, backbone="cmunext", model=_LLAMA),
    Published("trainable", "adapters", 4.19e6, _NOTE, backbone="unet", model=_LLAMA),
    Published("parameters", "layer", 60_821_504, _COUNTED, model=_LLAMA),
    Published("parameters", "layer", 46_797_824, _COUNTED, model=_DEEPSEEK),
    Published("macs", "booster", 16e9, _SUMMARY, model=_LLAMA),
    Published("macs", "booster", 16e9, _SUMMARY, model=_DEEPSEEK),
)


@dataclass(frozen=True)
class Beside:
    """A published number beside ours."""

    quantity: Quantity
    portion: Portion
    ours: int
    published: float
    source: str

    def row(self) -> dict[str, Any]:
        """All of it as plain values, and ours divided by the published one."""
        return {**asdict(self), "ratio": self.ours / self.published}


def beside(config: Config, costs: Costs) -> list[Beside]:
    """The published numbers that speak of the setting of a configuration, beside its costs."""
    rows = [row for row in (*_of_the_backbone(config), *PUBLISHED) if _speaks_of(row, config)]
    return [
        Beside(row.quantity, row.portion, ours, row.value, row.source)
        for row in rows
        if (ours := _ours(row, costs))
    ]


def _of_the_backbone(config: Config) -> list[Published]:
    """The parameter count in the backbone's own row, where channels and classes are those."""
    row = BACKBONES.get(config.backbone.name)
    if row is None or row.parameters is None:
        return []
    if (config.data.channels, output_channels(config)) != (row.channels, row.classes):
        return []
    name = config.backbone.name
    return [Published("parameters", "cnn", row.parameters, row.source, backbone=name)]


def _speaks_of(row: Published, config: Config) -> bool:
    if row.backbone and (row.backbone != config.backbone.name or config.backbone.widths):
        return False
    if row.quantity == "macs" and config.data.image_size != (256, 256):
        return False
    if row.model is None:
        return True
    # Numbers of one whole layer, between its two adapters, at the bottleneck.
    arm, booster = ARMS[config.arm], config.booster
    whole = arm.middle == "layer" and arm.halves == "both" and not (arm.low_rank or arm.mixed)
    return (
        whole
        and len(booster.layers) == 1
        and config.backbone.at is None
        and _is(row.model, booster.source)
    )


def _is(model: str, source: str) -> bool:
    """Whether a source is this language model, whatever it is called, by the sizes of its layer."""
    layer, wanted = language_model(source), LANGUAGE_MODELS[model]
    return all(
        layer.get(name) == wanted[name]
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )


def _ours(row: Published, costs: Costs) -> int:
    return sum(getattr(costs.part(part), row.quantity) for part in _PORTIONS[row.portion])
