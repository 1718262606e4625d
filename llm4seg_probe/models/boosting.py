"""Putting a booster into a network: after a named module, in place of it, seen by nobody else."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.config import BoosterConfig, validated
from llm4seg_probe.errors import ConfigError, SiteError, unknown
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.models.booster import build_booster

Output = int | str | None


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
        return _exchanged(produced, self._output, self.booster(produced[self._output]))

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
    """Put the booster of an arm into the network itself, after the module named ``at``."""
    host = find_module(network, at)
    places = [  # a network may hold one module under several names
        (parent, name)
        for parent in network.modules()
        for name, child in parent._modules.items()
        if child is host
    ]
    features = _features_after(network, host, at, input_shape, output)
    booster = build_booster(arm, options, features.shape[1], seed, decoder)
    booster.train(host.training).to(features.device)
    for adapter in (booster.adapter1, booster.adapter2):
        adapter.to(features.dtype)
    kind = BoostedSequence if isinstance(host, nn.Sequential) else Boosted
    boosted = kind(host, booster, output)
    for parent, name in places:
        parent.register_module(name, boosted)


def find_module(network: nn.Module, path: str) -> nn.Module:
    """The module of this name inside a network. Raises SiteError with the nearest names."""
    modules = dict(network.named_modules(remove_duplicate=False))
    modules.pop("")
    if path not in modules:
        raise SiteError(unknown("module", path, modules))
    return modules[path]


def _exchanged(produced: Any, output: int | str, new: Tensor) -> Any:
    """What a module produced, with one entry exchanged, in a container of the same type."""
    if isinstance(produced, Mapping):
        return type(produced)({**produced, output: new})  # type: ignore[call-arg]
    items = list(produced)
    items[output] = new  # type: ignore[index]
    if hasattr(produced, "_fields"):
        return type(produced)(*items)
    return type(produced)(items)


def _features_after(
    network: nn.Module, host: nn.Module, at: str, input_shape: Sequence[int], output: Output
) -> Tensor:
    """The features that the module returns in one dry run of the whole network."""
    seen: list[Any] = []
    hook = host.register_forward_hook(lambda module, inputs, produced: seen.append(produced))
    try:
        with _undisturbed(network):
            network(_blank(network, input_shape))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SiteError(
            f"the network fails on an image of input_shape {tuple(input_shape)}: {reason}"
        ) from error
    finally:
        hook.remove()
    if len(seen) != 1:
        raise SiteError(
            f"module '{at}' is called {len(seen)} times in one forward pass: name a module that "
            "is called once"
        )
    return _on_a_grid(seen[0], at, output)


def _on_a_grid(produced: Any, at: str, output: Output) -> Tensor:
    if output is None and isinstance(produced, tuple | list | Mapping):
        keys = list(produced) if isinstance(produced, Mapping) else range(len(produced))
        described = ", ".join(f"{key!r}: {_described(produced[key])}" for key in keys)
        raise SiteError(
            f"module '{at}' returns a {type(produced).__name__}: say with output=… which entry "
            f"is boosted ({described})"
        )
    features = produced
    if output is not None:
        try:
            features = produced[output]
        except (LookupError, TypeError) as error:
            raise SiteError(
                f"module '{at}' returns {_described(produced)}, which has no entry {output!r}"
            ) from error
    if not isinstance(features, Tensor) or features.ndim not in (4, 5):
        raise SiteError(
            f"module '{at}' returns {_described(features)}; a booster goes after features on a "
            "grid, (B, C, H, W) or (B, C, D, H, W). Name a module that returns them"
        )
    return features


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _blank(network: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """A black image where the network is, in its precision."""
    floating = (value for value in network.parameters() if value.is_floating_point())
    like = next(floating, torch.empty(0))
    return torch.zeros((1, *input_shape), device=like.device, dtype=like.dtype)


@contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Run a block without gradients in evaluation mode; put modes, buffers and seeds back."""
    modes = {module: module.training for module in network.modules()}
    buffers = {buffer: buffer.clone() for buffer in network.buffers()}
    with torch.no_grad(), torch.random.fork_rng():
        try:
            network.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
            for buffer, value in buffers.items():
                buffer.copy_(value)
