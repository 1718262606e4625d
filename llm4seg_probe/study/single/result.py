"""What every probe's command does around its measurement: runs opened, rows joined and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import progress, tables

if TYPE_CHECKING:
    from llm4seg_probe.training.run import Run


@dataclass(frozen=True)
class ProbeResult:
    """What a probe gave: its table, a summary to print, and where table and figures lie."""

    table: pd.DataFrame
    summary: pd.DataFrame
    path: Path
    figures: tuple[Path, ...]


def each_run(
    checkpoints: Sequence[Path],
    measure: Callable[[Run], pd.DataFrame],
    *,
    doing: str,
    data: Path | None = None,
) -> pd.DataFrame:
    """Rows of ``measure`` for every run, opened one at a time and computed as configured.

    The data set's name is that of the images which were looked at.
    """
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    parts = []
    for path in progress.track(checkpoints, doing):
        run = load(path)
        with computing(run.config.compute):
            parts.append(measure(run).assign(dataset=run.collection(data).name))
    return pd.concat(parts, ignore_index=True)


def written(table: pd.DataFrame, out: Path, schema: tables.Schema) -> tuple[pd.DataFrame, Path]:
    """The table in its schema's form, and the path under ``out`` where it now lies."""
    conformed = tables.conform(table, schema)
    target = out / schema.name
    tables.write_table(conformed, target, schema)
    return conformed, target


def means(table: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    """Means of some values by some keys, in the order of the table: what is printed."""
    return table.groupby(keys, sort=False)[values].mean().reset_index()
