"""Runs whose weights are finite, and so large that the network's answers are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from llm4seg_probe.data.batches import WholeImages, batches
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.models.heads import why_no_numbers
from llm4seg_probe.training.inference import logits_of
from llm4seg_probe.training.stored_run import Run


def overflow(path: Path, name: str, what: str, why: str) -> CheckpointError:
    """The error of a run that gives no numbers for any image. ``why``: ``NaN`` or ``infinite``."""
    return CheckpointError(
        f"{path}: run {name} gives no finite numbers for any image ({what}: {why}), though its "
        "weights are finite: they are too large to compute with. The training diverged or the "
        "file is damaged: it says nothing, so train it again"
    )


def refuse_overflow(run: Run, collection: Collection, samples: Sequence[Sample]) -> None:
    """Raise CheckpointError for a run that gives finite numbers for none of some images.

    It ends at the first image with an answer, which is the first one as a rule. Where only some
    images have none, the scoring says which.
    """
    names = tuple(sample.image for sample in samples)
    why = ""
    with torch.no_grad():
        for batch in batches(WholeImages(collection, names, run.config.data), 1):
            why = why_no_numbers(logits_of(run.network, batch.images, run.config), run.config)
            if not why:
                return
    if why:
        raise overflow(run.path, run.name, "its answer", why)
