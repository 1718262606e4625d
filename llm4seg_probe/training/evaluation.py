"""Score runs per image and class, while training and on request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from llm4seg_probe import tables
from llm4seg_probe.config import Config
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.models.network import load_portable_state
from llm4seg_probe.training.compute import computing
from llm4seg_probe.training.finite_answers import refuse_overflow
from llm4seg_probe.training.stored_run import Run
from llm4seg_probe.training.tasks.registry import part_of


def score_checkpoints(
    states: dict[str, dict[str, Tensor] | None],
    network: nn.Module,
    config: Config,
    collection: Collection,
    split: Split,
    *,
    run: str,
) -> pd.DataFrame:
    """``scores.csv`` of one run: each checkpoint on the validation and the test images.

    A state of None is the network as it comes; it is scored first.
    """
    samples = {sample.image: sample for sample in collection.samples}
    score = part_of(config).score
    rows = []
    for name, state in sorted(states.items(), key=lambda item: item[1] is not None):
        if state is not None:
            load_portable_state(network, state)
        for part in ("val", "test"):
            keys: dict[str, Any] = {
                "run": run,
                "dataset": collection.name,
                "arm": config.arm,
                "seed": config.seed,
                "checkpoint": name,
                "split": part,
            }
            wanted = [samples[image] for image in getattr(split, part)]
            rows += [keys | row for row in score(network, config, collection, wanted, run)]
    return score_table(rows)


def scores_of(
    runs: Iterable[Run], *, split: str = "test", data: Path | None = None
) -> pd.DataFrame:
    """Score each run, as it is open, on one side of its split, or on the images of ``data``.

    Raises CheckpointError for a run that gives finite numbers for none of them.
    """
    rows = []
    for run in runs:
        collection = run.collection(data)
        wanted = set(run.images(split, data))
        samples = [sample for sample in collection.samples if sample.image in wanted]
        keys = {
            "run": run.name,
            "dataset": collection.name,
            "arm": run.arm,
            "seed": run.seed,
            "checkpoint": "best",
            "split": split if data is None else "",
        }
        with computing(run.config.compute):
            refuse_overflow(run, collection, samples)
            score = part_of(run.config).score
            scores = score(run.network, run.config, collection, samples, run.name)
        rows += [keys | row for row in scores]
    return tables.conform(score_table(rows), tables.SCORES)


def score_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as ``scores.csv``: what the runs' task does not measure of masks is empty."""
    frame = pd.DataFrame(rows)
    lacking = [name for name in tables.SCORES.values if name not in frame.columns]
    return frame.assign(**dict.fromkeys(lacking))
