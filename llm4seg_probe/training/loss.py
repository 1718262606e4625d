"""The loss: (binary) cross-entropy plus soft Dice, each with its weight, over all scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from monai.losses.dice import DiceLoss
from torch import Tensor, nn
from torch.nn.functional import interpolate

from llm4seg_probe.config import TrainingConfig

_SMOOTH = 1e-5


class SegmentationLoss(nn.Module):
    """Weighted sum of mean binary cross-entropy and soft Dice, for logits (B, K, *grid).

    Each class is a question of its own (foreground or not), so classes may overlap. With weights
    0.5 and 1 and one class it is the loss of the published code.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.cross_entropy_weight = config.cross_entropy_weight
        self.dice_weight = config.dice_weight
        self.cross_entropy = nn.BCEWithLogitsLoss()
        self.dice = DiceLoss(sigmoid=True, smooth_nr=_SMOOTH, smooth_dr=_SMOOTH)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Scalar loss, in float32 whatever the precision of the logits."""
        logits = logits.float()
        entropy: Tensor = self.cross_entropy(logits, masks)
        dice: Tensor = self.dice(logits, masks)
        return self.cross_entropy_weight * entropy + self.dice_weight * dice


def over_scales(
    loss: Callable[[Tensor, Tensor], Tensor], scales: Sequence[Tensor], masks: Tensor
) -> list[Tensor]:
    """The loss of each output of a deeply supervised network, the full logits first.

    scales: (B, K, *grid) each; masks (B, K, *full) are brought to each grid by the nearest pixel.
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


def overlap(logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    """IoU of each image's thresholded prediction, averaged over classes: (B, K, *grid) -> (B,).

    Both empty counts as 1. For following a training; the scores of a run are computed on the
    original grid by :mod:`llm4seg_probe.training.evaluate`.
    """
    predicted = torch.sigmoid(logits.float()) > threshold
    wanted = masks > 0.5
    axes = tuple(range(2, logits.ndim))
    together = (predicted & wanted).sum(axes).double()
    either = (predicted | wanted).sum(axes).double()
    return torch.where(either > 0, together / either.clamp(min=1), 1.0).mean(1)
