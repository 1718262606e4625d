"""The length of an epoch in steps, and the choice of one by its row in ``metrics.csv``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from llm4seg_probe.config import Config


def items_of_epoch(config: Config, images: int, of_all: int) -> int:
    """Items of one epoch of a run on so many images, of a training side of ``of_all``.

    An item is an image, or one of its patches. With ``training.steps_per_epoch: full`` the items
    are as many as those of all images, and so the steps are those of a run on all of them.
    """
    data, training = config.data, config.training
    patches = data.patches_per_image if data.sampling == "patches" else 1
    if training.steps_per_epoch is None:
        return images * patches
    if training.steps_per_epoch == "full":
        return of_all * patches
    return training.steps_per_epoch * training.accumulate * training.batch_size


def batches_of_epoch(config: Config, images: int, of_all: int) -> int:
    """Batches of one epoch; a last small one counts."""
    return math.ceil(items_of_epoch(config, images, of_all) / config.training.batch_size)


def best_epoch(rows: Sequence[Mapping[str, Any]]) -> int:
    """Place of the first row with the highest validation IoU; of no rows -1.

    A task without masks has no IoU: the lowest validation loss is chosen then.

    >>> best_epoch([{"val_iou": 0.1, "val_loss": 1.0}, {"val_iou": 0.2, "val_loss": 2.0}])
    1
    >>> best_epoch([{"val_iou": None, "val_loss": 1.0}, {"val_iou": None, "val_loss": 2.0}])
    0
    """
    return max(range(len(rows)), key=lambda place: _worth(rows[place]), default=-1)


def chosen_epoch(metrics: pd.DataFrame) -> int:
    """The same of a table, whose rows are epochs in order."""
    return best_epoch(rows_of(metrics))


def rows_of(metrics: pd.DataFrame) -> list[dict[str, float]]:
    """What an epoch is chosen by, row by row."""
    pairs = zip(metrics["val_iou"].astype(float), metrics["val_loss"].astype(float), strict=True)
    return [{"val_iou": iou, "val_loss": loss} for iou, loss in pairs]


def followed(row: Mapping[str, Any]) -> str:
    """What an epoch reached on validation, in words: its IoU, or its loss where it has none.

    >>> followed({"val_iou": 0.51, "val_loss": 1.0})
    'IoU 0.510'
    """
    if pd.isna(row["val_iou"]):
        return f"loss {row['val_loss']:.3f}"
    return f"IoU {row['val_iou']:.3f}"


def _worth(row: Mapping[str, Any]) -> float:
    return float(-row["val_loss"] if pd.isna(row["val_iou"]) else row["val_iou"])
