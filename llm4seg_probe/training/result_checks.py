"""Checks of a trained run: signs of failure, each with the field to change.

They are those that the paper's summary names. They are hints, no tests: whether a difference is
more than the noise of seeds is for ``llm4seg-probe compare`` to say. What shows before training
is in :mod:`llm4seg_probe.models.setup_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config, load_config
from llm4seg_probe.scores import SCORES
from llm4seg_probe.training import run_folder
from llm4seg_probe.training.epochs import chosen_epoch, followed, rows_of
from llm4seg_probe.training.tasks.registry import part_of

if TYPE_CHECKING:
    from llm4seg_probe.training.stored_run import Run

FEWEST_EPOCHS = 6
WIDENED = 0.03
"""Growth of the gap, in IoU, from the middle third of a training to its last, that is told."""

_PAIR = ["dataset", "seed", "image", "class"]


def after_training(run: Path) -> list[str]:
    """Check a finished run by its own folder. Raises a UserError where it is not a run's."""
    config = load_config(run / run_folder.CONFIG)
    return growing_gap(tables.read_table(run / run_folder.METRICS, tables.METRICS), config)


def outcome(folder: Path) -> str:
    """Say what a finished run learned: its best epoch, and its scores on validation and test."""
    metrics = tables.read_table(folder / run_folder.METRICS, tables.METRICS)
    scores = tables.read_table(folder / run_folder.SCORES, tables.SCORES)
    config = load_config(folder / run_folder.CONFIG)
    best = chosen_epoch(metrics)
    reached = followed(rows_of(metrics)[best])
    test = scores[(scores["checkpoint"] == "best") & (scores["split"] == "test")]
    return (
        f"Best of {len(metrics)} epochs: {best + 1}, validation {reached}. "
        f"{part_of(config).learned(test)}"
    )


def same_everywhere(run: Run) -> str | None:
    """Say that a network answers the same to all of its validation images; None if it does not.

    Such a run has learned nothing, whatever its scores are.
    """
    return part_of(run.config).constant(run)


def growing_gap(metrics: pd.DataFrame, config: Config) -> list[str]:
    """Warn where training goes on to fit its own images while validation no longer gains.

    ``metrics`` has a row per epoch, as ``metrics.csv``. Told when, from the middle third of the
    epochs to the last, the gap between training and validation IoU grows by more than
    ``WIDENED`` and the validation loss does not fall; never with fewer than ``FEWEST_EPOCHS``.
    """
    if len(metrics) < FEWEST_EPOCHS:
        return []
    third = len(metrics) // 3
    ordered = metrics.sort_values("epoch")
    middle, last = ordered.iloc[-2 * third : -third], ordered.iloc[-third:]
    if ordered["val_iou"].isna().any():  # a task without masks has none
        return []
    before, after = (float((part["train_iou"] - part["val_iou"]).mean()) for part in (middle, last))
    falls = last["val_loss"].mean() < middle["val_loss"].mean()
    if after - before <= WIDENED or falls:
        return []
    return [
        f"training and validation drift apart: the gap in IoU grew from {before:.3f} to "
        f"{after:.3f} in the last third of the epochs, and the validation loss no longer falls. "
        f"{_against_overfitting(config)}"
    ]


def no_gain(
    scores: pd.DataFrame, configs: Mapping[str, Config], baseline: str = "cnn"
) -> list[str]:
    """Warn of arms that are no better than the baseline, by mean IoU over their common images.

    ``scores`` has the columns of ``scores.csv``; the selected checkpoint on the test split
    counts. ``configs`` is the configuration of each arm; arms without one are passed over.
    """
    chosen = scores[(scores["checkpoint"] == "best") & (scores["split"] == "test")]
    reference = chosen[chosen["arm"] == baseline]
    sentences = []
    for arm, config in configs.items():
        own = chosen[chosen["arm"] == arm]
        both = own.merge(reference, on=_PAIR, suffixes=("", "_baseline"))
        name = "iou" if own["iou"].notna().any() else "image_auroc"
        if arm == baseline or both.empty or f"{name}_baseline" not in both:
            continue
        mean, other = (float(both[column].mean()) for column in (name, f"{name}_baseline"))
        if mean > other or mean != mean:
            continue
        count = both["seed"].nunique()
        seeds = f"{count} seed{'s' * (count > 1)}"
        sentences.append(
            f"{arm} is no better than {baseline}: mean {SCORES[name].label} {mean:.4f} against "
            f"{other:.4f} over {seeds}. {_for_a_gain(config)}"
        )
    return sentences


def _against_overfitting(config: Config) -> str:
    arm, rates = ARMS[config.arm], config.training.optimiser
    if arm.middle == "nothing":
        return f"Raise training.optimiser.weight_decay (it is {rates.weight_decay:g})"
    adapters = (
        "raise training.optimiser.adapters_weight_decay "
        f"(it is {_or_the_cnns(rates.adapters_weight_decay, rates.weight_decay)})"
    )
    if arm.trainable:
        frozen = "llm" if arm.weights == "pretrained" else "random-frozen"
        return f"Freeze the layer (arm: {frozen}), or {adapters}"
    return adapters[0].upper() + adapters[1:]


def _for_a_gain(config: Config) -> str:
    arm, rates = ARMS[config.arm], config.training.optimiser
    hint = (
        "What may be set otherwise, chosen on the validation images and before the seeds that are "
        "reported: training.optimiser.adapters_lr "
        f"(it is {_or_the_cnns(rates.adapters_lr, rates.lr)})"
    )
    if arm.middle == "layer" and arm.weights == "pretrained":
        layers = ", ".join(map(str, config.booster.layers))
        deeper = f"a deeper booster.layer (it is {layers})"
        hint += f", or {'other layers in booster.mixture' if arm.mixed else deeper}"
    return hint


def _or_the_cnns(own: float | None, cnn: float) -> str:
    return f"that of the CNN, {cnn:g}" if own is None else f"{own:g}"
