"""Segmentation: which pixels of an image are of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from torch import Tensor

from llm4seg_probe.config import Config
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.subsets import ALL, refuse_without_foreground
from llm4seg_probe.errors import DataError
from llm4seg_probe.models.heads import answers
from llm4seg_probe.training.loss import SegmentationLoss, overlap
from llm4seg_probe.training.scoring import score
from llm4seg_probe.training.tasks.answers import constant_answer, to_change
from llm4seg_probe.training.tasks.part import TaskPart

if TYPE_CHECKING:
    from llm4seg_probe.training.stored_run import Run


def target(masks: Tensor, config: Config) -> Tensor:
    """The masks themselves."""
    return masks


def loss(config: Config) -> SegmentationLoss:
    """Cross-entropy and overlap with their weights."""
    return SegmentationLoss(config.training)


def follow(logits: Tensor, masks: Tensor, config: Config) -> dict[str, Tensor]:
    """IoU of each image, 0 where the network gave no number."""
    predicted, missing = answers(logits, config)
    return {"iou": overlap(predicted, masks).where(~missing.any(1), 0.0)}


def check(config: Config, collection: Collection, split: Split) -> None:
    """Raise DataError where no training image has foreground; mostly the first one has.

    In a subset each class must have some: one that is never seen would count against few data.
    """
    refuse_labels(config, collection)
    if config.data.train_images != ALL:
        refuse_without_foreground(collection, split, config)
        return
    samples = map(collection.sample, split.train)
    if not any(collection.read_to_train(sample).mask.any() for sample in samples):
        raise DataError(
            f"{collection.name}: none of the {len(split.train)} training images has any "
            "foreground: look at the values in the masks and at data.classes (`llm4seg-probe data "
            "check`)"
        )


def refuse_labels(config: Config, collection: Collection) -> None:
    """Raise DataError for images that have labels and no masks."""
    if collection.of_labels:
        raise DataError(
            f"{collection.name}: its images have labels and no masks, but task is "
            f"'{config.task}': set task to classification, or give images with masks"
        )


def constant(run: Run) -> str | None:
    """Say that every pixel of the validation images is of one class."""
    found = constant_answer(run)
    if found is None:
        return None
    advice = to_change(run, "the masks", "llm4seg-probe data check")
    return (
        f"This run has learned nothing: every pixel of {found.images} validation images is "
        f"{' and '.join(found.classes) or 'background'}. {advice}"
    )


def learned(test: pd.DataFrame) -> str:
    """Mean overlap on the test images."""
    iou, dice = (float(test[name].mean()) for name in ("iou", "dice"))
    images = test["image"].nunique()
    return (
        f"Test IoU {iou:.3f}, Dice {dice:.3f} (0 to 1, mean of {images} "
        f"image{'s' * (images != 1)})."
    )


PART = TaskPart(target, loss, follow, check, score, constant, learned)
