"""Insert a booster after a named module.

The wrapper takes the module's place, so that callers do not notice it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import BoosterConfig, validated
from llm4seg_probe.errors import ConfigError, SiteError, first_line, unknown
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.models.axes import Passes, axes_of
from llm4seg_probe.models.booster import build_booster

Output = int | str | None


def features_after(
    network: nn.Module, host: nn.Module, at: str, input_shape: Sequence[int], output: Output
) -> Tensor:
    """The features that the module returns in one dry run of the whole network.

    Raises SiteError where the network fails, or the module gives nothing on a grid.
    """
    seen: list[Any] = []
    hook = host.register_forward_hook(lambda module, inputs, produced: seen.append(produced))
    try:
        with undisturbed(network):
            network(blank(network, input_shape))
    except Exception as error:
        raise SiteError(
            f"the network fails on an image of input_shape {tuple(input_shape)}: "
            f"{first_line(error)}"
        ) from error
    finally:
        hook.remove()
    if len(seen) != 1:
        raise SiteError(
            f"module '{at}' is called {len(seen)} times in one forward pass: name a module that "
            "is called once"
        )
    return on_a_grid(seen[0], at, output)


def check_it_matters(
    network: nn.Module, boosted: nn.Module, at: str, input_shape: Sequence[int]
) -> None:
    """Raise SiteError unless the network's output depends on what stands in the booster's place.

    It need not: transformers collects hidden states by hooks on the modules themselves, and
    hands on what they returned before any booster. ``boosted`` returns NaN in this dry run, and
    NaN survives whatever weights come after it.
    """
    booster, boosted.booster = boosted.booster, _Spoil()
    try:
        with undisturbed(network):
            produced = network(blank(network, input_shape))
    except Exception:  # it runs on an image, so the NaN arrived somewhere
        return
    finally:
        boosted.booster = booster
    floating = [tensor for tensor in _tensors(produced) if tensor.is_floating_point()]
    if floating and not any(tensor.isnan().any() for tensor in floating):
        raise SiteError(
            f"module '{at}' runs, but nothing that the network returns depends on what a booster "
            "after it does (transformers collects hidden states past it): name a module further on"
        )


class _Spoil(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return torch.full_like(features, float("nan"))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def on_a_grid(produced: Any, at: str, output: Output) -> Tensor:
    """The features on a grid in what a module returned. Raises SiteError where there are none."""
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


def blank(network: nn.Module, input_shape: Sequence[int]) -> Tensor:
    """A black image where the network is, in its precision."""
    floating = (value for value in network.parameters() if value.is_floating_point())
    like = next(floating, torch.empty(0))
    return torch.zeros((1, *input_shape), device=like.device, dtype=like.dtype)


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Run a block without gradients in evaluation mode; put modes, buffers and seeds back."""
    modes = {module: module.training for module in network.modules()}
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in network.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    with torch.no_grad(), torch.random.fork_rng():
        try:
            network.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
            for module, name, buffer, value in buffers:
                setattr(module, name, buffer.copy_(value))


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
        """Run the module, and boost the chosen features of what it returns."""
        produced = self.host(*args, **kwargs)
        if self._output is None:
            return self.booster(produced)
        return with_entry(produced, self._output, self.booster(produced[self._output]))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "host":  # not there yet: while it is being built or unpickled
                raise
            return getattr(self.host, name)


