"""Networks of MONAI in the sizes in which they were published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from monai.networks.nets.attentionunet import AttentionUnet
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.mednext import MedNeXt
from monai.networks.nets.segresnet import SegResNet
from torch import Tensor, nn

from llm4seg_probe.errors import ConfigError


class SupervisedDynUNet(DynUNet):
    """DynUNet that returns its supervised outputs as a tuple, and can be copied after training."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits; in training the coarser outputs too, brought to the size of the image."""
        produced: Tensor = super().forward(x)
        # MONAI keeps the outputs with their graph, which makes copying the network fail. Its
        # layers share this list, so it is emptied in place.
        self.heads[:] = [x.new_zeros(1) for _ in self.heads]
        return tuple(produced.unbind(1)) if self.training else produced


def dynunet(
    in_channels: int,
    out_channels: int,
    widths: Sequence[int],
    dimensions: int,
    deep_supervision: bool,
) -> nn.Module:
    """The U-Net that nnU-Net configures: 3-wide convolutions, stride two between the stages.

    With deep supervision all decoder stages but the two coarsest have an output, as in nnU-Net.
    """
    stages = len(widths)
    kind = SupervisedDynUNet if deep_supervision else DynUNet
    return kind(
        dimensions,
        in_channels,
        out_channels,
        kernel_size=[3] * stages,
        strides=[1] + [2] * (stages - 1),
        upsample_kernel_size=[2] * (stages - 1),
        filters=list(widths),
        deep_supervision=deep_supervision,
        deep_supr_num=max(stages - 3, 1),
    )


def attention_unet(in_channels: int, out_channels: int, widths: Sequence[int]) -> nn.Module:
    """Attention U-Net in 2D, stride two between the stages."""
    return AttentionUnet(2, in_channels, out_channels, widths, strides=[2] * (len(widths) - 1))


def segresnet(in_channels: int, out_channels: int, widths: Sequence[int]) -> nn.Module:
    """SegResNet in 3D, without the variational branch that is used in training only.

    Raises ConfigError for widths that do not double, or are no multiple of the norm's 8 groups.
    """
    _check_doubling(widths)
    if widths[0] % 8:
        raise ConfigError(
            f"backbone.widths begins with {widths[0]}; SegResNet normalises in 8 groups, so it "
            "has to be a multiple of 8"
        )
    return SegResNet(3, widths[0], in_channels, out_channels)


@dataclass(frozen=True)
class MedNeXtSize:
    """Expansion ratios and block counts of a MedNeXt: encoder stages, and bottleneck."""

    expansion: tuple[int, int, int, int]
    bottleneck_expansion: int
    blocks: tuple[int, int, int, int]
    bottleneck_blocks: int


MEDNEXT: dict[str, MedNeXtSize] = {
    "S": MedNeXtSize((2, 2, 2, 2), 2, (2, 2, 2, 2), 2),
    "B": MedNeXtSize((2, 3, 4, 4), 4, (2, 2, 2, 2), 2),
    "M": MedNeXtSize((2, 3, 4, 4), 4, (3, 4, 4, 4), 4),
    "L": MedNeXtSize((3, 4, 8, 8), 8, (3, 4, 8, 8), 8),
}


def mednext(
    in_channels: int,
    out_channels: int,
    widths: Sequence[int],
    size: str,
    deep_supervision: bool,
) -> nn.Module:
    """MedNeXt in 3D with 3-wide kernels; its decoder mirrors its encoder.

    In training it returns the coarser outputs too when they are supervised, each at its own
    resolution. Raises ConfigError for widths that do not double.
    """
    _check_doubling(widths)
    chosen = MEDNEXT[size]
    return MedNeXt(
        3,
        widths[0],
        in_channels,
        out_channels,
        encoder_expansion_ratio=chosen.expansion,
        decoder_expansion_ratio=chosen.expansion[::-1],
        bottleneck_expansion_ratio=chosen.bottleneck_expansion,
        kernel_size=3,
        deep_supervision=deep_supervision,
        use_residual_connection=True,
        blocks_down=chosen.blocks,
        blocks_bottleneck=chosen.bottleneck_blocks,
        blocks_up=chosen.blocks[::-1],
    )


def _check_doubling(widths: Sequence[int]) -> None:
    if any(coarse != 2 * fine for fine, coarse in pairwise(widths)):
        raise ConfigError(
            f"backbone.widths is {list(widths)}, but this network doubles its channels from stage "
            f"to stage: {[widths[0] * 2**stage for stage in range(len(widths))]}"
        )
