"""Effective rank and its companions of finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.study.probes import untrained
from llm4seg_probe.study.single.result import ProbeResult, each_run, means, written

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run


def rank_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    sites: tuple[str, ...],
    split: str = "test",
    data: Path | None = None,
) -> ProbeResult:
    """Effective rank and its companions of each run, by site: ``rank.csv`` and its figure."""
    from llm4seg_probe.probing.rank import rank_table
    from llm4seg_probe.reporting.report import write_rank_figures

    def measure(run: Run) -> pd.DataFrame:
        return rank_table(run, run.batches(split, data), sites, untrained=untrained(run))

    found = each_run(checkpoints, measure, doing="Rank", data=data)
    table, target = written(found, out, tables.RANK)
    shown = table[table["part"] == "all"]
    summary = means(shown, ["arm", "seed", "site", "null"], ["effective_rank", "lsvr"])
    return ProbeResult(table, summary, target, write_rank_figures(out))
