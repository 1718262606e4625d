"""What a training writes into its run folder after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.data.splits import Split
from llm4seg_probe.models.network import frozen_decoder, portable_state
from llm4seg_probe.progress import Advance
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.folder import BEST, LAST, METRICS
from llm4seg_probe.training.task import SegmentationTask


def run_content(
    task: SegmentationTask, name: str, dataset: str, split: Split, row: dict[str, Any]
) -> dict[str, Any]:
    """What ``run.pt`` holds: enough to open it from any folder, without the frozen layer."""
    decoder = frozen_decoder(task.network)
    return {
        "format": checkpoint.FORMAT,
        "version": checkpoint.VERSION,
        "name": name,
        "dataset": dataset,
        "config": task.config.model_dump(mode="json"),
        "split": split.to_dict(),
        "epoch": row["epoch"],
        "val_iou": row["val_iou"],
        "layer": decoder.identity.to_dict() if decoder is not None else None,
        "state": portable_state(task.network),
    }


class FolderWriter(lightning.Callback):
    """After each epoch: the row in ``metrics.csv``, ``run.pt`` if it is the best, ``last.pt``.

    ``last.pt`` comes last and carries the rows and the best score: killed in between, a run goes
    on from the epoch before and writes the same files again.
    """

    def __init__(self, folder: Path, name: str, dataset: str, split: Split, advance: Advance):
        self.folder = folder
        self.about = (name, dataset, split)
        self.advance = advance
        self.rows: list[dict[str, Any]] = []

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Move the progress bar."""
        self.advance(1)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Write what the epoch gave."""
        assert isinstance(pl_module, SegmentationTask)
        row = pl_module.epoch_row()
        best = max((earlier["val_iou"] for earlier in self.rows), default=float("-inf"))
        self.rows.append(row)
        if row["val_iou"] > best:
            checkpoint.save(run_content(pl_module, *self.about, row), self.folder / BEST)
        tables.write_table(pd.DataFrame(self.rows), self.folder / METRICS, tables.METRICS)
        trainer.save_checkpoint(self.folder / LAST)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, for resuming."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of the epochs before the interruption."""
        self.rows = state_dict["rows"]
