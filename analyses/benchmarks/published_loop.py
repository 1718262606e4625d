"""The published training step, written again: what the benchmarks hold ours against.

As in the published code, and as little as it takes: forward, 0.5 · BCE + Dice, backward, step, the
learning rate for the next step, and the loss as a number. Its scores of each training batch are
left out, which makes it faster than it was.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset, batches
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.models.network import parameter_groups
from llm4seg_probe.training.optimiser import optimiser, schedule

Pair = tuple[Tensor, Tensor]
_SMOOTH = 1e-5


def bce_dice(logits: Tensor, masks: Tensor) -> Tensor:
    """The published loss of logits (B, 1, H, W) against masks of the same shape."""
    entropy = functional.binary_cross_entropy_with_logits(logits, masks)
    probable, wanted = logits.sigmoid().flatten(1), masks.flatten(1)
    together = (probable * wanted).sum(1)
    dice = (2 * together + _SMOOTH) / (probable.sum(1) + wanted.sum(1) + _SMOOTH)
    return 0.5 * entropy + 1 - dice.mean()


def stepper(network: nn.Module, config: Config, steps: int) -> Callable[[Tensor, Tensor], float]:
    """One training step as a function of images and masks, which gives the loss.

    Optimiser and schedule (over ``steps``) are the configured ones, so that no step differs in
    what it computes from one through Lightning.
    """
    chosen = optimiser(config.training.optimiser, parameter_groups(network))
    rates = schedule(config.training.optimiser, chosen, steps)
    network.train()

    def step(images: Tensor, masks: Tensor) -> float:
        loss = bce_dice(network(images), masks)
        chosen.zero_grad()
        loss.backward()
        chosen.step()
        rates.step()
        return loss.item()

    return step


def batches_in_memory(config: Config, images: int | None = None) -> list[Pair]:
    """The first training images of a configuration, all unless ``images``, in contiguous batches.

    Prepared as they are for the network, and not augmented.
    """
    collection = open_collection(config.data.name, classes=config.data.classes)
    ids = split_of(collection, config.data).train[:images]
    dataset = ImageDataset(collection, ids, config.data, augment_seed=None)
    found = batches(dataset, config.training.batch_size)
    return [(batch.images.contiguous(), batch.masks.contiguous()) for batch in found]


def arranged_as(pairs: list[Pair], layout: torch.memory_format) -> list[Pair]:
    """The same batches with their images in a memory format."""
    return [(images.contiguous(memory_format=layout), masks) for images, masks in pairs]
