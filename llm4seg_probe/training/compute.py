"""How a run computes: threads, memory, determinism. Nothing here changes what is computed."""

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
from llm4seg_probe.errors import ConfigError, TrainingError

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
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if compute.accelerator == "gpu" and not gpu:
        raise ConfigError(
            "compute.accelerator is 'gpu', but torch finds none here: set it to 'auto' or 'cpu'"
        )
    on_gpu = gpu and compute.accelerator != "cpu"
    if on_gpu and compute.devices > max(torch.cuda.device_count(), 1):
        raise ConfigError(
            f"compute.devices is {compute.devices}, but there are {torch.cuda.device_count()} GPUs "
            "here: lower it, or set compute.accelerator to 'cpu' for processes on the CPU"
        )
    if compute.sync_batchnorm and compute.processes > 1 and not on_gpu:
        raise ConfigError(
            "compute.sync_batchnorm is true, but torch shares batch statistics between GPUs only, "
            "and this is for the CPU: set it to false"
        )
    if compute.precision == "fp16" and (compute.accelerator == "cpu" or not gpu):
        raise ConfigError(
            f"compute.precision is 'fp16', which needs a GPU, but compute.accelerator is "
            f"'{compute.accelerator}'{'' if gpu else ' and there is none here'}: set precision to "
            "'bf16' or 'fp32'"
        )


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
                f"before is kept ({_first_line(error)})"
            ) from error
        if type(error).__module__.startswith(_OF_THE_COMPILER):
            raise TrainingError(
                "compute.compile is true, but torch.compile does not work here: "
                f"{_first_line(error)}. Set it to false"
            ) from error
        raise


def _is_for_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def arranged(network: nn.Module, config: Config) -> nn.Module:
    """The network with its convolutions' weights in the configured memory format."""
    # torch's type stubs do not know this overload of Module.to, its documentation does.
    network.to(memory_format=memory_format(config))  # type: ignore[call-overload]
    return network
