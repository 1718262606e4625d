"""Count the work of a training step: operations and bytes of every kernel, before it is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from llm4seg_probe.config import Config
from llm4seg_probe.models.costs import hollow_network, optimiser_states
from llm4seg_probe.models.heads import output_channels
from llm4seg_probe.training.loss import halving_mean, over_scales
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
