"""Scores per image and class of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.study.single.result import written


def evaluate_runs(
    checkpoints: Sequence[Path], out: Path, *, split: str = "test", data: Path | None = None
) -> tuple[pd.DataFrame, Path]:
    """Score each run's checkpoint on one side of its split, or on the images of ``data``."""
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.evaluate import score
    from llm4seg_probe.training.run import load

    rows = []
    for path in progress.track(checkpoints, "Scoring"):
        run = load(path)
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
            found = score(run.network, run.config, collection, samples)
        rows += [keys | row for row in found]
    return written(pd.DataFrame(rows), out, tables.SCORES)
