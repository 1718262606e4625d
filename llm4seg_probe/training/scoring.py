"""Score predicted masks per image and class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import WholeImages, batches
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.measures.calibration import calibration_scores
from llm4seg_probe.measures.segmentation import segmentation_scores
from llm4seg_probe.models.heads import answers, probabilities
from llm4seg_probe.training.inference import images_at_once, logits_of, on_grid, where_it_fits

Scores = dict[str, Tensor | list[list[str]]]


def predicted_logits(
    network: nn.Module, config: Config, collection: Collection, samples: Sequence[Sample]
) -> Iterator[tuple[Sample, Tensor]]:
    """Yield each sample with its logits (K, *grid), resized to the image's own grid.

    The network is run in its present mode, without gradients. The logits lie where it does, those
    of a volume too large for that on the CPU.
    """
    names = tuple(sample.image for sample in samples)
    dataset = WholeImages(collection, names, config.data)
    remaining = iter(samples)
    with torch.no_grad():
        for batch in batches(dataset, images_at_once(config)):
            for logits in logits_of(network, batch.images, config).float():
                sample = next(remaining)
                grid = collection.read(sample).mask.shape[1:]
                yield sample, on_grid(where_it_fits(logits, grid), grid)


def score(
    network: nn.Module,
    config: Config,
    collection: Collection,
    samples: Sequence[Sample],
    run: str = "",
) -> list[dict[str, Any]]:
    """One row of scores per sample and class: the part of ``scores.csv`` that is measured.

    An image for which the network gives NaN has no scores, which is said.
    """
    rows = []
    for sample, logits in predicted_logits(network, config, collection, samples):
        raw = collection.read(sample)
        masks, missing = (answer.cpu() for answer in answers(logits[None], config))
        truth = torch.from_numpy(raw.mask)[None]
        scores: Scores = segmentation_scores(
            masks,
            truth,
            spacing=raw.spacing,
            nsd_tolerance=config.evaluation.nsd_tolerance,
        )
        scores |= calibration_scores(probabilities(logits[None], config).cpu(), truth)
        if missing.any():
            progress.say(
                f"run {run or config.arm}: the network gives no numbers (NaN) for {sample.image}: "
                "its scores are left empty"
            )
            scores = without(scores, missing)
        for index, name in enumerate(config.data.classes):
            keys = {"image": sample.image, "group": sample.group, "class": name}
            rows.append({**keys, **{score: values[0][index] for score, values in scores.items()}})
    return rows


def without(scores: Scores, missing: Tensor) -> Scores:
    """The scores with none where there is no prediction; the area of the true mask is kept."""
    blank: Scores = {}
    for name, values in scores.items():
        if isinstance(values, Tensor):
            blank[name] = values if name == "area" else values.where(~missing, torch.nan)
        else:
            rows = zip(values, missing.tolist(), strict=True)
            blank[name] = [
                ["" if gone else value for value, gone in zip(*row, strict=True)] for row in rows
            ]
    return blank
