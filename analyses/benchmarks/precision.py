"""Scores of many seeds under different settings of training, for the certainty that they buy.

    python analyses/benchmarks/precision.py --settings ten --seeds 100 115
    python analyses/benchmarks/precision_summary.py runs/precision

The base is the demo's; a setting says what it changes. One training gives every way of scoring
that needs no other training: the last and the best epoch, averages of the weights, statistics of
batch normalisation recomputed over the training images, flips. Writes ``scores.csv`` (a row per
setting, way of scoring, images, arm and seed, with seconds of the processor for the training alone)
and ``curves.csv`` (validation IoU by epoch) after each training; started again, it trains what is
missing. These files show which arm is better: choose by what ``precision_summary.py`` makes of
them.

A pair of ten epochs (``cnn`` and ``llm``) takes three to four minutes of one core.
"""

from __future__ import annotations

import argparse
import copy
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from precision_summary import ALL
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset, WholeImages, batches
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.measures.segmentation import overlap_scores
from llm4seg_probe.models.heads import answers
from llm4seg_probe.models.network import build_network, load_portable_state, portable_state
from llm4seg_probe.study.analysis import load_analysis, shipped
from llm4seg_probe.training.averaging import WeightAverage
from llm4seg_probe.training.compute import computing, in_memory_format
from llm4seg_probe.training.loop import trainer_of
from llm4seg_probe.training.scoring import predicted_logits
from llm4seg_probe.training.task import SegmentationTask

SETTINGS: dict[str, dict[str, Any]] = {
    "ten": {"training": {"epochs": 10}},
    "five": {"training": {"epochs": 5}},
    "fifteen": {"training": {"epochs": 15}},
    "ten, batch 8": {"training": {"epochs": 10, "batch_size": 8}},
    "ten, rate 3e-3": {"training": {"epochs": 10, "optimiser": {"lr": 3e-3}}},
    "ten, cosine": {
        "training": {"epochs": 10, "optimiser": {"schedule": "cosine", "warmup_steps": 30}}
    },
    "ten, bf16": {"training": {"epochs": 10}, "compute": {"precision": "bf16"}},
    "ten, wider": {"training": {"epochs": 10}, "backbone": {"widths": [12, 24, 48, 96, 144]}},
    "ten, 64 px": {"training": {"epochs": 10}, "data": {"image_size": [64, 64]}},
}
"""What each changes in the demo's base."""


@dataclass(frozen=True)
class Scored:
    """A way of scoring one training: whose weights, and what is done to them or to the images."""

    average: float | None = None
    best: bool = False
    statistics: int | None = None
    """Images in a batch over which batch normalisation's statistics are taken anew."""
    flips: bool = False


SCORED = {
    "last": Scored(),
    "best": Scored(best=True),
    "average 0.96": Scored(0.96),
    "average 0.98": Scored(0.98),
    "average 0.98, best": Scored(0.98, best=True),
    "last, statistics of 4": Scored(statistics=4),
    "last, statistics of 43": Scored(statistics=43),
    "average 0.98, statistics of 4": Scored(0.98, statistics=4),
    "average 0.98, statistics of 43": Scored(0.98, statistics=43),
    "average 0.98, flips": Scored(0.98, flips=True),
}

State = dict[str, Tensor]
Row = dict[str, Any]


class Followed(WeightAverage):
    """An average beside others: it is taken along and never put in place by itself."""

    @property
    def state_key(self) -> str:
        """Its name among a checkpoint's callbacks, one for each decay."""
        return f"{super().state_key} {self.decay}"

    def on_validation_start(self, *args: Any) -> None:
        """Leave the weights where they are."""

    def on_validation_end(self, *args: Any) -> None:
        """Leave the weights where they are."""


class Watch(lightning.Callback):
    """Validation IoU of the weights and of each average after an epoch, and their best states."""

    def __init__(self, averages: Mapping[float, Followed], config: Config, data: Any) -> None:
        self.averages = averages
        self.config = config
        self.collection, self.split = data
        self.curves: dict[float | None, list[float]] = {None: [], **{d: [] for d in averages}}
        self.states: dict[tuple[float | None, bool], State] = {}
        self.seconds = 0.0

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Measure all of them."""
        start = time.process_time()
        assert isinstance(pl_module, SegmentationTask)
        self._measure(None, pl_module.network)
        for decay, average in self.averages.items():
            with average.in_place():
                self._measure(decay, pl_module.network)
        self.seconds += time.process_time() - start

    def _measure(self, decay: float | None, network: nn.Module) -> None:
        network.eval()
        found = ious(network, self.config, self.collection, self.split.val)["iou"].mean()
        network.train()
        curve = self.curves[decay]
        self.states[decay, False] = kept(network)
        if not curve or found > max(curve):
            self.states[decay, True] = self.states[decay, False]
        curve.append(found)


class Mirrored(nn.Module):
    """A network's mean over an image and its mirror image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Mean of both logits, the second mirrored back."""
        return (self.network(images) + self.network(images.flip(-1)).flip(-1)) / 2


