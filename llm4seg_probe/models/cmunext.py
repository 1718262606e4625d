"""CMUNeXt (Tang et al., ISBI 2024): large-kernel depthwise encoder, skip-fusion decoder, in 2D.

Module names are those of the published code, so that its checkpoints load unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTHS = (16, 32, 128, 160, 256)
DEPTHS = (1, 1, 1, 3, 1)
KERNELS = (3, 3, 7, 7, 7)


class Pointwise(nn.Conv2d):
    """1 x 1 convolution, which takes torch's fast kernel for small batches on one CPU thread too.

    With fewer than 16 images and one thread torch sends a 1 x 1 convolution to a slow kernel.
    Strips of rows are images of their own to it: with enough of them the fast kernel is taken.
    Parameters, and results but for rounding, are those of ``nn.Conv2d``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in, H, W) to (B, out, H, W)."""
        strips = _strips(features)
        if strips == 1:
            return super().forward(features)
        # Views only, as long as the channels lie innermost.
        batch, _, rows, columns = features.shape
        channels_last = features.permute(0, 2, 3, 1)
        cut = channels_last.reshape(batch * strips, rows // strips, columns, -1)
        mixed = super().forward(cut.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return mixed.reshape(batch, rows, columns, -1).permute(0, 3, 1, 2)


_FAST_BATCH = 16
"""Images from which on torch's convolution is the fast one on a single thread."""
_FEW_ROWS = 24
"""Below, the slow kernel is as fast."""


def _strips(features: Tensor) -> int:
    """Strips of rows that make a batch large enough; 1 where nothing is gained or rows are few."""
    batch, _, rows, _ = features.shape
    strips = math.ceil(_FAST_BATCH / batch)
    slow = (
        features.device.type == "cpu"
        and torch.get_num_threads() == 1
        and features.is_contiguous(memory_format=torch.channels_last)
    )
    return strips if slow and rows >= _FEW_ROWS and rows % strips == 0 else 1


class Residual(nn.Module):
    """``fn(x) + x``."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, H, W) in, the same shape out."""
        return self.fn(features) + features


def _mixer(channels: int, kernel: int) -> nn.Sequential:
    """Depthwise convolution over space, residual, then an inverted bottleneck over channels."""
    depthwise = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
    return nn.Sequential(
        Residual(nn.Sequential(depthwise, nn.GELU(), nn.BatchNorm2d(channels))),
        Pointwise(channels, 4 * channels),
        nn.GELU(),
        nn.BatchNorm2d(4 * channels),
        Pointwise(4 * channels, channels),
        nn.GELU(),
        nn.BatchNorm2d(channels),
    )


class ConvBlock(nn.Module):
    """3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in, H, W) to (B, out, H, W)."""
        return self.conv(features)


class EncoderStage(nn.Module):
    """``depth`` mixers at one width, then a convolution to the width of the stage."""

    def __init__(self, in_channels: int, out_channels: int, depth: int, kernel: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*[_mixer(in_channels, kernel) for _ in range(depth)])
        self.up = ConvBlock(in_channels, out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in, H, W) to (B, out, H, W)."""
        return self.up(self.block(features))


class UpConv(nn.Module):
    """Bilinear upsampling by two, then a convolution as in :class:`ConvBlock`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in, H, W) to (B, out, 2H, 2W)."""
        return self.up(features)


class FusionConv(nn.Module):
    """Skip fusion: skip and upsampled features convolved apart (two groups), then mixed."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=2),
            nn.GELU(),
            nn.BatchNorm2d(in_channels),
            Pointwise(in_channels, 4 * out_channels),
            nn.GELU(),
            nn.BatchNorm2d(4 * out_channels),
            Pointwise(4 * out_channels, out_channels),
            nn.GELU(),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in, H, W) to (B, out, H, W)."""
        return self.conv(features)


class CMUNeXt(nn.Module):
    """CMUNeXt with five stages; the image's height and width are multiples of 16.

    ``widths``, ``depths`` and ``kernels`` have one entry per stage; the defaults are those of
    the published network with 3,149,185 parameters (three channels in, one logit out).
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        kernels: Sequence[int] = KERNELS,
    ) -> None:
        super().__init__()
        w1, w2, w3, w4, w5 = widths
        inputs = (w1, *widths[:4])
        stages = [
            EncoderStage(*sizes) for sizes in zip(inputs, widths, depths, kernels, strict=True)
        ]
        self.pool = nn.MaxPool2d(2)
        self.stem = ConvBlock(in_channels, w1)
        self.encoder1, self.encoder2, self.encoder3, self.encoder4, self.encoder5 = stages
        self.Up5, self.Up_conv5 = UpConv(w5, w4), FusionConv(2 * w4, w4)
        self.Up4, self.Up_conv4 = UpConv(w4, w3), FusionConv(2 * w3, w3)
        self.Up3, self.Up_conv3 = UpConv(w3, w2), FusionConv(2 * w2, w2)
        self.Up2, self.Up_conv2 = UpConv(w2, w1), FusionConv(2 * w1, w1)
        self.Conv_1x1 = Pointwise(w1, out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in, H, W) to logits (B, out, H, W)."""
        x1 = self.encoder1(self.stem(images))
        x2 = self.encoder2(self.pool(x1))
        x3 = self.encoder3(self.pool(x2))
        x4 = self.encoder4(self.pool(x3))
        x5 = self.encoder5(self.pool(x4))
        d5 = self.Up_conv5(torch.cat((x4, self.Up5(x5)), dim=1))
        d4 = self.Up_conv4(torch.cat((x3, self.Up4(d5)), dim=1))
        d3 = self.Up_conv3(torch.cat((x2, self.Up3(d4)), dim=1))
        d2 = self.Up_conv2(torch.cat((x1, self.Up2(d3)), dim=1))
        return self.Conv_1x1(d2)
