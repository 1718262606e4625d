"""Making and probing the runs of an analysis: each run once, its tables kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import storage, tables
from llm4seg_probe.errors import DownloadError, SourceError
from llm4seg_probe.study.analysis import Probes
from llm4seg_probe.study.gallery import read_gallery, write_gallery
from llm4seg_probe.sweeps.engine import Engine, carry_out
from llm4seg_probe.sweeps.estimate import estimates
from llm4seg_probe.sweeps.plan import PlannedRun, make

if TYPE_CHECKING:
    from torch import nn

    from llm4seg_probe.training.run import Run

_DONE = "probes.json"  # written last: which probes the tables beside it are of


@dataclass(frozen=True)
class RunTask:
    """A run to be made and probed, as an engine takes it."""

    planned: PlannedRun
    probes: Probes
    memory_mb: float | None = None

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.planned.path.name

    @property
    def threads(self) -> int:
        """CPU threads, as configured."""
        return self.planned.config.compute.threads

    @property
    def wants_gpu(self) -> bool:
        """Whether the configuration allows a GPU."""
        return self.planned.config.compute.accelerator != "cpu"

    @property
    def done(self) -> bool:
        """Whether the run is trained, scored and probed with these probes."""
        marker = self.planned.path / _DONE
        if not self.planned.done or not marker.is_file():
            return False
        known = json.loads(marker.read_text(encoding="utf-8"))
        return bool(known == self.probes.model_dump(mode="json"))

    @property
    def share_done(self) -> float:
        """How far the run has come, from 0 to 1."""
        return 1.0 if self.done else 0.9 * self.planned.share_done

    def run(self) -> None:
        """Train from where the run stands, and probe."""
        make(self.planned)
        _probe(self.planned, self.probes)


def finish(runs: Sequence[PlannedRun], probes: Probes, engine: Engine) -> None:
    """Train and probe what is missing, on an engine."""
    needs = [estimate.memory_mb for estimate in estimates(runs)]
    tasks = [RunTask(run, probes, need) for run, need in zip(runs, needs, strict=True)]
    missing = [task for task in tasks if not task.done]
    if missing:
        carry_out(missing, engine, "Runs")


def probe_tables(runs: Sequence[PlannedRun], out: Path) -> dict[str, pd.DataFrame]:
    """Rank and map tables of all runs; the gallery's arrays are written to ``out/maps.npz``."""
    write_gallery([read_gallery(run.path / "maps.npz") for run in runs], out)
    return {
        schema.name: pd.concat(
            [tables.read_table(run.path / schema.name, schema) for run in runs], ignore_index=True
        )
        for schema in (tables.RANK, tables.MAPS)
    }


def untrained(run: Run) -> nn.Module | None:
    """The network of a run before its training, for the null band of that name.

    None where it cannot be made again: a converted checkpoint does not say how it began, and a
    layer that lies in the file itself may have no source here.
    """
    from llm4seg_probe.models.network import build_network

    if run.epoch is None:
        return None
    try:
        return build_network(run.config).eval()
    except (SourceError, DownloadError):
        return None


def _probe(planned: PlannedRun, probes: Probes) -> None:
    from llm4seg_probe.probing.maps import maps_table
    from llm4seg_probe.probing.rank import rank_table
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    path = planned.path
    run = load(planned.checkpoint)
    with computing(run.config.compute):
        before = untrained(run)
        rank = rank_table(run, run.batches(), probes.sites, untrained=before)
        maps, arrays = maps_table(
            run, run.batches(), probes.sites, untrained=before, gallery=probes.gallery
        )
    tables.write_table(rank, path / tables.RANK.name, tables.RANK)
    tables.write_table(maps, path / tables.MAPS.name, tables.MAPS)
    write_gallery([arrays], path)
    storage.write_json(path / _DONE, probes.model_dump(mode="json"))
