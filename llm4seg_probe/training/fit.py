"""One run from its configuration to its folder."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from filelock import FileLock, Timeout
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch import nn

from llm4seg_probe import progress, storage, tables
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import Split, split_of
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.training import checkpoint, folder
from llm4seg_probe.training.compute import arranged, computing
from llm4seg_probe.training.environment import environment, peak_memory_mb
from llm4seg_probe.training.evaluate import score_checkpoints
from llm4seg_probe.training.task import ArchiveIO, SegmentationTask
from llm4seg_probe.training.writer import FolderWriter

_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def train(config: Config, out: Path, *, resume: bool = False) -> Path:
    """Train, select and score one run; return the path of its ``run.pt``.

    The folder ``out`` then holds the files of a run folder; interrupted, it goes on with
    ``resume``. Raises a UserError where the data, the layer or the folder do not allow it.
    """
    started = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"), blocking=False)
    try:
        with lock:
            _train(config, out, resume=resume, started=started)
    except Timeout as error:
        raise TrainingError(f"another process is training {out} at this moment") from error
    return out / folder.BEST


def _train(config: Config, out: Path, *, resume: bool, started: float) -> None:
    collection = open_collection(config.data.name, classes=config.data.classes)
    split = split_of(collection, config.data)
    last = folder.prepare(out, config, resume=resume)
    split.save(out / folder.SPLIT)
    with computing(config.compute):
        network = _fit(config, collection, split, out, last)
        scores = score_checkpoints(
            {"best": checkpoint.read_run(out / folder.BEST)["state"], "last": None},
            network, config, collection, split, run=out.name,
        )  # fmt: skip
    tables.write_table(scores, out / folder.SCORES, tables.SCORES)
    about = environment() | {
        "wall_seconds": round(time.monotonic() - started, 3),
        "peak_memory_mb": peak_memory_mb(),
        "data_fingerprint": collection.fingerprint,
        "split_fingerprint": split.fingerprint,
    }
    storage.write_json(out / folder.ENVIRONMENT, about)


def _fit(
    config: Config, collection: Collection, split: Split, out: Path, last: Path | None
) -> nn.Module:
    network = arranged(build_network(config), config)
    task = SegmentationTask(
        config,
        network,
        ImageDataset(collection, split.train, config.data, augment_seed=config.seed),
        ImageDataset(collection, split.val, config.data, augment_seed=None),
    )
    steps = config.training.epochs * task.steps_per_epoch
    with progress.bar(f"Training {out.name}", steps) as advance, _quiet(), _rng_kept():
        writer = FolderWriter(out, out.name, collection.name, split, advance)
        trainer = lightning.Trainer(
            max_epochs=config.training.epochs,
            accelerator=config.compute.accelerator,
            devices=1,
            precision=_PRECISION[config.compute.precision],
            gradient_clip_val=config.training.optimiser.gradient_clip,
            callbacks=[writer],
            plugins=[ArchiveIO()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            default_root_dir=out,
        )
        if last is not None:
            advance(checkpoint.read(last)["global_step"])
        trainer.fit(task, ckpt_path=last)
    return task.network.eval()


@contextmanager
def _rng_kept() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice on loader workers and its banner; our configuration decides."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # Lightning 2.6 asks torch 2.13 about its trees in a way that torch deprecates.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)
