"""Scores of a network per image and class, on the images' own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset, batches
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.splits import Split
from llm4seg_probe.measures.segmentation import segmentation_scores
from llm4seg_probe.models.network import load_portable_state
from llm4seg_probe.training.compute import memory_format


def predict(
    network: nn.Module, config: Config, collection: Collection, samples: Sequence[Sample]
) -> Iterator[tuple[Sample, Tensor]]:
    """Yield each sample with its logits (K, *grid), resized to the image's own grid.

    The network is run in its present mode, without gradients.
    """
    names = tuple(sample.image for sample in samples)
    dataset = ImageDataset(collection, names, config.data, augment_seed=None)
    layout = memory_format(config)
    device = next(network.parameters()).device
    mode = "bilinear" if len(config.data.image_size) == 2 else "trilinear"
    remaining = iter(samples)
    with torch.no_grad():
        for batch in batches(dataset, config.training.batch_size):
            images = batch.images.to(device, memory_format=layout)
            for logits in network(images).float().cpu():
                sample = next(remaining)
                grid = collection.read(sample).mask.shape[1:]
                if logits.shape[1:] != grid:
                    logits = functional.interpolate(logits[None], grid, mode=mode)[0]
                yield sample, logits


def score(
    network: nn.Module, config: Config, collection: Collection, samples: Sequence[Sample]
) -> list[dict[str, Any]]:
    """One row of scores per sample and class: the part of ``scores.csv`` that is measured."""
    rows = []
    for sample, logits in predict(network, config, collection, samples):
        raw = collection.read(sample)
        scores = segmentation_scores(
            torch.sigmoid(logits[None]) > config.evaluation.threshold,
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
