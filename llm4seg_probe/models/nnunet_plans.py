"""Write and read the layer in nnU-Net's plans, where all stands that changes the network.

nnU-Net copies the plans into the results and reads them again for prediction, so that a network
is rebuilt as it was trained, wherever that is. The language model's ``config.json`` is in them
too: with it and the checkpoint nobody needs the language model to predict.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from llm4seg_probe.config import BoosterConfig, validated
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.reading.names import is_link, is_there
from llm4seg_probe.reading.text import read_json_object
from llm4seg_probe.storage import write_text

PREPROCESSED = "nnUNet_preprocessed"
"""nnU-Net's variable for the folder of what it has planned and preprocessed."""
KEY = "llm4seg_probe"
"""Name of our section in the plans."""


@dataclass(frozen=True)
class Section:
    """Hold our part of a plans file.

    ``values`` are the contents of the language model's config.json, ``sha256`` the hash of the
    pre-trained layer. With ``store_layer`` false, checkpoints are written without the frozen
    layer, and whoever loads one needs its source again.
    """

    booster: BoosterConfig
    values: Mapping[str, Any]
    sha256: str
    store_layer: bool = True

    @property
    def width(self) -> int:
        """Count the channels of a token inside the language model."""
        from llm4seg_probe.llm.architectures import config_from

        return int(config_from(dict(self.values), self.booster.source).hidden_size)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for the plans file."""
        return {
            "booster": self.booster.model_dump(mode="json"),
            "store_layer": self.store_layer,
            "sha256": self.sha256,
            "language_model": dict(self.values),
        }


def section_of(plans: Mapping[str, Any]) -> Section:
    """Read our section of nnU-Net's plans.

    Raises ConfigError where there is none, or it is broken.
    """
    name = str(plans.get("plans_name", "these plans"))
    found = plans.get(KEY)
    if found is None:
        raise ConfigError(
            f"{name} names no language model: write plans that do with `llm4seg-probe nnunet plans "
            "DATASET --source … --layer … --out NAME`, and train with -p NAME"
        )
    wanted = {"booster", "store_layer", "sha256", "language_model"}
    if not isinstance(found, Mapping) or set(found) != wanted:
        raise ConfigError(
            f"{name}: '{KEY}' holds other fields than {', '.join(sorted(wanted))}: write these "
            "plans again with `llm4seg-probe nnunet plans`"
        )
    booster = validated(dict(found["booster"]), BoosterConfig, f"{name}: {KEY}.booster")
    return Section(
        booster, dict(found["language_model"]), str(found["sha256"]), bool(found["store_layer"])
    )


def section_from(
    source: str, layer: int | Sequence[int], options: Mapping[str, Any], *, store_layer: bool
) -> Section:
    """Make the section for a layer, which is read from its source once for its hash.

    ``options`` are further fields of BoosterConfig. Raises ConfigError, SourceError.
    """
    from llm4seg_probe.llm.decoder import load_decoder

    layers = layer if isinstance(layer, int) else tuple(layer)
    booster = validated(
        {"source": source, "layer": layers, **options}, BoosterConfig, "nnunet plans"
    )
    decoder = load_decoder(booster)
    return Section(booster, decoder.values, decoder.identity.sha256, store_layer)


@dataclass(frozen=True)
class Written:
    """Name the plans that were written, and how many tokens each configuration has."""

    path: Path
    section: Section
    tokens: Mapping[str, int]


@dataclass(frozen=True)
class BasePlans:
    """Hold plans of nnU-Net's that are to be written again under another name, with a layer."""

    folder: Path
    plans: Mapping[str, Any]
    out: str

    def write(self, section: Section) -> Written:
        """Write them. Raises ConfigError where there are other plans of that name already."""
        written = {**self.plans, "plans_name": self.out, KEY: section.to_dict()}
        target = self.folder / f"{self.out}.json"
        if target.exists() and read_json(target, "choose another --out") != written:
            raise ConfigError(
                f"{target} exists with other contents: choose another --out, as results are kept "
                "by the name of their plans"
            )
        write_text(target, json.dumps(written, indent=4, ensure_ascii=False) + "\n")
        return Written(target, section, tokens_of(self.plans))


