"""Networks in the shape of dynamic_network_architectures': an encoder that its decoder knows."""

import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, channels, features, strides, conv, norm):
        super().__init__()
        widths = [channels, *features]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(conv(a, b, 3, stride, 1), norm(b), nn.LeakyReLU())
                for a, b, stride in zip(widths, features, strides, strict=False)
            )
        )

    def forward(self, x):
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


class Decoder(nn.Module):
    def __init__(self, encoder, features, strides, classes, conv, deep_supervision):
        super().__init__()
        self.encoder = encoder
        self.deep_supervision = deep_supervision
        turned = nn.ConvTranspose2d if conv is nn.Conv2d else nn.ConvTranspose3d
        pairs = list(zip(features[::-1], features[-2::-1], strides[::-1], strict=False))
        self.transpconvs = nn.ModuleList(turned(a, b, stride, stride) for a, b, stride in pairs)
        self.stages = nn.ModuleList(conv(2 * b, b, 3, 1, 1) for _, b, _ in pairs)
        self.seg_layers = nn.ModuleList(conv(b, classes, 1) for _, b, _ in pairs)

    def forward(self, skips):
        x, outputs = skips[-1], []
        for number, stage in enumerate(self.stages):
            x = torch.cat((self.transpconvs[number](x), skips[-number - 2]), 1)
            x = stage(x)
            outputs.append(self.seg_layers[number](x))
        return outputs[::-1] if self.deep_supervision else outputs[-1]


class PlainConvUNet(nn.Module):
    def __init__(
        self, input_channels, n_stages, features_per_stage, conv_op, strides, num_classes, norm_op,
        deep_supervision=False,
    ):  # fmt: skip
        super().__init__()
        assert n_stages == len(features_per_stage)
        strides = [tuple(stride) for stride in strides]
        self.encoder = Encoder(input_channels, features_per_stage, strides, conv_op, norm_op)
        self.decoder = Decoder(
            self.encoder, features_per_stage, strides, num_classes, conv_op, deep_supervision
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))

    @staticmethod
    def initialize(module):
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, a=1e-2)


class Primus(nn.Module):
    """A network without stages."""

    def __init__(self, input_channels, num_classes, conv_op, deep_supervision=False):
        super().__init__()
        self.only = conv_op(input_channels, num_classes, 1)

    def forward(self, x):
        return self.only(x)