class BoostedSequence(Boosted, nn.Sequential):
    """The same for a module that is also a sequence of modules.

    It is an ``nn.Sequential`` for code that asks for one (dynamic_network_architectures does);
    its entries are the module's own.
    """

    def __len__(self) -> int:
        return len(self.host)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.host.children())

    def __getitem__(self, index: Any) -> Any:
        return self.host[index]  # type: ignore[index]

    def __setitem__(self, index: Any, module: nn.Module) -> None:
        self.host[index] = module  # type: ignore[operator]

    def __delitem__(self, index: Any) -> None:
        del self.host[index]  # type: ignore[operator]

    def __add__(self, other: Any) -> nn.Sequential:
        return nn.Sequential(self, *other)  # its entries alone would be without the booster

    def append(self, module: nn.Module) -> BoostedSequence:
        """Append to the module's own entries, before the booster."""
        return self.insert(len(self), module)

    def insert(self, index: int, module: nn.Module) -> BoostedSequence:
        """Insert among the module's own entries."""
        self.host.insert(index, module)  # type: ignore[operator]
        return self


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
    """Copy a network and insert a booster after one of its modules.

    Parameters
    ----------
    network : nn.Module
        Is left as it was; its weights are those of the copy.
    at : str
        Path of the module whose output is boosted, as ``network.named_modules()`` names it.
    source : str
        Language model that the decoder layer comes from: an embedded name, a folder in Hugging Face
        layout, or a Hub id.
    layer : int or sequence of int
        Which of its layers, counted from 1; several run in order.
    input_shape : sequence of int
        Shape of one image, (C, H, W) or (C, D, H, W). The channels of the features are seen in one
        dry run of the network.
    output : int or str, optional
        Which entry is boosted where the module returns a tuple, list or mapping.
    arm : str
        What stands in the booster: a name of ``llm4seg-probe list arms`` other than ``cnn``.
    seed : int
        Seed of the initial weights of adapters and random layers.
    **options
        Further fields of ``BoosterConfig``, such as ``attention="bidirectional"``.

    Returns
    -------
    nn.Module
        The copy, whose module ``at`` is followed by the booster.

    Raises
    ------
    SiteError
        Where no booster can go.
    ConfigError
        For an unknown arm or option.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 1))
    >>> boosted = boost(network, "0", input_shape=(1, 16, 16), arm="adapters")
    >>> boosted(torch.zeros(1, 1, 16, 16)).shape
    torch.Size([1, 1, 16, 16])
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
    boosted = _copied(network)
    insert(boosted, at, input_shape, arm=arm, options=chosen, seed=seed, output=output)
    return boosted


def _copied(network: nn.Module) -> nn.Module:
    """A deep copy; raises SiteError for a network that takes no hooks, or keeps an activation."""
    if isinstance(network, torch.jit.ScriptModule):
        raise SiteError(
            "the network is scripted or traced (torch.jit) and takes no booster: boost the network "
            "that it was made from"
        )
    if hasattr(network, "_orig_mod"):
        raise SiteError(
            "the network is compiled (torch.compile): boost network._orig_mod, and compile after"
        )
    try:
        return copy.deepcopy(network)
    except RuntimeError as error:
        kept = [
            f"{path}.{name}" if path else name
            for path, module in network.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, torch.Tensor) and not value.is_leaf
        ]
        if not kept:
            raise SiteError(f"the network cannot be copied: {error}") from error
        raise SiteError(
            f"the network keeps an activation with its gradient in {', '.join(kept)}, and cannot "
            "be copied: set it to None, or detach it, before boosting"
        ) from error


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
    width: int | None = None,
) -> None:
    """Put the booster of an arm into the network itself, after the module named ``at``.

    ``decoder`` and ``width`` are as in :func:`build_booster`.

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
    _channels_behind_the_batch(network, host, at, features, input_shape)
    booster = build_booster(arm, options, features.shape[1], seed, decoder, width)
    booster.train(host.training).to(features.device)
    for adapter in (booster.adapter1, booster.adapter2):
        adapter.to(features.dtype)
    kind = BoostedSequence if isinstance(host, nn.Sequential) else Boosted
    boosted = kind(host, booster, output)
    for parent, name in places:
        parent.register_module(name, boosted)
    check_it_matters(network, boosted, at, input_shape)


def _channels_behind_the_batch(
    network: nn.Module, host: nn.Module, at: str, features: Tensor, input_shape: Sequence[int]
) -> None:
    """Raise SiteError for features whose channels are last, as those of a Swin transformer."""
    path = next(path for path, module in network.named_modules() if module is host)
    passes = Passes()
    passes.images, passes.channels = 1, int(input_shape[0])
    try:
        axes = axes_of(network, path, features, site=at, passes=passes)
    except SiteError:  # nothing says it: a grid is (B, C, *grid), as the features are documented
        return
    if axes.channels != 1:
        raise SiteError(
            f"module '{at}' returns {tuple(features.shape)} with the channels last; a booster goes "
            "after features (B, C, H, W) or (B, C, D, H, W). Name a module that returns them"
        )


def find_module(network: nn.Module, path: str) -> nn.Module:
    """The module of this name inside a network. Raises SiteError with the nearest names."""
    modules = dict(network.named_modules(remove_duplicate=False))
    modules.pop("")
    if path not in modules:
        nearest = get_close_matches(path, modules, n=_NEAREST, cutoff=0)
        raise SiteError(unknown("module", path, nearest))
    return modules[path]


def with_entry(produced: Any, output: int | str, new: Tensor) -> Any:
    """Exchange one entry of what a module returned, in a container of the same type."""
    if isinstance(produced, MutableMapping):
        changed = copy.copy(produced)
        changed[output] = new
        return changed
    items = list(produced)
    items[output] = new  # type: ignore[index]
    if hasattr(produced, "_fields"):
        return type(produced)(*items)
    return type(produced)(items)