def base_plans(dataset: str, out: str, base: str = "nnUNetPlans") -> BasePlans:
    """Open the plans ``base`` of a data set, to be written again as ``out``.

    What was preprocessed for them is used as it is. Raises ConfigError for a name that nnU-Net
    would stumble over, and where there are no such plans, or they have a layer.
    """
    if not re.fullmatch(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*", out):
        raise ConfigError(
            f"--out is '{out}': give letters, digits and single underscores, as it becomes part of "
            "a folder's name, which nnU-Net takes apart at two underscores"
        )
    folder = dataset_folder(PREPROCESSED, dataset)
    advice = f"plan it first: nnUNetv2_plan_and_preprocess -d {dataset}"
    plans = read_json(folder / f"{base}.json", advice)
    if KEY in plans:
        raise ConfigError(f"{folder / base}.json has a layer already: name the plans under it")
    for name, entry in plans.get("configurations", {}).items():
        _check_identifier(entry, name, folder)
    return BasePlans(folder, plans, out)


def tokens_of(plans: Mapping[str, Any]) -> dict[str, int]:
    """Count the tokens at the bottleneck, by configuration, where the plan says its strides."""
    found = {}
    for name, entry in plans.get("configurations", {}).items():
        strides = entry.get("architecture", {}).get("arch_kwargs", {}).get("strides")
        size = entry.get("patch_size")
        if not strides or not size:
            continue
        sides = list(size)
        for step in strides:
            steps = step if isinstance(step, list | tuple) else [step] * len(sides)
            sides = [side // by for side, by in zip(sides, steps, strict=True)]
        count = 1
        for side in sides:
            count *= side
        found[name] = count
    return found


def dataset_folder(variable: str, dataset: str) -> Path:
    """Find the folder of a data set, by number or name, under one of nnU-Net's variables.

    Raises ConfigError where the variable is not set, or there is not exactly one.
    """
    root = os.environ.get(variable)
    if not root:
        raise ConfigError(f"{variable} is not set: export it as nnU-Net's own commands need it")
    base = Path(root).expanduser()
    if not base.is_dir():
        raise ConfigError(f"{variable} is {root}, which is no folder")
    pattern = f"Dataset{int(dataset):03d}_*" if dataset.isdecimal() else dataset
    found = sorted(path for path in base.iterdir() if path.is_dir() and path.match(pattern))
    if len(found) != 1:
        there = ", ".join(sorted(path.name for path in base.iterdir() if path.is_dir())) or "none"
        what = f"{len(found)} folders" if found else "no folder"
        raise ConfigError(f"{what} {pattern} in {variable} ({base}); there are: {there}")
    return found[0]


def read_json(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON file. Raises ConfigError with the advice where it is not there."""
    if not is_there(path) and not is_link(path):
        raise ConfigError(f"no such file: {path}; {advice}")
    return read_json_object(path, ConfigError)


def _check_identifier(entry: Mapping[str, Any], name: str, folder: Path) -> None:
    # Plans without it (nnU-Net before 2.2) would look for preprocessed data under the new name.
    if "inherits_from" not in entry and "data_identifier" not in entry:
        raise ConfigError(
            f"{folder}: the configuration {name} has no data_identifier: plan it again with a "
            "present nnU-Net"
        )


NAME = "nnunet"
"""Value of backbone.name; backbone.options are what the plans call ``architecture``."""

_NETWORKS = re.compile(r"dynamic_network_architectures(\.\w+)+")
_PARTS = re.compile(r"(torch\.nn|dynamic_network_architectures)(\.\w+)+")


def row_of(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Make the fields of a planned network's row among the backbones.

    Raises ConfigError for one without stages, or by strangers.
    """
    _check_names(architecture)
    arguments = architecture["arch_kwargs"]
    features, strides = arguments.get("features_per_stage"), arguments.get("strides")
    if not isinstance(features, list | tuple) or not isinstance(strides, list | tuple):
        raise ConfigError(
            f"{architecture['network_class_name']} has no stages in its plans, after whose last "
            "one the booster goes: PlainConvUNet and ResidualEncoderUNet have"
        )
    stages = len(features)
    axes = 3 if str(arguments.get("conv_op", "")).endswith("3d") else 2
    total = [1] * axes
    for step in strides:
        steps = step if isinstance(step, list | tuple) else [step] * axes
        total = [side * by for side, by in zip(total, steps, strict=True)]
    return {
        "description": "a network that nnU-Net has planned",
        "maker": f"{__name__}:planned",
        "dimensions": axes,
        "widths": tuple(features),
        "stride": max(total),
        "bottleneck": f"encoder.stages.{stages - 1}",
        "encoder": tuple(f"encoder.stages.{stage}" for stage in range(stages)),
        "decoder": tuple(f"decoder.stages.{stage}" for stage in reversed(range(stages - 1))),
        "parameters": None,
        "source": "nnU-Net configures it for the data at hand",
        "arguments": {"architecture": dict(architecture)},
    }


def planned(
    in_channels: int, out_channels: int, widths: Sequence[int], architecture: Mapping[str, Any]
) -> nn.Module:
    """Build the network of the plans, with its full logits alone as output.

    Raises ConfigError where its class is not to be had, or takes other arguments.
    """
    _check_names(architecture)
    arguments = dict(architecture["arch_kwargs"])
    try:
        for name in architecture["_kw_requires_import"]:
            if arguments.get(name) is not None:
                arguments[name] = _class(arguments[name])
        network: nn.Module = _class(architecture["network_class_name"])(
            input_channels=in_channels,
            num_classes=out_channels,
            deep_supervision=False,
            **arguments,
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{architecture['network_class_name']} is not installed here ({error}): "
            "pip install 'llm4seg-probe[nnunet]'"
        ) from error
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{architecture['network_class_name']} cannot be built from these plans: {error}"
        ) from error
    draw: Any = getattr(network, "initialize", None)
    if draw is not None:
        network.apply(draw)
    return network


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"{path}, which the plans name, is no torch module")
    return found


def _check_names(architecture: Mapping[str, Any]) -> None:
    wanted = {"network_class_name", "arch_kwargs", "_kw_requires_import"}
    if not wanted <= set(architecture):
        raise ConfigError(
            "backbone.options of 'nnunet' are what nnU-Net's plans call architecture: "
            f"{', '.join(sorted(wanted))}"
        )
    name = str(architecture["network_class_name"])
    if not _NETWORKS.fullmatch(name):
        raise ConfigError(
            f"the plans name the network {name}: a file may name those of "
            "dynamic_network_architectures only, as to import another is to run its code"
        )
    for argument in architecture["_kw_requires_import"]:
        part = architecture["arch_kwargs"].get(argument)
        if part is not None and not _PARTS.fullmatch(str(part)):
            raise ConfigError(
                f"the plans name {part} for {argument}: a file may name parts of torch.nn and of "
                "dynamic_network_architectures only, as to import another is to run its code"
            )
