"""3D UX-Net (Lee et al., ICLR 2023): large-kernel volumetric encoder, UNETR-like decoder.

Module names are those of the published code. Its decoder is built from MONAI's blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from monai.networks.blocks.dynunet_block import UnetOutBlock
from monai.networks.blocks.unetr_block import UnetrBasicBlock, UnetrUpBlock
from torch import Tensor, nn

WIDTHS = (48, 96, 192, 384, 768)
_EPSILON = 1e-6
_BLOCKS_PER_STAGE = 2
_FIRST_SCALE = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, D, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, D, H, W) in, the same shape out."""
        return super().forward(features.movedim(1, -1)).movedim(-1, 1)


class UXBlock(nn.Module):
    """Depthwise 7 x 7 x 7 convolution, then each channel widened to four and back by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv3d(channels, channels, 7, padding=3, groups=channels)
        self.norm = ChannelNorm(channels)
        self.pwconv1 = nn.Conv3d(channels, 4 * channels, 1, groups=channels)
        self.act = nn.GELU()
        self.pwconv2 = nn.Conv3d(4 * channels, channels, 1, groups=channels)
        self.gamma = nn.Parameter(torch.full((channels,), _FIRST_SCALE))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, D, H, W) in, the same shape out."""
        update = self.pwconv2(self.act(self.pwconv1(self.norm(self.dwconv(features)))))
        return features + self.gamma[:, None, None, None] * update


class UXEncoder(nn.Module):
    """Four stages at a half, a quarter, an eighth and a sixteenth of the resolution."""

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        stem = nn.Sequential(
            nn.Conv3d(in_channels, widths[0], 7, stride=2, padding=3), ChannelNorm(widths[0])
        )
        downs = [
            nn.Sequential(ChannelNorm(fine), nn.Conv3d(fine, coarse, 2, stride=2))
            for fine, coarse in pairwise(widths)
        ]
        self.downsample_layers = nn.ModuleList([stem, *downs])
        self.stages = nn.ModuleList(
            nn.Sequential(*[UXBlock(width) for _ in range(_BLOCKS_PER_STAGE)]) for width in widths
        )
        for stage, width in enumerate(widths):
            self.add_module(f"norm{stage}", ChannelNorm(width))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, D, H, W) to the normalised features of each stage, the finest first."""
        features, outputs = images, []
        for number, (down, stage) in enumerate(
            zip(self.downsample_layers, self.stages, strict=True)
        ):
            features = stage(down(features))
            outputs.append(self.get_submodule(f"norm{number}")(features))
        return outputs


class UXNet(nn.Module):
    """3D UX-Net; every side of the image is a multiple of 16.

    ``widths`` has five entries: the four stages of the encoder, and the bottleneck.
    """

    def __init__(
        self, in_channels: int = 1, out_channels: int = 14, widths: Sequence[int] = WIDTHS
    ) -> None:
        super().__init__()
        w1, w2, w3, w4, w5 = widths
        block = partial(
            UnetrBasicBlock, 3, kernel_size=3, stride=1, norm_name="instance", res_block=True
        )
        up = partial(
            UnetrUpBlock,
            3,
            kernel_size=3,
            upsample_kernel_size=2,
            norm_name="instance",
            res_block=True,
        )
        self.uxnet_3d = UXEncoder(in_channels, widths[:4])
        self.encoder1, self.encoder2 = block(in_channels, w1), block(w1, w2)
        self.encoder3, self.encoder4 = block(w2, w3), block(w3, w4)
        self.encoder5 = block(w4, w5)
        self.decoder5, self.decoder4 = up(w5, w4), up(w4, w3)
        self.decoder3, self.decoder2 = up(w3, w2), up(w2, w1)
        self.decoder1 = block(w1, w1)
        self.out = UnetOutBlock(3, w1, out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in, D, H, W) to logits (B, out, D, H, W)."""
        stages = self.uxnet_3d(images)
        features = self.encoder5(stages[3])
        features = self.decoder5(features, self.encoder4(stages[2]))
        features = self.decoder4(features, self.encoder3(stages[1]))
        features = self.decoder3(features, self.encoder2(stages[0]))
        features = self.decoder2(features, self.encoder1(images))
        return self.out(self.decoder1(features))
