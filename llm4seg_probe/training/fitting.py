"""The training itself, in one process: alone, or as one of several that share each batch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from llm4seg_probe import progress
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset, WholeImages
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.training import checkpoint, folder
from llm4seg_probe.training.loggers import loggers_of
from llm4seg_probe.training.task import ArchiveIO, SegmentationTask
from llm4seg_probe.training.writer import FolderWriter

_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def fit(
    config: Config,
    network: nn.Module,
    collection: Collection,
    split: Split,
    out: Path,
    *,
    resume: bool,
    embed_layer: bool,
) -> None:
    """Train the network, writing into the run folder ``out`` after each epoch.

    With ``resume`` from its ``last.pt``. Where the configuration names several processes, this is
    one of them, and its environment says which. Raises UserErrors.
    """
    loggers = loggers_of(config.training.loggers, out)
    task = SegmentationTask(
        config,
        network,
        ImageDataset(collection, split.train, config.data, augment_seed=config.seed),
        WholeImages(collection, split.val, config.data),
    )
    writer = FolderWriter(out, collection.name, split, embed_layer=embed_layer)
    batches = config.training.epochs * task.batches_per_epoch
    last = out / folder.LAST if resume else None
    if config.compute.compile:
        network.compile()  # in place, so that no tensor gets another name
    with progress.bar(f"Training {out.name}", batches) as advance, _quiet(), _rng_kept():
        writer.advance = advance
        trainer = trainer_of(config, out, [writer], loggers)
        if last is not None:
            done = checkpoint.read(last)["global_step"] / task.steps_per_epoch
            advance(done * task.batches_per_epoch)
        trainer.fit(task, ckpt_path=last)


def trainer_of(
    config: Config,
    out: Path,
    callbacks: Sequence[lightning.Callback],
    loggers: Sequence[Logger] = (),
) -> lightning.Trainer:
    """Lightning's trainer as a configuration wants it; what it writes itself goes to ``out``."""
    return lightning.Trainer(
        max_epochs=config.training.epochs,
        accelerator=config.compute.accelerator,
        precision=_PRECISION[config.compute.precision],
        gradient_clip_val=config.training.optimiser.gradient_clip,
        accumulate_grad_batches=config.training.accumulate,
        callbacks=list(callbacks),
        logger=list(loggers) or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        default_root_dir=out,
        **_processes(config),
    )


def _processes(config: Config) -> dict[str, Any]:
    """The trainer's arguments that are about devices."""
    compute = config.compute
    if compute.processes == 1:
        return {"devices": 1, "plugins": [ArchiveIO()]}
    return {
        "devices": compute.devices,
        "num_nodes": compute.nodes,
        "sync_batchnorm": compute.sync_batchnorm,
        # Networks may have parameters that a pass does not use.
        "strategy": DDPStrategy(find_unused_parameters=True),
        "plugins": [ArchiveIO(), LightningEnvironment()],
    }


@contextmanager
def _rng_kept() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advice on loader workers and its banner; our configuration decides."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            # Lightning 2.6 asks torch 2.13 about its trees in a way that torch deprecates.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            # That all parameters are used is no news, and layouts are the configuration's.
            warnings.filterwarnings("ignore", message="find_unused_parameters=True was")
            warnings.filterwarnings("ignore", message="Grad strides do not match")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
