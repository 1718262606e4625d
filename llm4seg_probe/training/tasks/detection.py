"""Detection: where the objects of each class have their centres, by a map from the decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import WholeImages, batches
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.splits import SIDES, Split
from llm4seg_probe.errors import DataError
from llm4seg_probe.measures.detection import centre_map, centres_of, detection_scores, hits, peaks
from llm4seg_probe.models.heads import class_logits
from llm4seg_probe.training.inference import images_at_once, logits_of
from llm4seg_probe.training.loss import SegmentationLoss
from llm4seg_probe.training.tasks.part import Rows, TaskPart
from llm4seg_probe.training.tasks.segmentation import refuse_labels

if TYPE_CHECKING:
    from llm4seg_probe.training.stored_run import Run

SD_SHARE = 1 / 32
"""SD of a centre's Gaussian, as a share of the shortest side of ``data.image_size``."""


def gaussian_sd(config: Config) -> float:
    """SD of a centre's Gaussian in pixels, at least 1."""
    return max(1.0, SD_SHARE * min(config.data.image_size))


def target(masks: Tensor, config: Config) -> Tensor:
    """Maps of the objects' centres, (B, K, *grid): 1 at a centre, falling as a Gaussian.

    Objects are the connected components of the masks.
    """
    if masks.device.type == "meta":
        return masks
    planes = masks.cpu().numpy() > 0.5
    maps = np.stack(
        [
            [centre_map(centres_of(plane), plane.shape, gaussian_sd(config)) for plane in image]
            for image in planes
        ]
    )
    return torch.from_numpy(maps).to(masks.device)


def loss(config: Config) -> SegmentationLoss:
    """Cross-entropy and focal loss against the maps, pixel by pixel."""
    return SegmentationLoss(config.training)


def follow(logits: Tensor, maps: Tensor, config: Config) -> dict[str, Tensor]:
    """Nothing beside the loss: what is found shows on a set of images alone."""
    return {}


def check(config: Config, collection: Collection, split: Split) -> None:
    """Raise DataError for images without masks, and for a side without any object."""
    refuse_labels(config, collection)
    for side in SIDES:
        samples = map(collection.sample, split.side(side))
        if not any(collection.read_to_train(sample).mask.any() for sample in samples):
            raise DataError(
                f"{collection.name}, split '{split.name}': none of the images of {side} has an "
                "object: use another split, more data, or other data.classes"
            )


@dataclass(frozen=True, eq=False)
class Found:
    """Peaks of one class in one image, the highest first."""

    places: np.ndarray
    """(N, axes) in pixels of the image's own grid."""
    heights: np.ndarray
    """(N,) log-odds of a centre."""


def found_in(logits: Tensor, grid: Sequence[int], config: Config) -> list[Found]:
    """Peaks of each class from logits (K, *size), on an image's own grid."""
    heat = class_logits(logits[None].float(), config)[0]
    radius = max(1, round(gaussian_sd(config)))
    scale = np.asarray(grid) / np.asarray(heat.shape[1:])
    return [
        Found((places + 0.5) * scale - 0.5, heights)
        for places, heights in (peaks(plane, radius) for plane in heat)
    ]


def detected(
    network: nn.Module, config: Config, collection: Collection, samples: Sequence[Sample]
) -> Iterator[tuple[Sample, Tensor]]:
    """Yield each sample with its logits (K, *size), as the network gives them."""
    dataset = WholeImages(collection, tuple(sample.image for sample in samples), config.data)
    remaining = iter(samples)
    with torch.no_grad():
        for batch in batches(dataset, images_at_once(config)):
            for logits in logits_of(network, batch.images, config).float():
                yield next(remaining), logits


def score(
    network: nn.Module,
    config: Config,
    collection: Collection,
    samples: Sequence[Sample],
    run: str = "",
) -> Rows:
    """One row per image and class: its objects, and its part in the scores of the set.

    Where the network gives NaN for an image nothing is found in it, which is said.
    """
    classes = config.data.classes
    heights: list[list[np.ndarray]] = [[] for _ in classes]
    right: list[list[np.ndarray]] = [[] for _ in classes]
    objects: list[list[int]] = [[] for _ in classes]
    for sample, logits in detected(network, config, collection, samples):
        raw = collection.read_to_train(sample)
        step = np.asarray(raw.spacing or [1.0] * (raw.mask.ndim - 1))
        if logits.isnan().any():
            progress.say(
                f"run {run or config.arm}: the network gives no numbers (NaN) for {sample.image}: "
                "nothing is found in it"
            )
        there = found_in(logits, raw.mask.shape[1:], config)
        for place, (found, mask) in enumerate(zip(there, raw.mask, strict=True)):
            centres = centres_of(mask)
            heights[place].append(found.heights)
            right[place].append(
                hits(found.places * step, centres * step, config.evaluation.match_distance)
            )
            objects[place].append(len(centres))
    rows: Rows = []
    for place, name in enumerate(classes):
        scores = detection_scores(heights[place], right[place], objects[place])
        for number, sample in enumerate(samples):
            values = {score: float(parts[number]) for score, parts in scores.items()}
            keys = {"image": sample.image, "group": sample.group, "class": name}
            rows.append({**keys, "objects": objects[place][number], **values})
    return rows


def constant(run: Run) -> str | None:
    """Nothing: a map without peaks finds nothing, which its scores say."""
    return None


def learned(test: pd.DataFrame) -> str:
    """Scores on the test images."""
    sensitivity, froc = (float(test[f"object_{name}"].mean()) for name in ("sensitivity", "froc"))
    images = test["image"].nunique()
    return (
        f"Test sensitivity at 1 false alarm per image {sensitivity:.3f}, FROC {froc:.3f} (0 to 1, "
        f"of {images} image{'s' * (images != 1)})."
    )


PART = TaskPart(target, loss, follow, check, score, constant, learned)
