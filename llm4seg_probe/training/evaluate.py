"""Scores of a network per image and class, on the images' own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import WholeImages, batches
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.splits import Split
from llm4seg_probe.measures.segmentation import segmentation_scores
from llm4seg_probe.models.network import load_portable_state
from llm4seg_probe.models.output import decided
from llm4seg_probe.training.inference import images_at_once, logits_of, on_grid


def predict(
    network: nn.Module, config: Config, collection: Collection, samples: Sequence[Sample]
) -> Iterator[tuple[Sample, Tensor]]:
    """Yield each sample with its logits (K, *grid), resized to the image's own grid.

    The network is run in its present mode, without gradients.
    """
    names = tuple(sample.image for sample in samples)
    dataset = WholeImages(collection, names, config.data)
    remaining = iter(samples)
    with torch.no_grad():
        for batch in batches(dataset, images_at_once(config)):
            for logits in logits_of(network, batch.images, config).float().cpu():
                sample = next(remaining)
                yield sample, on_grid(logits, collection.read(sample).mask.shape[1:])


def score(
    network: nn.Module, config: Config, collection: Collection, samples: Sequence[Sample]
) -> list[dict[str, Any]]:
    """One row of scores per sample and class: the part of ``scores.csv`` that is measured."""
    rows = []
    for sample, logits in predict(network, config, collection, samples):
        raw = collection.read(sample)
        scores = segmentation_scores(
            decided(logits[None], config),
            torch.from_numpy(raw.mask)[None],
            spacing=raw.spacing,
            nsd_tolerance=config.evaluation.nsd_tolerance,
        )
        for index, name in enumerate(config.data.classes):
            keys = {"image": sample.image, "group": sample.group, "class": name}
            rows.append({**keys, **{score: values[0][index] for score, values in scores.items()}})
    return rows


def score_checkpoints(
    states: dict[str, dict[str, Tensor] | None],
    network: nn.Module,
    config: Config,
    collection: Collection,
    split: Split,
    *,
    run: str,
) -> pd.DataFrame:
    """``scores.csv`` of one run: each checkpoint on the validation and the test images.

    A state of None is the network as it comes; it is scored first.
    """
    samples = {sample.image: sample for sample in collection.samples}
    rows = []
    for name, state in sorted(states.items(), key=lambda item: item[1] is not None):
        if state is not None:
            load_portable_state(network, state)
        for part in ("val", "test"):
            keys: dict[str, Any] = {
                "run": run,
                "dataset": collection.name,
                "arm": config.arm,
                "seed": config.seed,
                "checkpoint": name,
                "split": part,
            }
            wanted = [samples[image] for image in getattr(split, part)]
            rows += [keys | row for row in score(network, config, collection, wanted)]
    return pd.DataFrame(rows)
