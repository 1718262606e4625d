"""Networks of the tests, named in configurations as ``toy_networks:NAME``."""

from __future__ import annotations

import resource

import torch
from torch import Tensor, nn


class WithoutStatistics(nn.Module):
    """Three convolutions, and nothing that depends on the other images of a batch."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, 6, 3, padding=1), nn.GELU(),
            nn.Conv2d(6, 6, 3, padding=1), nn.GELU(),
            nn.Conv2d(6, out_channels, 1),
        )  # fmt: skip
        self.unused = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.layers(images)


class Failing(WithoutStatistics):
    """Goes wrong in its n-th training step, in the way that its name says."""

    def __init__(self, in_channels: int, out_channels: int, step: int) -> None:
        super().__init__(in_channels, out_channels)
        self.left = step

    def forward(self, images: Tensor) -> Tensor:
        """Logits, as long as it goes well."""
        if self.training:
            self.left -= 1
            if self.left == 0:
                self.fail()
        return super().forward(images)

    def fail(self) -> None:
        """Go wrong."""


class Hungry(Failing):
    """Wants more memory than any machine has."""

    def fail(self) -> None:
        """Ask for it."""
        torch.empty(2**56)


class Diverging(Failing):
    """Has no finite weights any more."""

    def fail(self) -> None:
        """Lose them."""
        with torch.no_grad():
            self.layers[0].weight.fill_(float("inf"))


class Filling(Failing):
    """Leaves room for small files only, as a disk that is almost full does."""

    def fail(self) -> None:
        """Forbid this process to write more than a kilobyte into a file."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
