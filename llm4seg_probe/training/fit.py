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

from llm4seg_probe import progress, storage, tables
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset, WholeImages
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import ConfigError, TrainingError
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.models.network import build_network
from llm4seg_probe.training import checkpoint, folder
from llm4seg_probe.training.compute import arranged, check_device, computing
from llm4seg_probe.training.environment import environment, peak_memory_mb
from llm4seg_probe.training.evaluate import score_checkpoints
from llm4seg_probe.training.task import ArchiveIO, SegmentationTask
from llm4seg_probe.training.writer import FolderWriter

_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def train(config: Config, out: Path, *, resume: bool = False, embed_layer: bool = False) -> Path:
    """Train, select and score one run; return the path of its ``run.pt``.

    The folder ``out`` then holds the files of a run folder; interrupted, it goes on with
    ``resume``. With ``embed_layer`` the layer's weights are in ``run.pt``, which then opens
    without the layer's source. Raises a UserError where the data, the network, the layer, the
    machine or the folder do not allow it, before anything is trained.
    """
    if embed_layer and ARMS[config.arm].middle != "layer":
        raise ConfigError(
            f"arm '{config.arm}' has no decoder layer to embed: leave --embed-llm out"
        )
    check_device(config.compute)
    started = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"), blocking=False)
    try:
        with lock:
            _train(config, out, resume=resume, embed_layer=embed_layer, started=started)
    except Timeout as error:
        raise TrainingError(f"another process is training {out} at this moment") from error
    return out / folder.BEST


def _train(config: Config, out: Path, *, resume: bool, embed_layer: bool, started: float) -> None:
    with computing(config.compute):
        # First, because it is quick to say what of the configuration does not fit together.
        network = arranged(build_network(config), config)
        collection = open_collection(config.data.name, classes=config.data.classes)
        split = split_of(collection, config.data)
        last = folder.prepare(out, config, resume=resume)
        split.save(out / folder.SPLIT)
        task = SegmentationTask(
            config,
            network,
            ImageDataset(collection, split.train, config.data, augment_seed=config.seed),
            WholeImages(collection, split.val, config.data),
        )
        _fit(task, FolderWriter(out, collection.name, split, embed_layer=embed_layer), last)
        network.eval()
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


def _fit(task: SegmentationTask, writer: FolderWriter, last: Path | None) -> None:
    config, out = task.config, writer.folder
    steps = config.training.epochs * task.steps_per_epoch
    with progress.bar(f"Training {out.name}", steps) as advance, _quiet(), _rng_kept():
        writer.advance = advance
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
