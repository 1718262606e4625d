"""Scores of finished runs on worse images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run


def robustness_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    corruptions: tuple[str, ...] = (),
    split: str = "test",
    data: Path | None = None,
) -> ProbeResult:
    """Scores of each run by corruption and strength: ``robustness.csv`` and its figure.

    All corruptions are taken unless some are named.
    """
    from llm4seg_probe.measures.corruption import CORRUPTIONS
    from llm4seg_probe.probing.robustness import robustness_table
    from llm4seg_probe.reporting.figures import robustness
    from llm4seg_probe.reporting.saving import save_figure
    from llm4seg_probe.reporting.summaries import told_apart

    def measure(run: Run) -> pd.DataFrame:
        collection = run.collection(data)
        samples = [collection.sample(image) for image in run.images(split, data)]
        return robustness_table(run, collection, samples, corruptions or tuple(CORRUPTIONS))

    found = each_run(checkpoints, measure, doing="Robustness", data=data)
    table, target = written(found, out, tables.ROBUSTNESS)
    summary = means(table, ["arm", "seed", "corruption", "strength"], ["parameter", "iou", "dice"])
    figure = robustness.figure(told_apart(table))
    saved = save_figure(figure, out / "figures", "robustness", target)
    return ProbeResult(table, summary, target, tuple(saved.values()))
