"""Attributions of the network with random weights in some of its parts: do they change at all?

After Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: a map that stays as it is when
the weights are random explains the image, as an edge detector would, and not what was learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.gate import gated
from llm4seg_probe.activations.passes import Run, evaluating, run_columns
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.measures.attribution import rank_similarity
from llm4seg_probe.models.booster import Booster
from llm4seg_probe.models.devices import device_of
from llm4seg_probe.models.heads import class_logits
from llm4seg_probe.probes.attribute import RANDOMISED, Options
from llm4seg_probe.probes.attribute.methods import Score, baseline_of, explain
from llm4seg_probe.probes.result import Rows
from llm4seg_probe.randomness import generator

Key = tuple[str, str, str]
"""Site, method and class."""
Keys = dict[str, str | int]
"""Some of the columns of a row."""
MODES = ("cascade", "single")


@dataclass(frozen=True, eq=False)
class Whole:
    """An image, the pixels that are explained by class, and the maps of the whole network."""

    one: Batch
    regions: Mapping[str, Tensor]
    maps: Mapping[Key, Tensor]


@dataclass(frozen=True)
class Part:
    """Part of a network: a module, with what lies in it or its own parameters alone."""

    path: str
    recurse: bool = True

    def parameters(self, network: nn.Module) -> list[tuple[str, nn.Parameter]]:
        """Its parameters by name, each once."""
        return list(network.get_submodule(self.path).named_parameters(recurse=self.recurse))


def randomised_table(run: Run, images: Sequence[Whole], options: Options) -> pd.DataFrame:
    """``attribute-randomised.csv`` of one run: how alike maps stay when weights are random.

    A row per site, method, class, image and part of the network, in two ways (``randomised``):
    ``cascade``, with random weights in this part and in all above it, ``order`` 1 being that
    nearest to the output; ``single``, in this part alone. ``similarity`` is Spearman's correlation
    of the absolute values of the map with that of the network as it is, 1 where nothing changed;
    it is empty where the map is the same everywhere. The explained pixels stay those of the
    network as it is. ``tensors`` is how many were drawn.

    Weights are drawn anew from a normal distribution of each tensor's own mean and SD, by address,
    so that all runs of one network have the same draws, and the cascade adds to what it had; a
    frozen layer's as well. Statistics of batch norms stay.

    The nulls have no part: ``other-image``, the map against that of another image, which is alike
    as far as it follows the position; ``permuted``, against itself with its positions exchanged.
    """
    rows = _RandomisedRows(run, options)
    rows.add_nulls(images)
    parts = parts_from_the_top(run.network, images[0].one.images)
    steps = [(mode, order) for mode in MODES for order in range(1, len(parts) + 1)]
    for mode, order in progress.track(steps, f"Random weights in {run.name}"):
        chosen = parts[:order] if mode == "cascade" else parts[order - 1 : order]
        with random_weights(run.network, chosen) as tensors:
            keys: Keys = {
                "randomised": mode,
                "order": order,
                "part": parts[order - 1].path or "network",
            }
            for whole in images:
                rows.add(whole, keys, tensors)
    return rows.table()


def parts_from_the_top(network: nn.Module, images: Tensor) -> list[Part]:
    """The parts of a network that have weights and run, the last to finish first.

    They are its children; a child that holds a booster, or all the weights there are, is parted
    again, so that the layer and its adapters are parts of their own.
    """
    known = list(_parts(network, "")) if _weights(network) else []
    finished: list[str] = []

    def note(path: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            finished.append(path)

        return hook

    handles = [
        network.get_submodule(part.path).register_forward_hook(note(part.path))  # type: ignore[arg-type]
        for part in known
    ]
    try:
        with evaluating(network):
            network(images.to(device_of(network, images.device)))
    finally:
        for handle in handles:
            handle.remove()
    place = {path: number for number, path in enumerate(finished)}
    ran = [part for part in known if part.path in place]
    return sorted(ran, key=lambda part: -place[part.path])


def _parts(module: nn.Module, path: str, is_all: bool = True) -> Iterator[Part]:
    """The parts of a module; ``is_all``: it has all the weights of the network."""
    children = [(name, child) for name, child in module.named_children() if _weights(child)]
    own = next(module.named_parameters(recurse=False), None) is not None
    holds = any(isinstance(one, Booster) for one in module.modules())
    if not children or not (is_all or holds):
        yield Part(path)
        return
    if own:
        yield Part(path, recurse=False)
    for name, child in children:
        below = f"{path}.{name}" if path else name
        yield from _parts(child, below, is_all and len(children) == 1 and not own)


def _weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


@contextmanager
def random_weights(network: nn.Module, parts: Iterable[Part]) -> Iterator[int]:
    """Run a block with the weights of some parts drawn anew; yields how many tensors are.

    A tensor of one element is drawn from a normal distribution of its own size about 0. The
    weights are put back to the bit.
    """
    chosen: dict[nn.Parameter, tuple[str, str]] = {}
    for part in parts:
        for name, parameter in part.parameters(network):
            chosen.setdefault(parameter, (part.path, name))
    kept = {parameter: parameter.detach().clone() for parameter in chosen}
    try:
        with torch.no_grad():
            for parameter, address in chosen.items():
                parameter.copy_(_drawn(parameter.detach(), address))
        yield len(chosen)
    finally:
        with torch.no_grad():
            for parameter, values in kept.items():
                parameter.copy_(values)


def _drawn(values: Tensor, address: tuple[str, str]) -> Tensor:
    draws = torch.randn(values.shape, generator=generator("randomised", *address))
    if values.numel() == 1:
        return (draws * values.abs().float().cpu()).to(values)
    own = values.float()
    return (draws * own.std().cpu() + own.mean().cpu()).to(values)


class _RandomisedRows:
    """Rows of the table, as they come."""

    def __init__(self, run: Run, options: Options) -> None:
        self._run = run
        self._options = options
        self._rows = Rows(RANDOMISED)

    def add(self, whole: Whole, keys: Keys, tensors: int) -> None:
        """Explain one image in the network as it is now, and compare with the maps it had."""
        for key, found in self._maps(whole):
            value = rank_similarity(found, whole.maps[key]).item()
            self._add(whole, key, {**keys, "null": "", "similarity": value, "tensors": tensors})

    def add_nulls(self, images: Sequence[Whole]) -> None:
        """Compare the maps of the whole network with those of other images, and permuted."""
        names = [whole.one.names[0] for whole in images]
        groups = [whole.one.groups[0] for whole in images]
        others = nulls.other_images(names, groups) if len(images) > 1 else []
        for place, whole in enumerate(images):
            for key, found in whole.maps.items():
                name = whole.one.names[0]
                draws = generator("null", "permuted", *key, name)
                order = torch.randperm(found.numel(), generator=draws)
                pairs = {"permuted": found.flatten()[order].reshape(found.shape)}
                if others and key in images[others[place]].maps:
                    pairs["other-image"] = images[others[place]].maps[key]
                for null, other in pairs.items():
                    value = rank_similarity(found, other).item()
                    keys: Keys = {
                        "randomised": "",
                        "order": 0,
                        "part": "",
                        "null": null,
                        "tensors": 0,
                    }
                    self._add(whole, key, {**keys, "similarity": value})

    def _maps(self, whole: Whole) -> Iterator[tuple[Key, Tensor]]:
        network, classes = self._run.network, self._run.config.data.classes
        image = whole.one.images.to(device_of(network, whole.one.images.device))
        baseline = baseline_of(image, self._options)
        log_odds = partial(class_logits, config=self._run.config)
        with evaluating(network):
            for site in dict.fromkeys(key[0] for key in whole.maps):
                with gated(network, site) as gate:
                    for key in whole.maps:
                        if key[0] == site:
                            index = classes.index(key[2])
                            score = Score(network, whole.regions[key[2]], index, log_odds)
                            found = explain(key[1], score, gate, image, self._options, baseline)
                            yield key, found.cpu()

    def _add(self, whole: Whole, key: Key, values: Mapping[str, str | int | float]) -> None:
        site, method, name = key
        image = {"image": whole.one.names[0], "group": whole.one.groups[0]}
        keys = {"site": site, "method": method, "class": name}
        self._rows.add({**run_columns(self._run), **keys, **image, **values})

    def table(self) -> pd.DataFrame:
        """``attribute-randomised.csv``."""
        return self._rows.table()
