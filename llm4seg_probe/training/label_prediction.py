"""Predict labels, or centres of objects, of new images: a table, a row per image or object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor

from llm4seg_probe import progress
from llm4seg_probe.data.collection import RawImage
from llm4seg_probe.errors import DataError
from llm4seg_probe.models.heads import answers, probabilities, why_no_numbers
from llm4seg_probe.storage import atomically
from llm4seg_probe.training.compute import computing
from llm4seg_probe.training.inference import logits_of
from llm4seg_probe.training.predict import images_in, left_over, read_new
from llm4seg_probe.training.stored_run import Run
from llm4seg_probe.training.tasks.detection import found_in

PREDICTIONS = "predictions.csv"
"""The table, in the folder of the results."""
LEAST = 0.1
"""Probability from which on an object is listed; how many are right at which is for FROC to say."""
Rows = Iterator[dict[str, Any]]


def predicted_table(run: Run, images: Path, *, modality: str | None = None) -> pd.DataFrame:
    """What a run says of an image, or of each of a folder.

    Of a classification the probability of each class, and whether the image is said to have it;
    of a detection the objects whose probability is at least ``LEAST``, with their place in pixels
    of the image (from the middle of the first one). Raises DataError that names
    the file.
    """
    rows_of = _ROWS[run.config.task]
    paths = images_in(images)
    for leftover in left_over(images, paths):
        if leftover.severity != "note":
            progress.say(leftover.sentence)
    rows: list[dict[str, Any]] = []
    for name, path in progress.track(paths.items(), "Predicting", total=len(paths)):
        raw = read_new(path, images, modality, run.config.data.modality)
        axes, wanted = raw.image.ndim - 1, len(run.config.data.image_size)
        if axes != wanted:
            raise DataError(
                f"{path}: has {axes} axes, but run {run.name} was trained on images of {wanted}"
            )
        with computing(run.config.compute):
            found = rows_of(run, raw, _logits(run, raw, path))
            rows += [{"image": name, **row, "file": str(path)} for row in found]
    columns = ["image", *_COLUMNS[run.config.task], "file"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def write_predictions(table: pd.DataFrame, out: Path) -> Path:
    """Write the table into a folder, whole or not at all; returns its path."""
    with atomically(out / PREDICTIONS) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    return out / PREDICTIONS


def _logits(run: Run, raw: RawImage, path: Path) -> Tensor:
    """Logits (1, channels, *size) of an image. Raises DataError for one that gets no numbers."""
    try:
        with torch.no_grad():
            logits = logits_of(run.network, run.transform(raw)[None], run.config).float()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    why = why_no_numbers(logits, run.config)
    if why:
        raise DataError(
            f"{path}: run {run.name} gives no numbers ({why}) for this image. Train it again with "
            "a lower training.optimiser.lr"
        )
    return logits


def _of_labels(run: Run, raw: RawImage, logits: Tensor) -> Rows:
    said, _ = answers(logits, run.config)
    values = probabilities(logits, run.config).flatten().tolist()
    for name, value, is_said in zip(
        run.config.data.classes, values, said.flatten().tolist(), strict=True
    ):
        yield {"class": name, "probability": value, "said": int(is_said)}


def _of_objects(run: Run, raw: RawImage, logits: Tensor) -> Rows:
    grid = raw.image.shape[1:]
    names = ("z", "y", "x")[-len(grid) :]
    for name, found in zip(
        run.config.data.classes, found_in(logits[0], grid, run.config), strict=True
    ):
        for place, probability in zip(
            found.places.tolist(), expit(found.heights).tolist(), strict=True
        ):
            if probability >= LEAST:
                places = dict(zip(names, place, strict=True))
                yield {"class": name, **places, "probability": probability}


_ROWS: dict[str, Callable[[Run, RawImage, Tensor], Rows]] = {
    "classification": _of_labels,
    "detection": _of_objects,
}
_COLUMNS = {
    "classification": ("class", "probability", "said"),
    "detection": ("class", "y", "x", "probability"),
}
