"""Running a network once on a black image, to see what a module of it returns and is good for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.errors import SiteError

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
        with _undisturbed(network):
            produced = network(_blank(network, input_shape))
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
