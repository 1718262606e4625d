"""The training loop, and what it writes while it runs."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from llm4seg_probe import progress, tables
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset, WholeImages
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.subsets import all_training_images
from llm4seg_probe.errors import CheckpointError, TrainingError, UserError
from llm4seg_probe.models.network import portable_state
from llm4seg_probe.progress import Advance
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import shown
from llm4seg_probe.training import checkpoint, run_folder
from llm4seg_probe.training.averaging import WeightAverage
from llm4seg_probe.training.checkpoint import refuse_unresumable
from llm4seg_probe.training.epochs import best_epoch, followed, items_of_epoch
from llm4seg_probe.training.gates import gate_rows, resumed_gates, told_gates
from llm4seg_probe.training.loggers import loggers_of
from llm4seg_probe.training.run_folder import BEST, GATES, LAST, METRICS
from llm4seg_probe.training.stored_run import run_content
from llm4seg_probe.training.task import ArchiveIO, SegmentationTask


class FolderWriter(lightning.Callback):
    """After each epoch: the row in ``metrics.csv``, ``run.pt`` if it is the best, ``last.pt``.

    Of an arm with a mixture or a gate also the rows in ``gates.csv``, of the weights that are
    validated and stored. ``last.pt`` comes last and carries the rows and the best score: killed in
    between, a run goes on from the epoch before and writes the same files again. Of several
    processes the first writes. The training stops early where the configuration says so.
    """

    def __init__(
        self,
        folder: Path,
        dataset: str,
        split: Split,
        *,
        embed_layer: bool,
        average: WeightAverage | None = None,
    ) -> None:
        self.folder = folder
        self.dataset = dataset
        self.split = split
        self.advance: Advance = lambda steps: None
        """Moves the progress bar, once there is one."""
        self.embed_layer = embed_layer
        self.average = average
        """What is stored instead of the weights."""
        self.rows: list[dict[str, Any]] = []
        self.gates: list[dict[str, Any]] = []
        self.began = False
        """Whether training has begun: what was to be resumed is in place then."""
        self._started = time.monotonic()
        self._timed = 0

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Move the progress bar."""
        self.advance(1)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write what the epoch gave."""
        assert isinstance(pl_module, SegmentationTask)
        row = pl_module.epoch_row()
        better = best_epoch([*self.rows, row]) == len(self.rows)
        self.rows.append(row)
        with self._stored():
            gates = gate_rows(pl_module.network, int(row["epoch"]))
        self.gates += gates
        if trainer.is_global_zero:
            self._write(pl_module, row, better)
            progress.say(self._told(pl_module.config.training.epochs))
        for logger in trainer.loggers:
            values = {name: value for name, value in row.items() if name != "epoch"}
            values |= told_gates(gates)
            logger.log_metrics(values | {"epoch": row["epoch"]}, step=trainer.global_step)
        trainer.save_checkpoint(self.folder / LAST)
        self._stop_early(trainer, pl_module)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Train no further where the run that is resumed had already come to its early end."""
        self.began = True
        self._started = time.monotonic()
        assert isinstance(pl_module, SegmentationTask)
        self._stop_early(trainer, pl_module)

    def _told(self, epochs: int) -> str:
        """The last epoch in one line: loss, validation IoU, the best so far, the time left."""
        row, best = self.rows[-1], best_epoch(self.rows)
        self._timed += 1
        left = (time.monotonic() - self._started) / self._timed * (epochs - len(self.rows))
        return (
            f"{self.folder.name}: epoch {len(self.rows)} of {epochs}, loss "
            f"{row['train_loss']:.3f}, validation {followed(row)} (best "
            f"{followed(self.rows[best]).split()[-1]} in epoch {best + 1})"
            f"{f', about {progress.in_words(left)} left' if left else ''}"
        )

    def _stop_early(self, trainer: lightning.Trainer, task: SegmentationTask) -> None:
        patience = task.config.training.early_stopping
        if patience and len(self.rows) - 1 - best_epoch(self.rows) >= patience:
            trainer.should_stop = True

    def _write(self, task: SegmentationTask, row: dict[str, Any], better: bool) -> None:
        if better:
            with self._stored():
                content = run_content(
                    task.network,
                    task.config,
                    name=self.folder.name,
                    dataset=self.dataset,
                    split=self.split,
                    epoch=int(row["epoch"]),
                    val_iou=None if math.isnan(row["val_iou"]) else row["val_iou"],
                    embed_layer=self.embed_layer,
                )
                checkpoint.save(content, self.folder / BEST)
        tables.write_table(pd.DataFrame(self.rows), self.folder / METRICS, tables.METRICS)
        if self.gates:
            by_epoch = pd.DataFrame(self.gates, columns=list(tables.GATES.columns))
            tables.write_table(by_epoch, self.folder / GATES, tables.GATES)

    def _stored(self) -> AbstractContextManager[None]:
        """While the block runs, the network has the weights that are validated and stored."""
        return nullcontext() if self.average is None else self.average.in_place()

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, for resuming, and whether the layer is embedded."""
        return {"rows": self.rows, "embed_layer": self.embed_layer, "gates": self.gates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of the epochs before the interruption.

        Raises TrainingError where the layer was embedded then and is not now, or the reverse.
        """
        begun = state_dict.get("embed_layer", False)
        if begun != self.embed_layer:
            raise TrainingError(
                f"{self.folder} was begun {'with' if begun else 'without'} --embed-llm: a run is "
                "resumed as it was begun"
            )
        rows = state_dict["rows"]
        columns = set(tables.METRICS.columns)
        if not isinstance(rows, list) or not all(
            isinstance(row, dict)
            and columns <= set(row)
            and all(isinstance(row[name], int | float) for name in columns)
            for row in rows
        ):
            raise CheckpointError(
                f"{self.folder} cannot be resumed: the epochs in its last.pt are no numbers. Train "
                "the run again from the start"
            )
        self.rows = rows
        self.gates = resumed_gates(state_dict.get("gates", []), self.folder)


