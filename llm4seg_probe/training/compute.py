"""Threads, memory and determinism of a run. Nothing here changes what is computed."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from llm4seg_probe.config import ComputeConfig, Config
from llm4seg_probe.errors import ConfigError, TrainingError, first_line
from llm4seg_probe.models.devices import device_named

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**30
# What torch says where the CPU has no more memory; for GPUs it has a class of its own.
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory")
_OF_THE_COMPILER = ("torch._dynamo", "torch._inductor")


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next step instead of giving it back to the kernel.

    A training step allocates and frees the same large tensors again and again; by default each
    is a fresh mapping whose pages the kernel has to clear. The bits stay the same. Returns
    whether the C library took the settings (glibc only).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _LARGEST))


def check_device(compute: ComputeConfig) -> None:
    """Raise ConfigError where this machine cannot compute as configured."""
    on_gpu = device_named(compute.device, "compute.device").type != "cpu"
    if on_gpu and compute.devices > max(torch.cuda.device_count(), 1):
        raise ConfigError(
            f"compute.devices is {compute.devices}, but there are {torch.cuda.device_count()} GPUs "
            "here: lower it, or set compute.device to 'cpu' for processes on the CPU"
        )
    if compute.sync_batchnorm and compute.processes > 1 and not on_gpu:
        raise ConfigError(
            "compute.sync_batchnorm is true, but torch shares batch statistics between GPUs only, "
            "and this is for the CPU: set it to false"
        )
    if compute.precision == "fp16" and not on_gpu:
        there = compute.device == "cpu" and _has_gpu()
        raise ConfigError(
            "compute.precision is 'fp16', which needs a GPU, but compute.device is "
            f"'{compute.device}'{'' if there else ' and there is none here'}: set precision to "
            "'bf16' or 'fp32'"
        )


def _has_gpu() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


@contextmanager
def computing(compute: ComputeConfig) -> Iterator[None]:
    """Run a block with the configured threads and deterministic algorithms, then put both back."""
    if compute.keep_freed_memory:
        keep_freed_memory()
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    settings: Any = torch.utils.deterministic  # its module is replaced by an untyped class
    fills = settings.fill_uninitialized_memory
    # cuBLAS is deterministic only with a fixed workspace, which it reads when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(compute.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh tensors with NaN is for finding bugs; it costs a tenth of a training step.
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        settings.fill_uninitialized_memory = fills


def memory_format(config: Config) -> torch.memory_format:
    """The torch memory format that a configuration means for its 2D or 3D images."""
    if config.compute.memory_format == "contiguous":
        return torch.contiguous_format
    return torch.channels_last if len(config.data.image_size) == 2 else torch.channels_last_3d


@contextmanager
def failures_named(config: Config) -> Iterator[None]:
    """Say in one line what to do where memory runs out, or torch.compile does not work.

    Raises TrainingError for both.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if _is_for_memory(error):
            data, training = config.data, config.training
            raise TrainingError(
                f"memory ran out. Lower training.batch_size (it is {training.batch_size}; "
                "training.accumulate makes up for it) or data.image_size (it is "
                f"{list(data.image_size)}), or set booster.gradient_checkpointing. What was saved "
                f"before is kept ({first_line(error)})"
            ) from error
        if type(error).__module__.startswith(_OF_THE_COMPILER):
            raise TrainingError(
                "compute.compile is true, but torch.compile does not work here: "
                f"{first_line(error)}. Set it to false"
            ) from error
        raise


def _is_for_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def in_memory_format(network: nn.Module, config: Config) -> nn.Module:
    """Put the weights of a network's convolutions into the configured memory format."""
    # torch's type stubs do not know this overload of Module.to, its documentation does.
    network.to(memory_format=memory_format(config))  # type: ignore[call-overload]
    return network
