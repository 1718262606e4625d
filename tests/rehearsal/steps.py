"""Training steps on a card that is not there, of networks as small as they can be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from card import GPU
from torch import Tensor

from llm4seg_probe.config import Config
from llm4seg_probe.models.backbones import BACKBONES
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.training.optimiser import optimiser
from llm4seg_probe.training.task import SegmentationTask

_NARROW = {"segresnet-3d": (8, 16, 32, 64), "mednext": (4, 8, 16, 32, 64)}
FAMILIES = ("cmunext", "unet", "attention-unet", "dynunet-2d", "dynunet-3d", "segresnet-3d",
             "mednext-s", "uxnet-3d")  # fmt: skip


def narrow(config: Config, network: str, **fields: Any) -> Config:
    """A configuration of a backbone, as small as it can be."""
    row = BACKBONES[network]
    family = "mednext" if network.startswith("mednext") else network
    widths = _NARROW.get(family, tuple(range(4, 4 + 2 * len(row.widths), 2)))
    values = config.model_dump()
    values["backbone"] |= {"name": network, "widths": widths}
    values["data"] |= {"image_size": (2 * row.stride,) * row.dimensions, "channels": 1}
    for name, value in fields.items():
        values[name] = values[name] | value if isinstance(value, dict) else value
    return Config.model_validate(values)


def batch_of(config: Config, size: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Noise and masks for a training step, on the CPU as a loader gives them."""
    grid = config.data.image_size
    images = torch.randn((size, config.data.channels, *grid))
    masks = torch.zeros(size, len(config.data.classes), *grid)
    masks[:, 0, : grid[0] // 2] = 1
    return images, masks, torch.arange(size)


class Steps:
    """Training steps of a task on a device, as the loop makes them."""

    def __init__(self, config: Config, device: torch.device = GPU) -> None:
        self.config = config
        self.device = device
        self.task = SegmentationTask(config, build_network(config), _Some(), _Some())
        self.task.to(device)
        self.optimiser = optimiser(config.training.optimiser, parameter_groups(self.task.network))
        self.task._trainer = SimpleNamespace(
            optimizers=[self.optimiser], global_rank=0, world_size=1, loggers=[], current_epoch=0
        )
        self.task.train()

    def make(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """One step on a batch that the loader gave."""
        images, masks, index = self.task.on_before_batch_transfer(batch, 0)
        self.optimiser.zero_grad()
        loss = self.task.training_step(
            (images.to(self.device), masks.to(self.device), index.to(self.device)), 0
        )
        loss.backward()
        self.optimiser.step()
        return loss


class _Some:
    """Two images, as far as a task asks."""

    def __len__(self) -> int:
        return 2
