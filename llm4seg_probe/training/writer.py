"""What a training writes into its run folder after each epoch."""

from __future__ import annotations

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


class FolderWriter(lightning.Callback):
    """After each epoch: the row in ``metrics.csv``, ``run.pt`` if it is the best, ``last.pt``.

    ``last.pt`` comes last and carries the rows and the best score: killed in between, a run goes
    on from the epoch before and writes the same files again.
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
        best = max((earlier["val_iou"] for earlier in self.rows), default=float("-inf"))
        self.rows.append(row)
        if row["val_iou"] > best:
            content = run_content(
                pl_module.network,
                pl_module.config,
                name=self.folder.name,
                dataset=self.dataset,
                split=self.split,
                epoch=int(row["epoch"]),
                val_iou=row["val_iou"],
                embed_layer=self.embed_layer,
            )
            checkpoint.save(content, self.folder / BEST)
        tables.write_table(pd.DataFrame(self.rows), self.folder / METRICS, tables.METRICS)
        trainer.save_checkpoint(self.folder / LAST)

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