_PRECISION: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def fit_network(
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
    one of them, and its environment says which. Afterwards the network is the one to be scored:
    the average of the weights where the configuration has one. Raises UserErrors.
    """
    loggers = loggers_of(config.training.loggers, out)
    of_all = all_training_images(collection, config.data, split.train)
    images = ImageDataset(collection, split.train, config.data, augment_seed=config.seed)
    if images.noise:
        progress.say(f"{out.name}: {images.noise}")
    task = SegmentationTask(
        config,
        network,
        images,
        WholeImages(collection, split.val, config.data),
        items_of_epoch(config, len(split.train), of_all),
    )
    decay = config.training.average
    average = None if decay is None else WeightAverage(network, decay)
    writer = FolderWriter(out, collection.name, split, embed_layer=embed_layer, average=average)
    batches = config.training.epochs * task.batches_per_epoch
    last = out / run_folder.LAST if resume else None
    stored = _resumable(last, network)
    if config.compute.compile:
        network.compile()  # in place, so that no tensor gets another name
    with progress.bar(f"Training {out.name}", batches) as advance, _quiet(), _rng_kept():
        writer.advance = advance
        # The average first: it has taken in a batch before the writer stores it.
        callbacks = [writer] if average is None else [average, writer]
        trainer = trainer_of(config, out, callbacks, loggers)
        if stored is not None:
            done = stored["global_step"] / task.steps_per_epoch
            advance(done * task.batches_per_epoch)
        try:
            trainer.fit(task, ckpt_path=last)
        except UserError:
            raise
        except Exception as error:  # of whatever kind: Lightning trusts what it restores
            if last is None or writer.began:
                raise
            raise CheckpointError(
                f"{last} cannot be resumed from ({reason(error)}): train the run again from the "
                "start"
            ) from error
    if average is not None:
        average.keep()


def _resumable(last: Path | None, network: nn.Module) -> dict[str, Any] | None:
    """Contents of a ``last.pt`` whose weights fit the network. Raises CheckpointError."""
    if last is None:
        return None
    stored = checkpoint.read(last)
    refuse_unresumable(stored, f"{last}")
    own = portable_state(network)
    given = {name.removeprefix("network."): value for name, value in stored["state_dict"].items()}
    wrong = [name for name, value in own.items() if _differs(given.get(name), value)]
    if wrong or set(given) - set(own):
        named = (wrong or sorted(set(given) - set(own)))[0]
        raise CheckpointError(
            f"{last} cannot be resumed from: its weights do not fit the network, such as "
            f"{shown(named)}. Train the run again from the start"
        )
    return stored


def _differs(given: torch.Tensor | None, own: torch.Tensor) -> bool:
    """Whether a stored tensor is missing, of another shape or kind, or not finite."""
    if given is None or given.shape != own.shape or given.dtype != own.dtype:
        return True
    return given.is_floating_point() and not bool(torch.isfinite(given).all())


def trainer_of(
    config: Config,
    out: Path,
    callbacks: Sequence[lightning.Callback],
    loggers: Sequence[Logger] = (),
) -> lightning.Trainer:
    """Lightning's trainer as a configuration wants it; what it writes itself goes to ``out``."""
    return lightning.Trainer(
        max_epochs=config.training.epochs,
        accelerator=config.compute.device.partition(":")[0],
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
        number = compute.device.partition(":")[2]
        return {"devices": [int(number)] if number else 1, "plugins": [ArchiveIO()]}
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
