"""How long a training step takes on this machine, by taking a few."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import torch

from llm4seg_probe.config import Config
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.models.output import output_channels
from llm4seg_probe.randomness import generator, seeded
from llm4seg_probe.training.compute import arranged, computing, memory_format
from llm4seg_probe.training.loss import SegmentationLoss, halving_mean, over_scales
from llm4seg_probe.training.optimiser import optimiser
from llm4seg_probe.training.task import scales_of

_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepTime:
    """Median seconds of one batch's training on the CPU, and how many batches a run takes."""

    seconds: float
    steps: int

    @property
    def run_seconds(self) -> float:
        """All training steps of a run; reading the images, validation and scoring come on top."""
        return self.seconds * self.steps


def step_time(config: Config, repeats: int = 5) -> StepTime:
    """Train the network of a configuration for a few steps on noise, and take the time.

    On the CPU, with the configured threads and precision. The weights of the layer and the data
    set's index are fetched if need be. Raises a UserError where they cannot be had.
    """
    split = split_of(open_collection(config.data.name, classes=config.data.classes), config.data)
    patches = config.data.patches_per_image if config.data.sampling == "patches" else 1
    batches = math.ceil(len(split.train) * patches / config.training.batch_size)
    steps = config.training.epochs * batches
    with computing(config.compute), seeded(config.seed, "timing"):
        return StepTime(median_step(config, repeats), steps)


def median_step(config: Config, repeats: int) -> float:
    """Median seconds of a training step on noise, over this many after a first one."""
    network = arranged(build_network(config), config)
    chosen = optimiser(config.training.optimiser, parameter_groups(network))
    loss_of = SegmentationLoss(config.training)
    images, masks = _noise(config)
    dtype = _PRECISION.get(config.compute.precision)
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        chosen.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            produced = network(images)
        wanted = (len(masks), output_channels(config), *masks.shape[2:])
        scales = scales_of(produced, wanted, supervised=True)
        halving_mean(over_scales(loss_of, scales, masks)).backward()  # type: ignore[no-untyped-call]
        chosen.step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])  # The first also makes room for everything.


def _noise(config: Config) -> tuple[torch.Tensor, torch.Tensor]:
    data, batch = config.data, config.training.batch_size
    source = generator(config.seed, "timing")
    images = torch.randn((batch, data.channels, *data.image_size), generator=source)
    labels = torch.randint(len(data.classes) + 1, (batch, *data.image_size), generator=source)
    masks = torch.stack([labels == number + 1 for number in range(len(data.classes))], 1)
    return images.to(memory_format=memory_format(config)), masks.float()
