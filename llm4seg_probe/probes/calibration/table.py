"""The calibration probe: confidence of pixels against how often they are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from llm4seg_probe import progress
from llm4seg_probe.activations.passes import Run, evaluating, run_columns
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.errors import DataError
from llm4seg_probe.measures.calibration import BINS, calibration_scores, reliability
from llm4seg_probe.models.heads import probabilities
from llm4seg_probe.probes.calibration import BINS_TABLE, CALIBRATION
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows
from llm4seg_probe.randomness import generator
from llm4seg_probe.training.scoring import predicted_logits


def measure(probed: ProbedRun, options: object) -> Measurement:
    """Measure one run; see :func:`calibration_tables`."""
    tables = calibration_tables(probed.run, probed.collection, probed.samples)
    return Measurement(tables[CALIBRATION.name], further={BINS_TABLE.name: tables[BINS_TABLE.name]})


def calibration_tables(
    run: Run, collection: Collection, samples: Sequence[Sample]
) -> dict[str, pd.DataFrame]:
    """``calibration.csv`` and ``calibration-bins.csv`` of one run.

    The first has a row per image and class: ``ece`` and ``brier`` as ``scores.csv`` has them
    (:mod:`llm4seg_probe.measures.calibration`), and ``overconfidence``, the mean confidence less
    the share of right answers, above 0 where the network is surer than it may be. An image for
    which the network gives NaN has no values, and no pixels in any bin.

    The second is of all images together: how many ``pixels`` fall into each of the 15 bins of
    confidence, their mean ``confidence``, the share that is ``right``, and the ``gap`` between
    the two; an empty bin has no values.

    Raises DataError where there are no images.
    """
    if not samples:
        raise DataError(f"there are no images to probe run {run.name} on")
    classes = run.config.data.classes
    rows = Rows(CALIBRATION)
    pooled: dict[str, dict[str, Tensor]] = {}
    with evaluating(run.network):
        predicted = predicted_logits(run.network, run.config, collection, samples)
        for sample, logits in progress.track(
            predicted, f"Calibration of {run.name}", total=len(samples)
        ):
            found = probabilities(logits[None], run.config).cpu()
            truth = torch.from_numpy(collection.read(sample).mask)[None]
            for null, mask in {"": truth, "calibrated": _drawn(found, sample.image)}.items():
                scores, sums = calibration_scores(found, mask), reliability(found, mask)
                held = pooled.setdefault(null, {})
                for name, part in sums.items():
                    held[name] = held[name] + part[0] if name in held else part[0]
                for index, name in enumerate(classes):
                    keys = {"image": sample.image, "group": sample.group, "class": name}
                    values = {score: each[0, index].item() for score, each in scores.items()}
                    of_bins = {part: each[0, index].sum().item() for part, each in sums.items()}
                    rows.add({**run_columns(run), **keys, "null": null, **values, **_mean(of_bins)})
    return {CALIBRATION.name: rows.table(), BINS_TABLE.name: _bins(run, classes, pooled)}


def summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means over images of each run, class and null, with the error of all pixels pooled."""
    keys = ["run", "arm", "seed", "class", "null"]
    means = tables[CALIBRATION.name].groupby(keys, sort=False)[list(_SCORES)].mean()
    return means.join(pooled_errors(tables[BINS_TABLE.name])).reset_index().drop(columns="run")


def pooled_errors(bins: pd.DataFrame) -> pd.Series:
    """The calibration error of all pixels of each run, class and null: ``ece_pooled``."""
    keys = ["run", "arm", "seed", "class", "null"]
    pixels = bins["pixels"].astype(float)
    parts = bins.assign(part=bins["gap"].abs() * pixels, pixels=pixels).groupby(keys, sort=False)
    return (parts["part"].sum() / parts["pixels"].sum()).rename("ece_pooled")


_SCORES = ("ece", "brier", "overconfidence")


def _drawn(found: Tensor, image: str) -> Tensor:
    """Masks drawn from the probabilities, pixel by pixel: those that a calibrated network had."""
    draws = torch.rand(found.shape, generator=generator("null", "calibrated", image))
    return draws < found


def _mean(sums: Mapping[str, float]) -> dict[str, float]:
    pixels = sums["pixels"]
    if not pixels:
        return {"pixels": 0}
    return {"pixels": pixels, "overconfidence": (sums["confidence"] - sums["right"]) / pixels}


def _bins(
    run: Run, classes: Sequence[str], pooled: Mapping[str, Mapping[str, Tensor]]
) -> pd.DataFrame:
    rows = Rows(BINS_TABLE)
    for null, sums in pooled.items():
        for index, name in enumerate(classes):
            for place in range(BINS):
                pixels, confidence, right = (
                    sums[part][index, place].item() for part in ("pixels", "confidence", "right")
                )
                keys = {"class": name, "null": null, "bin": place + 1}
                edges = {"confidence_from": place / BINS, "confidence_to": (place + 1) / BINS}
                values = {
                    "confidence": confidence / pixels,
                    "right": right / pixels,
                    "gap": (confidence - right) / pixels,
                } if pixels else {}  # fmt: skip
                rows.add({**run_columns(run), **keys, "pixels": pixels, **edges, **values})
    return rows.table()