def trained(config: Config, collection: Collection) -> tuple[list[Row], list[Row]]:
    """Train a network: rows of its scores and of its curves, without the setting."""
    data = collection, split_of(collection, config.data)
    with computing(config.compute), tempfile.TemporaryDirectory() as folder:
        network = in_memory_format(build_network(config), config)
        decays = dict.fromkeys(way.average for way in SCORED.values() if way.average is not None)
        averages = {decay: Followed(network, decay) for decay in decays}
        watch = Watch(averages, config, data)
        task = SegmentationTask(
            config,
            network,
            ImageDataset(collection, data[1].train, config.data, augment_seed=config.seed),
            WholeImages(collection, data[1].val, config.data),
        )
        trainer = trainer_of(config, Path(folder), [*averages.values(), watch])
        start = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.fit(task)
        seconds = time.process_time() - start - watch.seconds
        keys = {"arm": config.arm, "seed": config.seed}
        scores = [
            {"scored": name, "images": images, **keys, "iou": iou, "seconds": seconds}
            for name, way in SCORED.items()
            for images, iou in _scored(way, watch.states, network, config, data)
        ]
    curves = [
        {"scored": name, **keys, "epoch": epoch, "val_iou": value}
        for name, way in SCORED.items()
        if way in (Scored(), Scored(way.average))
        for epoch, value in enumerate(watch.curves[way.average], start=1)
    ]
    return scores, curves


def _scored(
    way: Scored,
    states: Mapping[tuple[float | None, bool], State],
    network: nn.Module,
    config: Config,
    data: Any,
) -> Iterator[tuple[str, float]]:
    """Mean IoU of the test images, of all and of each person's."""
    collection, split = data
    load_portable_state(network, states[way.average, way.best])
    if way.statistics is not None:
        update_bn(_training_images(way.statistics, config, collection, split.train), network)
    network.eval()
    table = ious(Mirrored(network) if way.flips else network, config, collection, split.test)
    yield ALL, table["iou"].mean()
    yield from table.groupby("group")["iou"].mean().items()


def _training_images(
    size: int, config: Config, collection: Collection, names: tuple[str, ...]
) -> Iterator[Tensor]:
    """Whole batches of the training images in one fixed order, without augmentation."""
    order = np.random.default_rng(0).permutation(len(names))
    full = order[: len(names) // size * size]
    dataset = WholeImages(collection, tuple(names[place] for place in full), config.data)
    return (batch.images for batch in batches(dataset, size))


def ious(
    network: nn.Module, config: Config, collection: Collection, names: tuple[str, ...]
) -> pd.DataFrame:
    """IoU of each image, as runs are scored, with the person it is of."""
    samples = {sample.image: sample for sample in collection.samples}
    rows = []
    for sample, logits in predicted_logits(
        network, config, collection, [samples[n] for n in names]
    ):
        masks, _ = answers(logits[None], config)
        true = torch.from_numpy(collection.read(sample).mask)[None]
        iou = overlap_scores(masks, true)["iou"].mean().item()
        rows.append({"group": sample.group, "iou": iou})
    return pd.DataFrame(rows)


def kept(network: nn.Module) -> State:
    """A copy of its state, without a frozen layer's."""
    return {name: tensor.clone() for name, tensor in portable_state(network).items()}


def config_of(setting: str, arm: str, seed: int) -> Config:
    """The demo's configuration as a setting changes it; averages are taken here, not there."""
    base = load_analysis(shipped("demo")).at("small").base
    plain = merged(base, {"training": {"average": None}})
    values = merged(merged(plain, SETTINGS[setting]), {"arm": arm, "seed": seed})
    return Config.model_validate(values)


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with changes put over them."""
    found = copy.deepcopy(dict(values))
    for name, value in changes.items():
        inner = found.get(name)
        nested = isinstance(value, Mapping) and isinstance(inner, Mapping)
        found[name] = merged(inner, value) if nested else value
    return found


def main() -> None:
    """Train what is missing, a seed at a time over all settings and arms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=["ten"])
    parser.add_argument("--arms", nargs="+", default=["cnn", "llm"])
    parser.add_argument("--seeds", nargs=2, type=int, default=[100, 115], help="first, and end")
    parser.add_argument("--out", type=Path, default=Path("runs/precision"))
    given = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    given.out.mkdir(parents=True, exist_ok=True)
    paths = given.out / "curves.csv", given.out / "scores.csv"
    # A training counts as done once its scores are there, which are written last.
    done = set()
    if paths[1].exists():
        done = set(map(tuple, pd.read_csv(paths[1])[["setting", "arm", "seed"]].to_numpy()))
    for seed in range(*given.seeds):
        for setting in given.settings:
            for arm in given.arms:
                if (setting, arm, seed) in done:
                    continue
                config = config_of(setting, arm, seed)
                collection = open_collection(config.data.name, classes=config.data.classes)
                scores, curves = trained(config, collection)
                for path, rows in zip(paths, (curves, scores), strict=True):
                    _append(path, pd.DataFrame(rows).assign(setting=setting))
                print(f"{setting} {arm} {seed}: {scores[0]['seconds']:.0f} s", flush=True)


def _append(path: Path, rows: pd.DataFrame) -> None:
    columns = ["setting", *(name for name in rows if name != "setting")]
    rows[columns].to_csv(path, mode="a", index=False, header=not path.exists())


if __name__ == "__main__":
    main()
