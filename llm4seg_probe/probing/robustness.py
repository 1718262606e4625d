"""Robustness: scores on worse images, the same ones for every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import torch

from llm4seg_probe import progress
from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.collection import Collection, RawImage, Sample
from llm4seg_probe.errors import DataError, UserError, unknown
from llm4seg_probe.measures.corruption import CORRUPTIONS, STRENGTHS, corrupted
from llm4seg_probe.measures.segmentation import overlap_scores
from llm4seg_probe.models.output import decided
from llm4seg_probe.probing.passes import Run, evaluating, run_columns
from llm4seg_probe.probing.rows import Rows
from llm4seg_probe.randomness import address
from llm4seg_probe.tables import ROBUSTNESS
from llm4seg_probe.training.evaluate import predict

CT_WINDOW = DataConfig().ct_window
SHOWS = (
    "Robustness shows how scores fall as images get worse in five artificial ways, for all arms "
    "on the same images. It cannot show how a network does on images of another scanner, clinic "
    "or patient, which differ in ways that no single dial has."
)


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
    if not any(collection.read(sample).mask.any() for sample in samples):
        raise DataError(
            f"no image that run {run.name} was scored on has any foreground: give images that have"
        )
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
        for sample, logits in predict(run.network, run.config, seen, samples):
            mask = torch.from_numpy(collection.read(sample).mask)[None]
            scores = overlap_scores(decided(logits[None], run.config), mask)
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
    return _Worse(**values, kind=kind, strength=strength, window=window)


@dataclass(frozen=True, eq=False)
class _Worse(Collection):
    """A collection whose images are corrupted as they are read."""

    kind: str = ""
    strength: int = 0
    window: tuple[float, float] = CT_WINDOW

    def read(self, sample: Sample) -> RawImage:
        """Corrupted image and unchanged mask of a sample."""
        raw = super().read(sample)
        image = torch.from_numpy(np.ascontiguousarray(raw.image))
        found = corrupted(
            image,
            self.kind,
            self.strength,
            value_range=_value_range(image, raw.modality, self.window),
            seed=address("robustness", sample.image, self.kind, self.strength),
        )
        return replace(raw, image=found.numpy())


def _value_range(
    image: torch.Tensor, modality: str, window: tuple[float, float]
) -> tuple[float, float]:
    if modality == "ct":
        return window
    if modality == "photo":
        return 0.0, 255.0
    return image.min().item(), image.max().item()
