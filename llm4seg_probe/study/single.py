"""Single commands on finished runs: score and probe; each writes its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.study.probes import untrained


@dataclass(frozen=True)
class ProbeResult:
    """What a probe gave: its table, a summary to print, and where table and figures lie."""

    table: pd.DataFrame
    summary: pd.DataFrame
    path: Path
    figures: tuple[Path, ...]


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
    table = tables.conform(pd.DataFrame(rows), tables.SCORES)
    target = out / tables.SCORES.name
    tables.write_table(table, target, tables.SCORES)
    return table, target


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
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    parts = []
    for path in progress.track(checkpoints, "Rank"):
        run = load(path)
        with computing(run.config.compute):
            before = untrained(run)
            found = rank_table(run, run.batches(split, data), sites, untrained=before)
        parts.append(found.assign(dataset=run.collection(data).name))
    table = tables.conform(pd.concat(parts, ignore_index=True), tables.RANK)
    target = out / tables.RANK.name
    tables.write_table(table, target, tables.RANK)
    shown = table[table["part"] == "all"]
    summary = _means(shown, ["arm", "seed", "site", "null"], ["effective_rank", "lsvr"])
    return ProbeResult(table, summary, target, write_rank_figures(out))


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
    from llm4seg_probe.study.gallery import write_gallery
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    parts, galleries = [], []
    for path in progress.track(checkpoints, "Maps"):
        run = load(path)
        with computing(run.config.compute):
            table, arrays = maps_table(
                run, run.batches(split, data), sites, untrained=untrained(run), gallery=gallery
            )
        parts.append(table.assign(dataset=run.collection(data).name))
        galleries.append(arrays)
    table = tables.conform(pd.concat(parts, ignore_index=True), tables.MAPS)
    target = out / tables.MAPS.name
    tables.write_table(table, target, tables.MAPS)
    write_gallery(galleries, out)
    keys = ["arm", "seed", "site", "reduction", "threshold", "null"]
    return ProbeResult(
        table, _means(table, keys, ["iou", "auroc", "contrast"]), target, write_map_figures(out)
    )


def _means(table: pd.DataFrame, keys: list[str], values: list[str]) -> pd.DataFrame:
    return table.groupby(keys, sort=False)[values].mean().reset_index()
