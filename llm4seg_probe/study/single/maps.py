"""Activation maps of finished runs against the masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.study.gallery import write_gallery
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run


def map_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sites: tuple[str, ...],
    split: str = "test",
    data: Path | None = None,
    gallery: int = 6,
) -> ProbeResult:
    """Activation maps of each run against the masks, by site: ``maps.csv``, arrays and figures."""
    from llm4seg_probe.probing.maps import maps_table
    from llm4seg_probe.reporting.report import write_map_figures

    galleries: list[dict[str, np.ndarray]] = []

    def measure(run: Run) -> pd.DataFrame:
        table, arrays = maps_table(
            run, run.batches(split, data), sites, untrained=untrained(run), gallery=gallery
        )
        galleries.append(arrays)
        return table

    found = each_run(checkpoints, measure, doing="Maps", data=data)
    table, target = written(found, out, tables.MAPS)
    write_gallery(galleries, out)
    keys = ["arm", "seed", "site", "reduction", "threshold", "null"]
    summary = means(table, keys, ["iou", "auroc", "contrast"])
    return ProbeResult(table, summary, target, write_map_figures(out))
