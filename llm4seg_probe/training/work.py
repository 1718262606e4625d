"""The work of a training step: operations and bytes counted beforehand, seconds measured here."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from llm4seg_probe.config import Config
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.subsets import all_training_images, training_split
from llm4seg_probe.models.costs import hollow_network, optimiser_states
from llm4seg_probe.models.devices import device_named
from llm4seg_probe.models.heads import output_channels
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.randomness import generator, seeded
from llm4seg_probe.training.compute import computing, in_memory_format, memory_format
from llm4seg_probe.training.epochs import batches_of_epoch
from llm4seg_probe.training.loss import halving_mean, over_scales
from llm4seg_probe.training.optimiser import optimiser
from llm4seg_probe.training.task import scales_of
from llm4seg_probe.training.tasks.registry import part_of

KernelKind = Literal["matrix", "convolution", "grouped", "moving"]
KINDS: tuple[KernelKind, ...] = ("matrix", "convolution", "grouped", "moving")
"""Matrix products, convolutions, convolutions of groups (depthwise), and what moves numbers."""
CONTEXT_MB = 1000.0
"""Megabytes of a GPU that CUDA and its libraries' workspaces take in each process."""
_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
_OPTIMISER_KERNELS = 10


@dataclass(frozen=True)
class Kernel:
    """What one operation does: floating-point operations, and bytes read and written."""

    kind: KernelKind
    flops: int
    bytes: int


@dataclass(frozen=True)
class Work:
    """All kernels of a training step on one batch, forward, backward and the optimiser's."""

    kernels: Mapping[Kernel, int]

    @property
    def count(self) -> int:
        """How many kernels are started."""
        return sum(self.kernels.values())

    @property
    def flops(self) -> int:
        """Floating-point operations of all."""
        return sum(kernel.flops * count for kernel, count in self.kernels.items())

    def least_seconds(self, flops: float, bandwidth: float) -> dict[KernelKind, float]:
        """Seconds by kind where each kernel runs at the limit: of arithmetic, or of memory.

        ``flops`` per second and ``bandwidth`` in bytes per second are those of the machine.
        """
        seconds: dict[KernelKind, float] = dict.fromkeys(KINDS, 0.0)
        for kernel, count in self.kernels.items():
            seconds[kernel.kind] += count * max(kernel.flops / flops, kernel.bytes / bandwidth)
        return seconds


class _WorkCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts kernels while it is active; views are none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernels: Counter[Kernel] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        if not (func.is_view or packet is torch.ops.aten.detach):
            flops = _flops(packet, args, kwargs, result)
            moved = sum(
                value.numel() * value.element_size()
                for value in tree_leaves((args, kwargs, result))
                if isinstance(value, Tensor)
            )
            self.kernels[Kernel(_kind(packet, args, bool(flops)), flops, moved)] += 1
        return result


