"""Classification: which classes an image has, by one answer for the whole image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from scipy.stats import fisher_exact
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import WholeImages, batches
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.splits import SIDES, Split
from llm4seg_probe.errors import DataError
from llm4seg_probe.measures.classification import classification_scores
from llm4seg_probe.models.heads import answers, probabilities
from llm4seg_probe.training.inference import images_at_once, logits_of
from llm4seg_probe.training.loss import SegmentationLoss
from llm4seg_probe.training.tasks.answers import constant_answer, to_change
from llm4seg_probe.training.tasks.part import Rows, TaskPart

if TYPE_CHECKING:
    from llm4seg_probe.training.stored_run import Run

_BY_CHANCE = 0.01
"""p of Fisher's exact test, over the classes, below which two sides are told to differ."""


def target(masks: Tensor, config: Config) -> Tensor:
    """Whether each image has each class: (B, K, 1, 1), or (B, K, 1, 1, 1) of volumes.

    An image with a mask has the classes that its mask holds.
    """
    return masks.amax(tuple(range(2, masks.ndim)), keepdim=True)


def loss(config: Config) -> SegmentationLoss:
    """Cross-entropy and focal loss of an image, which is one pixel to them."""
    return SegmentationLoss(config.training)


def follow(logits: Tensor, labels: Tensor, config: Config) -> dict[str, Tensor]:
    """Accuracy: share of the classes of which each image is said rightly to have them or not."""
    said, missing = answers(logits, config)
    right = (said == (labels > 0.5)).flatten(1).double().mean(1)
    return {"accuracy": right.where(~missing.any(1), 0.0).float()}


def labels_in(collection: Collection, sample: Sample) -> Tensor:
    """Which classes an image has, (K,) boolean, on its own grid."""
    if sample.labels is not None:
        return torch.tensor(sample.labels)
    mask = torch.from_numpy(collection.read_to_train(sample).mask)
    return mask.flatten(1).any(1)


def check(config: Config, collection: Collection, split: Split) -> None:
    """Raise DataError for a side that lacks a class, or images without it.

    Also where an image has several classes although they are to exclude each other. Classes that
    are more or less common in the validation images than in the training images are told.
    """
    names = config.data.classes
    found: dict[str, Tensor] = {}
    for side in SIDES:
        images = split.side(side)
        found[side] = labels = torch.stack(
            [labels_in(collection, collection.sample(i)) for i in images]
        )
        if config.training.output == "softmax" and (several := labels.sum(1) > 1).any():
            raise DataError(
                f"{collection.name}: image '{images[int(several.int().argmax())]}' has several "
                "classes, but training.output is 'softmax', with which it has one at most: set it "
                "to sigmoid"
            )
        for name, has in zip(names, labels.T, strict=True):
            if has.any() and not has.all():
                continue
            what = f"all images of {side} have" if has.any() else f"no image of {side} has"
            raise DataError(
                f"{collection.name}, split '{split.name}': {what} the class '{name}' (it has "
                f"{len(images)} images): each side needs images with it and without. Use another "
                "split, more data, or other data.classes"
            )
    for name, trained, validated in zip(names, found["train"].T, found["val"].T, strict=True):
        counts = [[int(has.sum()), int((~has).sum())] for has in (trained, validated)]
        if fisher_exact(counts).pvalue < _BY_CHANCE / len(names):
            progress.say(
                f"class '{name}': {trained.double().mean():.0%} of the training images have it and "
                f"{validated.double().mean():.0%} of those for validation. The validation loss, "
                "which chooses the epoch, counts how common a class is: look at the last epoch "
                "too, or divide the data otherwise (data.split)"
            )


def answered(
    network: nn.Module, config: Config, collection: Collection, samples: Sequence[Sample]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Probabilities and decisions of images in batches, (B, K) each, on the CPU.

    An image for which the network gives NaN has that probability. The network is run in its
    present mode, without gradients.
    """
    dataset = WholeImages(collection, tuple(sample.image for sample in samples), config.data)
    with torch.no_grad():
        for batch in batches(dataset, images_at_once(config)):
            logits = logits_of(network, batch.images, config).float()
            said, missing = answers(logits, config)
            found = probabilities(logits, config).flatten(1).where(~missing, torch.nan)
            yield found.cpu(), said.flatten(1).cpu()


def score(
    network: nn.Module,
    config: Config,
    collection: Collection,
    samples: Sequence[Sample],
    run: str = "",
) -> Rows:
    """One row per image and class: its probability, whether it has the class, and its scores.

    An image for which the network gives NaN has no scores, which is said; so is a class that all
    of the images have, or none, since AUROC and balanced accuracy need both.
    """
    parts = list(answered(network, config, collection, samples))
    probability, said = (torch.cat(part) for part in zip(*parts, strict=True))
    truth = torch.stack([labels_in(collection, sample) for sample in samples])
    there = ~probability.isnan().any(1)
    if not there.all():
        first = samples[int((~there).int().argmax())].image
        progress.say(
            f"run {run or config.arm}: the network gives no numbers (NaN) for "
            f"{int((~there).sum())} of {len(samples)} images, such as {first}: their scores are "
            "left empty"
        )
    found = classification_scores(probability[there], said[there], truth[there])
    for name, has in zip(config.data.classes, truth[there].T, strict=True):
        if len(has) and (has.all() or not has.any()):
            progress.say(
                f"run {run or config.arm}: {'all' if has.any() else 'none'} of {len(has)} images "
                f"have the class '{name}': AUROC and balanced accuracy are left empty"
            )
    scores = {name: torch.full(truth.shape, torch.nan, dtype=torch.float64) for name in found}
    for name, values in found.items():
        scores[name][there] = values
    return [
        {
            "image": sample.image,
            "group": sample.group,
            "class": name,
            "probability": probability[row, column].item(),
            "present": float(truth[row, column]),
            **{score: values[row, column].item() for score, values in scores.items()},
        }
        for row, sample in enumerate(samples)
        for column, name in enumerate(config.data.classes)
    ]


def constant(run: Run) -> str | None:
    """Say that the network gives all validation images the same labels."""
    found = constant_answer(run)
    if found is None:
        return None
    said = " and ".join(found.classes) or "none of the classes"
    advice = to_change(run, "the labels", "llm4seg-probe data check")
    return (
        f"This run decides alike on all of {found.images} validation images: {said}. Whether it "
        f"ranks them is for image_auroc to say. {advice}"
    )


def learned(test: pd.DataFrame) -> str:
    """Scores on the test images."""
    auroc, balanced, brier = (
        float(test[f"image_{name}"].mean()) for name in ("auroc", "balanced_accuracy", "brier")
    )
    images = test["image"].nunique()
    return (
        f"Test AUROC {auroc:.3f}, balanced accuracy {balanced:.3f}, Brier {brier:.3f} (0 to 1, "
        f"of {images} image{'s' * (images != 1)})."
    )


PART = TaskPart(target, loss, follow, check, score, constant, learned)
