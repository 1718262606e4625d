"""Putting a booster into a network: after a named module, in place of it, seen by nobody else."""

from __future__ import annotations

import copy
from collections.abc import Iterator, MutableMapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from llm4seg_probe.config import BoosterConfig, validated
from llm4seg_probe.errors import ConfigError, SiteError, unknown
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.models.booster import build_booster
from llm4seg_probe.models.dry_run import Output, check_it_matters, features_after

_NEAREST = 12


class Boosted(nn.Module):
    """A module and the booster after it, in the module's place.

    What is asked of it beside being called is answered by the module itself. ``output`` says
    which entry of a tuple, list or mapping is boosted; the others pass.
    """

    def __init__(self, host: nn.Module, booster: nn.Module, output: Output = None) -> None:
        super().__init__()
        self.host = host
        self.booster = booster
        self._output = output
        self.training = host.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns, with the chosen features boosted."""
        produced = self.host(*args, **kwargs)
        if self._output is None:
            return self.booster(produced)
        return exchanged(produced, self._output, self.booster(produced[self._output]))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "host":  # not there yet: while it is being built or unpickled
                raise
            return getattr(self.host, name)


class BoostedSequence(Boosted):
    """The same for a module that is also a sequence of modules."""

    def __len__(self) -> int:
        return len(self.host)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.host.children())

    def __getitem__(self, index: Any) -> Any:
        return self.host[index]  # type: ignore[index]


def boost(
    network: nn.Module,
    at: str,
    *,
    source: str = "smollm2-135m",
    layer: int | Sequence[int] = 15,
    input_shape: Sequence[int],
    output: Output = None,
    arm: str = "llm",
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """A copy of the network with a booster after the module named ``at``; it is left as it was.

    ``input_shape`` is that of one image, (C, H, W) or (C, D, H, W): the features' channels are
    seen in one dry run. ``output`` says which entry is boosted where the module returns a
    tuple, list or mapping. ``arm`` is what stands in the booster, ``seed`` that of its initial
    weights, and ``options`` the further fields of BoosterConfig.

    Raises SiteError where no booster can go, ConfigError for options that there are not.
    """
    if arm not in ARMS or arm == "cnn":
        raise ConfigError(unknown("arm", arm, [name for name in ARMS if name != "cnn"]))
    if len(input_shape) not in (3, 4):
        raise ConfigError(
            f"input_shape is {tuple(input_shape)}: give that of one image without the batch, "
            "(C, H, W) or (C, D, H, W)"
        )
    layers = layer if isinstance(layer, int) else tuple(layer)
    chosen = validated({"source": source, "layer": layers, **options}, BoosterConfig, "boost")
    boosted = copy.deepcopy(network)
    insert(boosted, at, input_shape, arm=arm, options=chosen, seed=seed, output=output)
    return boosted


def insert(
    network: nn.Module,
    at: str,
    input_shape: Sequence[int],
    *,
    arm: str,
    options: BoosterConfig,
    seed: int,
    output: Output = None,
    decoder: Decoder | None = None,
) -> None:
    """Put the booster of an arm into the network itself, after the module named ``at``.

    Raises SiteError where none can go; the network is then of no further use.
    """
    host = find_module(network, at)
    places = [  # a network may hold one module under several names
        (parent, name)
        for parent in network.modules()
        for name, child in parent._modules.items()
        if child is host
    ]
    features = features_after(network, host, at, input_shape, output)
    booster = build_booster(arm, options, features.shape[1], seed, decoder)
    booster.train(host.training).to(features.device)
    for adapter in (booster.adapter1, booster.adapter2):
        adapter.to(features.dtype)
    kind = BoostedSequence if isinstance(host, nn.Sequential) else Boosted
    boosted = kind(host, booster, output)
    for parent, name in places:
        parent.register_module(name, boosted)
    check_it_matters(network, boosted, at, input_shape)


def find_module(network: nn.Module, path: str) -> nn.Module:
    """The module of this name inside a network. Raises SiteError with the nearest names."""
    modules = dict(network.named_modules(remove_duplicate=False))
    modules.pop("")
    if path not in modules:
        nearest = get_close_matches(path, modules, n=_NEAREST, cutoff=0)
        raise SiteError(unknown("module", path, nearest))
    return modules[path]


def exchanged(produced: Any, output: int | str, new: Tensor) -> Any:
    """What a module produced, with one entry exchanged, in a container of the same type."""
    if isinstance(produced, MutableMapping):
        exchanged = copy.copy(produced)
        exchanged[output] = new
        return exchanged
    items = list(produced)
    items[output] = new  # type: ignore[index]
    if hasattr(produced, "_fields"):
        return type(produced)(*items)
    return type(produced)(items)
