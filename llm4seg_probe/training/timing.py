"""Time a few real training steps on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from llm4seg_probe.config import Config
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.subsets import all_training_images, training_split
from llm4seg_probe.models.devices import device_named
from llm4seg_probe.models.heads import output_channels
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.randomness import generator, seeded
from llm4seg_probe.training.compute import computing, in_memory_format, memory_format
from llm4seg_probe.training.epoch_length import batches_of_epoch
from llm4seg_probe.training.loss import halving_mean, over_scales
from llm4seg_probe.training.optimiser import optimiser
from llm4seg_probe.training.task import scales_of
from llm4seg_probe.training.tasks.registry import part_of

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
