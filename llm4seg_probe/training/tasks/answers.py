"""The answer of a network to its validation images, where it is always the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llm4seg_probe.models.heads import answers
from llm4seg_probe.training.compute import computing
from llm4seg_probe.training.inference import logits_of

if TYPE_CHECKING:
    from llm4seg_probe.training.stored_run import Run

LOOKED_AT = 32
"""Validation images on which a constant answer shows."""


@dataclass(frozen=True)
class ConstantAnswer:
    """The classes that are said to be at every pixel of so many images, or in every image."""

    classes: tuple[str, ...]
    images: int


def constant_answer(run: Run) -> ConstantAnswer | None:
    """The one answer of a network to its validation images; None where there are several."""
    always = sometimes = None
    count = 0
    with torch.no_grad(), computing(run.config.compute):
        for batch in run.batches("val"):
            logits = logits_of(run.network, batch.images, run.config)
            masks, missing = answers(logits, run.config)
            if missing.any():
                return None  # no answer at all, which is said where it is scored
            pixels = masks.movedim(1, -1).flatten(0, -2)
            always = pixels.all(0) if always is None else always & pixels.all(0)
            sometimes = pixels.any(0) if sometimes is None else sometimes | pixels.any(0)
            count += len(batch.images)
            if count >= LOOKED_AT or (always != sometimes).any():
                break
    if always is None or sometimes is None or (always != sometimes).any():
        return None
    answer = zip(run.config.data.classes, always.tolist(), strict=True)
    return ConstantAnswer(tuple(name for name, there in answer if there), count)


def to_change(run: Run, what: str, command: str) -> str:
    """What to change in a run that has learned nothing, beside looking at its data."""
    training = run.config.training
    return (
        f"Train longer (training.epochs is {training.epochs}), try another "
        f"training.optimiser.lr (it is {training.optimiser.lr:g}), or look at {what} ({command})"
    )
