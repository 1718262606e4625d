"""Probing the runs of an analysis: each run once, its tables kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from llm4seg_probe import storage, tables
from llm4seg_probe.study.analysis import Probes
from llm4seg_probe.study.gallery import read_gallery, write_gallery
from llm4seg_probe.sweeps import local
from llm4seg_probe.sweeps.plan import PlannedRun

_DONE = "probes.json"  # written last: which probes the tables beside it are of


def probed(runs: Sequence[PlannedRun], out: Path, probes: Probes) -> dict[str, pd.DataFrame]:
    """Rank and map tables of all runs; the gallery's arrays are written to ``out/maps.npz``."""
    tasks = [_Probing(run, probes) for run in runs if not _is_probed(run.path, probes)]
    if tasks:
        threads = max(task.run.config.compute.threads for task in tasks)
        local.each(
            _probe,
            tasks,
            workers=local.workers_for(len(tasks), threads),
            description="Probing",
            share_done=lambda task: float(_is_probed(task.run.path, task.probes)),
        )
    write_gallery([read_gallery(run.path / "maps.npz") for run in runs], out)
    return {
        schema.name: pd.concat(
            [tables.read_table(run.path / schema.name, schema) for run in runs], ignore_index=True
        )
        for schema in (tables.RANK, tables.MAPS)
    }


def _is_probed(path: Path, probes: Probes) -> bool:
    marker = path / _DONE
    if not marker.is_file():
        return False
    return bool(json.loads(marker.read_text(encoding="utf-8")) == probes.model_dump(mode="json"))


@dataclass(frozen=True)
class _Probing:
    run: PlannedRun
    probes: Probes


def _probe(task: _Probing) -> None:
    from llm4seg_probe.models.network import build_network
    from llm4seg_probe.probing.maps import maps_table
    from llm4seg_probe.probing.rank import rank_table
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    path, probes = task.run.path, task.probes
    run = load(task.run.checkpoint)
    with computing(run.config.compute):
        untrained = build_network(run.config).eval()
        rank = rank_table(run, run.batches(), probes.sites, untrained=untrained)
        maps, arrays = maps_table(
            run, run.batches(), probes.sites, untrained=untrained, gallery=probes.gallery
        )
    tables.write_table(rank, path / tables.RANK.name, tables.RANK)
    tables.write_table(maps, path / tables.MAPS.name, tables.MAPS)
    write_gallery([arrays], path)
    storage.write_json(path / _DONE, probes.model_dump(mode="json"))
