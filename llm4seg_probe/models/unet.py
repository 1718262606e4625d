"""The classical U-Net (Ronneberger et al., MICCAI 2015) as segmentation benchmarks run it, in 2D.

Padded convolutions with batch normalisation, and nearest-neighbour upsampling followed by a
convolution in the decoder: the form with 34.5 million parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512, 1024)


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def _up(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """U-Net with one stage per entry of ``widths``, the finest first.

    The image's height and width are multiples of 2 to the number of stages less one.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, widths: Sequence[int] = WIDTHS
    ) -> None:
        super().__init__()
        inputs = (in_channels, *widths[:-1])
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(
            _double_conv(fine, coarse) for fine, coarse in zip(inputs, widths, strict=True)
        )
        pairs = list(pairwise(widths))
        self.up = nn.ModuleList(_up(coarse, fine) for fine, coarse in pairs)
        self.decoder = nn.ModuleList(_double_conv(2 * fine, fine) for fine, _ in pairs)
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in, H, W) to logits (B, out, H, W)."""
        features = images
        skips: list[Tensor] = []
        for scale, stage in enumerate(self.encoder):
            features = stage(self.pool(features) if scale else features)
            skips.append(features)
        features = skips.pop()
        for scale in reversed(range(len(self.decoder))):
            joined = torch.cat((skips.pop(), self.up[scale](features)), dim=1)
            features = self.decoder[scale](joined)
        return self.head(features)
