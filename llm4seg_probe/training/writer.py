"""What a training writes into its run folder after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.progress import Advance
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.folder import BEST, LAST, METRICS
from llm4seg_probe.training.run import run_content
from llm4seg_probe.training.task import SegmentationTask


def best_epoch(rows: Sequence[dict[str, Any]]) -> int:
    """Place of the first row with the highest validation IoU; of no rows -1."""
    return max(range(len(rows)), key=lambda place: rows[place]["val_iou"], default=-1)


class FolderWriter(lightning.Callback):
    """After each epoch: the row in ``metrics.csv``, ``run.pt`` if it is the best, ``last.pt``.

    ``last.pt`` comes last and carries the rows and the best score: killed in between, a run goes
    on from the epoch before and writes the same files again. Of several processes the first
    writes. The training stops early where the configuration says so.
    """

    def __init__(
        self,
        folder: Path,
        dataset: str,
        split: Split,
        *,
        embed_layer: bool,
    ) -> None:
        self.folder = folder
        self.dataset = dataset
        self.split = split
        self.advance: Advance = lambda steps: None
        """Moves the progress bar, once there is one."""
        self.embed_layer = embed_layer
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
        better = best_epoch([*self.rows, row]) == len(self.rows)
        self.rows.append(row)
        if trainer.is_global_zero:
            self._write(pl_module, row, better)
        for logger in trainer.loggers:
            values = {name: value for name, value in row.items() if name != "epoch"}
            logger.log_metrics(values | {"epoch": row["epoch"]}, step=trainer.global_step)
        trainer.save_checkpoint(self.folder / LAST)
        self._stop_early(trainer, pl_module)

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Train no further where the run that is resumed had already come to its early end."""
        assert isinstance(pl_module, SegmentationTask)
        self._stop_early(trainer, pl_module)

    def _stop_early(self, trainer: lightning.Trainer, task: SegmentationTask) -> None:
        patience = task.config.training.early_stopping
        if patience and len(self.rows) - 1 - best_epoch(self.rows) >= patience:
            trainer.should_stop = True

    def _write(self, task: SegmentationTask, row: dict[str, Any], better: bool) -> None:
        if better:
            content = run_content(
                task.network,
                task.config,
                name=self.folder.name,
                dataset=self.dataset,
                split=self.split,
                epoch=int(row["epoch"]),
                val_iou=row["val_iou"],
                embed_layer=self.embed_layer,
            )
            checkpoint.save(content, self.folder / BEST)
        tables.write_table(pd.DataFrame(self.rows), self.folder / METRICS, tables.METRICS)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, for resuming, and whether the layer is embedded."""
        return {"rows": self.rows, "embed_layer": self.embed_layer}

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
        self.rows = state_dict["rows"]
