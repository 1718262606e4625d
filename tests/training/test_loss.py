import math

import pytest
import torch

from llm4seg_probe.config import TrainingConfig
from llm4seg_probe.training.loss import SegmentationLoss, overlap


def by_hand(logits: torch.Tensor, masks: torch.Tensor) -> float:
    """The published loss in loops: 0.5 BCE over all pixels plus soft Dice per image."""
    pixels, dice = [], []
    for image in range(len(logits)):
        z = [x.item() for x in logits[image].flatten()]
        y = [x.item() for x in masks[image].flatten()]
        p = [1 / (1 + math.exp(-x)) for x in z]
        pixels += [
            -(t * math.log(q) + (1 - t) * math.log(1 - q)) for q, t in zip(p, y, strict=True)
        ]
        together = sum(q * t for q, t in zip(p, y, strict=True))
        dice.append(1 - (2 * together + 1e-5) / (sum(p) + sum(y) + 1e-5))
    return 0.5 * sum(pixels) / len(pixels) + sum(dice) / len(dice)


def test_the_default_is_the_published_loss() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 1, 5, 4, dtype=torch.float64)
    masks = (torch.rand(3, 1, 5, 4) > 0.6).double()
    masks[2] = 0
    found = SegmentationLoss(TrainingConfig())(logits, masks.float()).item()
    assert found == pytest.approx(by_hand(logits, masks), rel=1e-5)


def test_overlap_by_set_arithmetic() -> None:
    masks = torch.zeros(3, 1, 4, 4)
    masks[0, 0, :2] = 1  # 8 pixels, of which the prediction has 4, and 4 others
    logits = torch.full((3, 1, 4, 4), -5.0)
    logits[0, 0, 1:3] = 5
    logits[2, 0, 0, 0] = 5  # a false alarm on an empty mask
    assert overlap(logits, masks, 0.5).tolist() == pytest.approx([4 / 12, 1.0, 0.0])
