"""The sources of decoder layers and their contents, for ``llm list``, ``show`` and ``fetch``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.llm.embedded import EMBEDDED
from llm4seg_probe.llm.sources import INDEX, SINGLE, Here, HubRepository, Source, open_source
from llm4seg_probe.progress import track

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ListedSource:
    """One line of ``llm list``. ``gated``: the Hub wants an account and the licence accepted."""

    name: str
    kind: Literal["embedded", "hub"]
    licence: str
    layers: int
    width: int
    gated: bool
    cached: bool


@dataclass(frozen=True)
class ShownLayer:
    """One layer of a source; ``window`` in tokens, None where it sees all.

    ``sha256`` is None where the layer is not on this machine.
    """

    layer: int
    parameters: int
    window: int | None
    sha256: str | None


@dataclass(frozen=True)
class ShownSource:
    """The contents of a source, as ``llm show`` prints them."""

    name: str
    architecture: str
    depth: int
    width: int
    heads: int
    key_value_heads: int
    head_width: int
    mlp_width: int
    layers: tuple[ShownLayer, ...]


# Hub id: licence, layers, width, gated; as on the model's page. Any decoder of a family in
# ARCHITECTURES works, these are the paper's and small ones.
_WELL_KNOWN: dict[str, tuple[str, int, int, bool]] = {
    "meta-llama/Llama-3.2-1B": ("Llama 3.2", 16, 2048, True),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": ("MIT", 28, 1536, False),
    "HuggingFaceTB/SmolLM2-1.7B": ("Apache-2.0", 24, 2048, False),
    "Qwen/Qwen2.5-0.5B": ("Apache-2.0", 24, 896, False),
    "Qwen/Qwen3-0.6B": ("Apache-2.0", 28, 1024, False),
    "google/gemma-3-1b-pt": ("Gemma", 26, 1152, True),
    "mistralai/Mistral-7B-v0.3": ("Apache-2.0", 32, 4096, False),
}


def list_sources() -> list[ListedSource]:
    """Embedded models, then well-known ones of the Hub; nothing is fetched to know this."""
    embedded = [
        ListedSource(
            name=model.name,
            kind="embedded",
            licence=model.licence,
            layers=model.config["num_hidden_layers"],
            width=model.config["hidden_size"],
            gated=False,
            cached=_has_weights(model),
        )
        for model in EMBEDDED.values()
    ]
    hub = [
        ListedSource(name, "hub", *facts, cached=_has_weights(HubRepository(name)))
        for name, facts in _WELL_KNOWN.items()
    ]
    return embedded + hub


def show_source(name: str) -> ShownSource:
    """Describe a source. At most its config is fetched; hashes are of what is here already.

    Raises SourceError when there is no such source, or its family is not supported.
    """
    from llm4seg_probe.llm.architectures import config_from, shapes_of, skeleton, window_of
    from llm4seg_probe.llm.stored_weights import read_config

    source = open_source(name)
    config = config_from(read_config(source), source.name)
    shapes = shapes_of(skeleton(config, (1,)).layers[0])
    parameters = sum(math.prod(shape) for shape in shapes.values())
    hashes = _hashes(source, config.num_hidden_layers, shapes)
    return ShownSource(
        name=source.name,
        architecture=config.model_type,
        depth=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        key_value_heads=config.num_key_value_heads,
        head_width=getattr(config, "head_dim", None)
        or config.hidden_size // config.num_attention_heads,
        mlp_width=config.intermediate_size,
        layers=tuple(
            ShownLayer(number, parameters, window_of(config, number), sha256)
            for number, sha256 in enumerate(hashes, start=1)
        ),
    )


def fetch_source(name: str, layers: Sequence[int] | None = None) -> Path:
    """Bring what these layers (None: all) need to this machine, and return its folder.

    Raises SourceError or DownloadError when that cannot be.
    """
    from llm4seg_probe.llm.architectures import config_from
    from llm4seg_probe.llm.stored_weights import layer_numbers, read_config, stored_weights

    source = open_source(name)
    depth = config_from(read_config(source), source.name).num_hidden_layers
    numbers = layer_numbers(layers or range(1, depth + 1), depth, source.name)
    stored = stored_weights(source)
    paths = [path for number in numbers for path in stored.fetch(number)]
    return paths[0].parent


def fetch_layers(booster: BoosterConfig, *, mixed: bool) -> Path:
    """Bring the layers of an arm of a configuration to this machine, and return their folder.

    Raises as :func:`fetch_source`, and ConfigError for a layer that stands twice in a mixture.
    """
    from llm4seg_probe.llm.architectures import config_from
    from llm4seg_probe.llm.mixing import chosen_layers
    from llm4seg_probe.llm.stored_weights import read_config

    source = open_source(booster.source)
    depth = config_from(read_config(source), source.name).num_hidden_layers
    return fetch_source(source.name, chosen_layers(booster, depth, source.name, mixed=mixed))


def _has_weights(source: Source) -> bool:
    return source.local(SINGLE) is not None or source.local(INDEX) is not None


def _hashes(source: Source, depth: int, shapes: Mapping[str, torch.Size]) -> list[str | None]:
    """Hash of each layer: as written down, else computed where its file is here, else None."""
    from llm4seg_probe.llm.stored_weights import stored_weights

    numbers = range(1, depth + 1)
    known = [source.known_sha256(number) for number in numbers]
    if all(known) or not _has_weights(source):
        return known
    stored = stored_weights(Here(source))
    return [
        stored.layer(number, shapes).sha256 if stored.is_here(number) else None
        for number in track(numbers, f"Hashing {source.name}")
    ]
