import math

import pytest
import torch
from monai.losses.dice import DiceCELoss, DiceFocalLoss
from torch import Tensor

from llm4seg_probe.config import TrainingConfig
from llm4seg_probe.errors import DataError
from llm4seg_probe.training.loss import SegmentationLoss, overlap, with_background


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
    assert overlap(logits > 0, masks).tolist() == pytest.approx([4 / 12, 1.0, 0.0])


def some(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Logits of a background and two classes, and exclusive masks of the two, some images empty."""
    source = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 3, *shape, generator=source)
    labels = torch.randint(3, (2, *shape), generator=source)
    labels[1] = labels[1].clamp(max=1)  # no pixel of the second class
    masks = torch.stack([labels == number for number in (1, 2)], 1).float()
    return logits, masks


def only(**weights: float | str) -> SegmentationLoss:
    nothing = {"cross_entropy_weight": 0, "dice_weight": 0}
    return SegmentationLoss(TrainingConfig.model_validate(nothing | weights))


PIXELS = torch.tensor([0.8, 0.6, 0.1, 0.3], dtype=torch.float64)  # probabilities of one image
TRUE = torch.tensor([1.0, 0.0, 0.0, 1.0])


def of_pixels(loss: SegmentationLoss) -> float:
    return loss(PIXELS.logit().view(1, 1, 2, 2), TRUE.view(1, 1, 2, 2)).item()


def test_each_loss_of_a_binary_image_by_hand() -> None:
    hit = PIXELS.where(TRUE > 0, 1 - PIXELS)  # probability of the right answer
    assert of_pixels(only(cross_entropy_weight=1)) == pytest.approx(-hit.log().mean().item())
    assert of_pixels(only(focal_weight=1, focal_gamma=2)) == pytest.approx(
        (-((1 - hit) ** 2) * hit.log()).mean().item()
    )
    found, alarms, misses = 0.8 + 0.3, 0.6 + 0.1, 0.2 + 0.7
    assert of_pixels(only(dice_weight=1)) == pytest.approx(
        1 - 2 * found / (2 * found + alarms + misses), abs=1e-4
    )
    assert of_pixels(only(tversky_weight=2, tversky_alpha=0.3, tversky_beta=0.7)) == pytest.approx(
        2 * (1 - found / (found + 0.3 * alarms + 0.7 * misses)), abs=1e-4
    )


def test_losses_of_exclusive_classes_in_loops() -> None:
    logits, masks = some(0, 4, 3)
    entropy, focal, dice = [], [], []
    for image in range(2):
        probability = logits[image].double().softmax(0)
        for row in range(4):
            for column in range(3):
                of_pixel = masks[image, :, row, column]
                label = 0 if not of_pixel.any() else int(of_pixel.argmax()) + 1
                p = probability[label, row, column].item()
                entropy.append(-math.log(p))
                focal.append(-((1 - p) ** 2) * math.log(p) / 3)
        for label in (1, 2):
            p, y = probability[label], masks[image, label - 1].double()
            dice.append(1 - ((2 * (p * y).sum() + 1e-5) / (p.sum() + y.sum() + 1e-5)).item())
    for weight, values in (("cross_entropy", entropy), ("focal", focal), ("dice", dice)):
        loss = only(output="softmax", **{f"{weight}_weight": 1})
        expected = sum(values) / len(values)
        assert loss(logits, masks).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5)])
def test_sums_are_those_of_monai_s_own_combined_losses(grid: tuple[int, ...]) -> None:
    logits, masks = some(1, *grid)
    smooth = {"smooth_nr": 1e-5, "smooth_dr": 1e-5}
    theirs = DiceCELoss(softmax=True, lambda_dice=2, lambda_ce=0.5, **smooth)
    target = with_background(masks)
    ours = only(output="softmax", cross_entropy_weight=0.5, dice_weight=2)
    foreground = DiceCELoss(
        softmax=True, lambda_dice=2, lambda_ce=0, include_background=False, **smooth
    )
    entropy = DiceCELoss(softmax=True, lambda_dice=0, lambda_ce=0.5, **smooth)
    expected = foreground(logits, target) + entropy(logits, target)
    torch.testing.assert_close(ours(logits, masks), expected)
    assert not torch.isclose(expected, theirs(logits, target))  # which counts the background too
    both = DiceFocalLoss(sigmoid=True, gamma=1.5, lambda_focal=3, **smooth)
    found = only(dice_weight=1, focal_weight=3, focal_gamma=1.5)(logits[:, 1:], masks)
    torch.testing.assert_close(found, both(logits[:, 1:], masks))


def test_tversky_with_halves_is_dice() -> None:
    logits, masks = some(2, 8, 8)
    for output, seen in (("softmax", logits), ("sigmoid", logits[:, 1:])):
        tversky = only(output=output, tversky_weight=1, tversky_alpha=0.5, tversky_beta=0.5)
        dice = only(output=output, dice_weight=1)
        torch.testing.assert_close(tversky(seen, masks), dice(seen, masks), atol=1e-4, rtol=1e-4)


def test_classes_that_overlap_are_refused_where_they_are_exclusive() -> None:
    logits, masks = some(3, 4, 4)
    masks[0, :, 2, 2] = 1
    with pytest.raises(DataError, match="masks of different classes overlap, but"):
        only(output="softmax", dice_weight=1)(logits, masks)
    assert only(dice_weight=1)(logits[:, 1:], masks).isfinite()
