"""The loss: cross-entropy, soft Dice, focal and Tversky, each with its weight, over all scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.losses.dice import DiceLoss
from monai.losses.focal_loss import FocalLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor, nn
from torch.nn.functional import interpolate

from llm4seg_probe.config import TrainingConfig
from llm4seg_probe.errors import DataError

_SMOOTH = 1e-5
LossTerm = Callable[[Tensor, Tensor], Tensor]


class SegmentationLoss(nn.Module):
    """Weighted sum of losses for logits (B, output_channels, *grid) and masks (B, K, *grid).

    With ``sigmoid`` each class is a question of its own (foreground or not), so classes may
    overlap: cross-entropy is binary, its mean over all pixels and classes; with weights 0.5 and 1
    and one class it is the loss of the published code. With ``softmax`` the background is channel
    0 and every pixel has one class: cross-entropy is its mean over pixels, focal (as in MONAI)
    the mean over pixels and channels. Dice and Tversky are one minus the index of each image and
    class, averaged; the background is not among the classes.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.exclusive = config.output == "softmax"
        parts: list[tuple[float, LossTerm]] = [
            (config.cross_entropy_weight, cross_entropy(config)),
            (config.dice_weight, dice(config)),
            (config.focal_weight, focal(config)),
            (config.tversky_weight, tversky(config)),
        ]
        self.parts = [(weight, part) for weight, part in parts if weight]

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Scalar loss, in float32 whatever the precision of the logits.

        Raises DataError where classes overlap that ``softmax`` takes to be exclusive.
        """
        logits = logits.float()
        target = with_background(masks) if self.exclusive else masks
        weighted = [weight * part(logits, target) for weight, part in self.parts]
        return torch.stack(weighted).sum()


def with_background(masks: Tensor) -> Tensor:
    """Masks (B, K, *grid) with the background before them: (B, K + 1, *grid), which sum to 1.

    Raises DataError where classes overlap, which is looked at on the CPU alone: elsewhere the look
    would wait for the device at every step, and :func:`refuse_overlap` comes before the transfer.
    """
    if masks.device.type == "cpu":
        refuse_overlap(masks)
    return torch.cat([1 - masks.sum(1, keepdim=True), masks], 1)


def refuse_overlap(masks: Tensor) -> None:
    """Raise DataError where classes of masks (B, K, *grid) overlap."""
    together = masks.sum(1)
    if together.numel() and together.max() > 1:
        raise DataError(
            "masks of different classes overlap, but training.output is 'softmax', with which a "
            "pixel has one class: set it to 'sigmoid', or mend the masks"
        )


def cross_entropy(config: TrainingConfig) -> LossTerm:
    """Mean cross-entropy, binary for ``sigmoid``."""
    if config.output == "sigmoid":
        return nn.BCEWithLogitsLoss()
    entropy = nn.CrossEntropyLoss()
    return lambda logits, target: entropy(logits, target.argmax(1))


def dice(config: TrainingConfig) -> LossTerm:
    """Soft Dice of each image and class."""
    return DiceLoss(**_overlap(config))


def focal(config: TrainingConfig) -> LossTerm:
    """Focal loss (Lin et al., 2017), without weights for the classes."""
    softmax = config.output == "softmax"
    return FocalLoss(gamma=config.focal_gamma, use_softmax=softmax)


def tversky(config: TrainingConfig) -> LossTerm:
    """Tversky loss of each image and class; ``alpha`` weighs false positives, ``beta`` misses."""
    weights = {"alpha": config.tversky_alpha, "beta": config.tversky_beta}
    return TverskyLoss(**_overlap(config), **weights)


def _overlap(config: TrainingConfig) -> dict[str, bool | float]:
    smooth = {"smooth_nr": _SMOOTH, "smooth_dr": _SMOOTH}
    if config.output == "softmax":
        return {"softmax": True, "include_background": False, **smooth}
    return {"sigmoid": True, **smooth}


def over_scales(loss: LossTerm, scales: Sequence[Tensor], masks: Tensor) -> list[Tensor]:
    """The loss of each output of a deeply supervised network, the full logits first.

    scales: (B, channels, *grid) each; masks (B, K, *full) are brought to each grid by the nearest
    pixel.
    """
    losses = []
    for logits in scales:
        size = logits.shape[2:]
        wanted = (
            masks if masks.shape[2:] == size else interpolate(masks, size, mode="nearest-exact")
        )
        losses.append(loss(logits, wanted))
    return losses


def halving_mean(losses: Sequence[Tensor]) -> Tensor:
    """Mean of the losses with the weights 1, 1/2, 1/4, …, as nnU-Net weighs its scales.

    The weights sum to one, so that the step size does not depend on the number of scales; a
    single loss stays as it is, to the bit.

    >>> halving_mean([torch.tensor(3.0), torch.tensor(0.0)]).item()
    2.0
    """
    weights = [0.5**scale for scale in range(len(losses))]
    weighted = [weight * loss for weight, loss in zip(weights, losses, strict=True)]
    return torch.stack(weighted).sum() / sum(weights)


def overlap(predicted: Tensor, masks: Tensor) -> Tensor:
    """IoU of each image's boolean prediction, averaged over classes: (B, K, *grid) -> (B,).

    Both empty counts as 1. For following a training; the scores of a run are computed on the
    original grid by :mod:`llm4seg_probe.training.scoring`.
    """
    wanted = masks > 0.5
    axes = tuple(range(2, masks.ndim))
    exact = torch.float32 if masks.device.type == "mps" else torch.float64  # it has no other
    together = (predicted & wanted).sum(axes).to(exact)
    either = (predicted | wanted).sum(axes).to(exact)
    return torch.where(either > 0, together / either.clamp(min=1), 1.0).mean(1)
