"""Robustness: scores on worse images, the same ones for every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import torch

from llm4seg_probe import progress
from llm4seg_probe.activations.passes import (
    Run,
    evaluating,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.collection import Collection, RawImage, Sample
from llm4seg_probe.errors import DataError, UserError, unknown
from llm4seg_probe.measures.segmentation import overlap_scores
from llm4seg_probe.models.heads import answers
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows
from llm4seg_probe.probes.robustness import ROBUSTNESS, Options
from llm4seg_probe.probes.robustness.corruptions import (
    CORRUPTIONS,
    STRENGTHS,
    corrupted,
    value_range,
)
from llm4seg_probe.randomness import address
from llm4seg_probe.training.scoring import predicted_logits

CT_WINDOW = DataConfig().ct_window


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`robustness_table`."""
    corruptions = options.corruptions or tuple(CORRUPTIONS)
    return Measurement(robustness_table(probed.run, probed.collection, probed.samples, corruptions))


def robustness_table(
    run: Run,
    collection: Collection,
    samples: Sequence[Sample],
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    strengths: Sequence[int] = STRENGTHS,
) -> pd.DataFrame:
    """``robustness.csv`` of one run: IoU and Dice per corruption, strength, image and class.

    Images are corrupted as they are stored, before the run's normalisation, see :func:`worse`;
    strength 0 is the image itself, and gives the scores of ``evaluate`` to the bit.
    ``parameter`` is that of the strength, in ``unit``; empty at strength 0.

    Raises UserError for an unknown corruption or strength, DataError where there are no images,
    or none has any foreground.
    """
    for kind in corruptions:
        if kind not in CORRUPTIONS:
            raise UserError(unknown("corruption", kind, CORRUPTIONS))
    for strength in strengths:
        if strength not in STRENGTHS:
            raise UserError(f"strength is {strength}: give whole numbers from 0 to 5")
    if not samples:
        raise DataError(f"there are no images to probe run {run.name} on")
    refuse_without_foreground(any(collection.read(sample).mask.any() for sample in samples), run)
    rows = Rows(ROBUSTNESS)
    steps = [(kind, strength) for kind in corruptions for strength in strengths if strength]
    clean = _scores(run, collection, samples, collection) if 0 in strengths else []
    for kind in dict.fromkeys(corruptions):
        for row in clean:
            rows.add({**row, "corruption": kind, "strength": 0, "unit": CORRUPTIONS[kind].unit})
    for kind, strength in progress.track(dict.fromkeys(steps), f"Robustness of {run.name}"):
        corruption = CORRUPTIONS[kind]
        what = {"corruption": kind, "strength": strength, "unit": corruption.unit}
        parameter = corruption.parameters[strength - 1]
        seen = worse(collection, kind, strength, run.config.data.ct_window)
        for row in _scores(run, seen, samples, collection):
            rows.add({**row, **what, "parameter": parameter})
    return rows.table()


def _scores(
    run: Run, seen: Collection, samples: Sequence[Sample], collection: Collection
) -> list[dict[str, str | int | float]]:
    """Scores of the network on the images of ``seen``, against the masks of ``collection``."""
    rows: list[dict[str, str | int | float]] = []
    with evaluating(run.network):
        for sample, logits in predicted_logits(run.network, run.config, seen, samples):
            mask = torch.from_numpy(collection.read(sample).mask)[None]
            masks, missing = (answer.cpu() for answer in answers(logits[None], run.config))
            scores = overlap_scores(masks, mask)
            scores = {name: found.where(~missing, torch.nan) for name, found in scores.items()}
            for index, name in enumerate(run.config.data.classes):
                values = {score: scores[score][0, index].item() for score in ("iou", "dice")}
                keys = {"image": sample.image, "group": sample.group, "class": name}
                rows.append({**run_columns(run), **keys, **values})
    return rows


def worse(
    collection: Collection, kind: str, strength: int, window: tuple[float, float] = CT_WINDOW
) -> Collection:
    """The collection with every image corrupted; masks are as they were.

    Draws come from the address (image, kind, strength). Intensities stay in the image's own
    units, and what the corruption is measured by is the range that the normalisation looks at:
    for CT the ``window``, so that noise of 0.02 in 1000 HU has an SD of 20 HU; for 8-bit
    images 0 to 255; for MR the image's own least to largest value. CT outside the window is
    clipped by JPEG and contrast, as every normalisation does later anyway.
    """
    values = {entry.name: getattr(collection, entry.name) for entry in fields(Collection)}
    return _Worse(**values, of=collection, kind=kind, strength=strength, window=window)


@dataclass(frozen=True, eq=False)
class _Worse(Collection):
    """A collection whose images are corrupted as they are read."""

    of: Collection | None = None
    kind: str = ""
    strength: int = 0
    window: tuple[float, float] = CT_WINDOW

    def read(self, sample: Sample) -> RawImage:
        """Corrupted image and unchanged mask of a sample."""
        raw = super().read(sample) if self.of is None else self.of.read(sample)
        image = torch.from_numpy(np.ascontiguousarray(raw.image))
        found = corrupted(
            image,
            self.kind,
            self.strength,
            value_range=value_range(image, raw.modality, self.window),
            seed=address("robustness", sample.image, self.kind, self.strength),
        )
        return replace(raw, image=found.numpy())
