"""How far training and validation come apart, from the training curves of the runs."""

from __future__ import annotations

import pandas as pd


def with_gaps(curves: pd.DataFrame) -> pd.DataFrame:
    """Training curves with ``iou_gap`` and ``loss_gap``: how much better training looks.

    train_iou − val_iou and val_loss − train_loss: larger is more overfitted for both.
    """
    return curves.assign(
        iou_gap=curves["train_iou"] - curves["val_iou"],
        loss_gap=curves["val_loss"] - curves["train_loss"],
    )


def at_checkpoints(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per run and ``checkpoint``: ``last``, the last epoch, and ``best``, the chosen one.

    Chosen is the first epoch of the highest validation IoU, as in training. A run whose last epoch
    is its best has that row twice. The epoch itself is no column: it differs between runs.
    """
    if curves.empty:
        return curves
    in_order = curves.sort_values(["run", "epoch"], kind="stable")
    best = in_order.loc[in_order.groupby("run", sort=False)["val_iou"].idxmax()]
    last = in_order.groupby("run", sort=False).tail(1)
    parts = [last.assign(checkpoint="last"), best.assign(checkpoint="best")]
    return pd.concat(parts, ignore_index=True).drop(columns="epoch")
