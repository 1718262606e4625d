"""Devices by the words of the command line and of configurations: auto, cpu, cuda, cuda:1, mps."""

from __future__ import annotations

import re

import torch
from torch import nn

from llm4seg_probe.errors import ConfigError

AUTO = "auto"


def device_named(name: str, field: str = "device") -> torch.device:
    """The device that a word means here: ``auto`` is a GPU where there is one, else the CPU.

    Raises ConfigError for a word that is none, and for a device that this machine does not have;
    ``field`` is what it is called in the sentence.

    >>> device_named("cpu")
    device(type='cpu')
    """
    if name == AUTO:
        return device_named(_best())
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?|mps", name):
        raise ConfigError(f"{field} is '{name}': give auto, cpu, cuda, cuda:1 or mps")
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError(f"{field} is 'mps', but torch finds none here: {_INSTEAD}")
        return torch.device("mps")
    count = gpu_count()
    if int(number or 0) >= count:
        found = ", ".join(f"cuda:{index}" for index in range(count)) or "none"
        raise ConfigError(f"{field} is '{name}', but torch finds {found} here: {_INSTEAD}")
    return torch.device("cuda", int(number or 0))


_INSTEAD = "set it to 'auto' or 'cpu'"


def gpu_count() -> int:
    """How many CUDA devices torch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _best() -> str:
    if gpu_count():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_of(network: nn.Module, otherwise: torch.device) -> torch.device:
    """The device of a network's parameters; ``otherwise`` where it has none."""
    return next((parameter.device for parameter in network.parameters()), otherwise)