def _flops(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> int:
    """Floating-point operations of matrix products and convolutions; 0 of everything else."""
    if packet in _CONVOLUTIONS:  # torch's own formula for the backward pass leaves out the groups
        backward = packet is _CONVOLUTIONS[1]
        features, weight = (args[1], args[2]) if backward else (args[0], args[1])
        transposed = args[7] if backward else args[6]
        places = features if transposed else (args[0] if backward else result)
        passes = sum(args[10][:2]) if backward else 1
        return int(2 * passes * places.numel() * (weight.numel() // weight.shape[0]))
    formula = flop_registry.get(packet)
    return int(formula(*args, **kwargs, out_val=result)) if formula else 0


def _kind(packet: Any, args: tuple[Any, ...], computes: bool) -> KernelKind:
    if packet in _CONVOLUTIONS:
        groups = args[8] if packet is _CONVOLUTIONS[0] else args[9]
        return "grouped" if groups > 1 else "convolution"
    return "matrix" if computes else "moving"


def work_of_step(config: Config) -> Work:
    """Count the work of one training step of a configuration, without data and without weights.

    The network, its loss and their gradients are computed on torch's ``meta`` device, where
    tensors have shapes alone. Raises ConfigError where the parts do not fit.
    """
    network = hollow_network(config).to("meta").train()
    batch, data = config.training.batch_size, config.data
    images = torch.zeros((batch, data.channels, *data.image_size), device="meta")
    masks = torch.zeros((batch, len(data.classes), *data.image_size), device="meta")
    target = part_of(config).target(masks, config)
    loss_of = part_of(config).loss(config)
    with _WorkCounter() as counter:
        produced = network(images)
        scales = produced if isinstance(produced, tuple | list) else (produced,)
        assert scales[0].shape[1] == output_channels(config)
        halving_mean(over_scales(loss_of, scales, target)).backward()  # type: ignore[no-untyped-call]
    kernels = counter.kernels + _of_optimiser(network, config)
    return Work(dict(kernels))


def _of_optimiser(network: nn.Module, config: Config) -> Counter[Kernel]:
    """Weights, gradients and states read; weights and states written."""
    trained = sum(p.numel() * p.element_size() for p in network.parameters() if p.requires_grad)
    moved = trained * (3 + 2 * optimiser_states(config.training.optimiser))
    kernel = Kernel("moving", 0, moved // _OPTIMISER_KERNELS)
    return Counter({kernel: _OPTIMISER_KERNELS})


_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepTime:
    """Median seconds of one batch's training on a device, and how many batches a run takes."""

    seconds: float
    steps: int
    device: str = "CPU"

    @property
    def run_seconds(self) -> float:
        """All training steps of a run; reading the images, validation and scoring come on top."""
        return self.seconds * self.steps


def step_time(config: Config, repeats: int = 5) -> StepTime:
    """Train the network of a configuration for a few steps on noise, and take the time.

    On the configured device, with its threads and precision. The weights of the layer and the data
    set's index are fetched if need be. Raises a UserError where they cannot be had.
    """
    collection = open_collection(config.data.name, classes=config.data.classes)
    train = training_split(collection, config).train
    of_all = all_training_images(collection, config.data, train)
    steps = config.training.epochs * batches_of_epoch(config, len(train), of_all)
    device = device_named(config.compute.device, "compute.device")
    with computing(config.compute), seeded(config.seed, "timing"):
        return StepTime(median_step(config, repeats), steps, device_name(device))


def median_step(
    config: Config, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median seconds of a training step on noise, over this many after a first one."""
    device = device_named(config.compute.device, "compute.device")
    network = in_memory_format(build_network(config), config).to(device)
    chosen = optimiser(config.training.optimiser, parameter_groups(network))
    part = part_of(config)
    loss_of = part.loss(config)
    images, masks = (tensor.to(device) for tensor in _noise(config))
    dtype = _PRECISION.get(config.compute.precision)
    taken = []
    for _ in range(repeats + 1):
        start = clock()
        chosen.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            produced = network(images)
        target = part.target(masks, config)
        wanted = (len(target), output_channels(config), *target.shape[2:])
        scales = scales_of(produced, wanted, supervised=True)
        halving_mean(over_scales(loss_of, scales, target)).backward()  # type: ignore[no-untyped-call]
        chosen.step()
        finished(device)
        taken.append(clock() - start)
    return statistics.median(taken[1:])  # The first also makes room for everything.


def finished(device: torch.device) -> None:
    """Wait until a device has done what it was given: its clock is not the processor's."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_name(device: torch.device) -> str:
    """What a device is called: the card's own name, or CPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return device.type.upper()


def _noise(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    data, batch = config.data, config.training.batch_size
    source = generator(config.seed, "timing")
    images = torch.randn((batch, data.channels, *data.image_size), generator=source)
    labels = torch.randint(len(data.classes) + 1, (batch, *data.image_size), generator=source)
    masks = torch.stack([labels == number + 1 for number in range(len(data.classes))], 1)
    return images.to(memory_format=memory_format(config)), masks.float()
