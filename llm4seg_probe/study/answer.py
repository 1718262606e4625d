"""From an analysis to its answer, through the functions that the single commands call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from llm4seg_probe import progress, storage, tables
from llm4seg_probe.config import Config
from llm4seg_probe.reporting.report import write_report
from llm4seg_probe.statistics.arms import compare_arms
from llm4seg_probe.statistics.association import association_table
from llm4seg_probe.statistics.claims import Claim, ClaimedPair, judge, ready
from llm4seg_probe.statistics.ladder import ladder
from llm4seg_probe.statistics.overfitting import with_gaps
from llm4seg_probe.statistics.selection import selection
from llm4seg_probe.study import materials
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.context import report_context
from llm4seg_probe.study.described import described
from llm4seg_probe.study.further import take_further
from llm4seg_probe.study.probes import finish, probe_tables
from llm4seg_probe.sweeps.engine import Engine
from llm4seg_probe.sweeps.local import LocalEngine
from llm4seg_probe.sweeps.plan import PlannedRun, plan
from llm4seg_probe.training import folder
from llm4seg_probe.training.signatures import no_gain

_MAP_MARGIN = 0.02  # in activation IoU; it only decides between "equivalent" and "inconclusive"


@dataclass(frozen=True)
class Answer:
    """Where the page of an analysis is, and what it says."""

    page: Path
    claims: pd.DataFrame
    rests_on: str
    signatures: tuple[str, ...]
    """What to try where an arm is no better than the baseline."""


def planned(analysis: Analysis, runs: Path) -> list[PlannedRun]:
    """The runs of an analysis, each in its folder under ``runs``.

    Analyses that are given the same folder share the runs which they have in common.
    """
    configs = analysis.configs()
    return plan(configs, materials.fetched(configs), runs)


def answer(
    analysis: Analysis,
    out: Path,
    *,
    size: str,
    store: Path | None = None,
    engine: Engine | None = None,
) -> Answer:
    """Make what is missing, probe it, compare it, and write tables and page under ``out``.

    Run folders lie in ``store``, or else in ``out/runs``. They are made on ``engine``, or else by
    worker processes on this machine.
    """
    runs = planned(analysis, (store or out / "runs").resolve())
    finish(runs, analysis.probes, engine or LocalEngine())
    found = gathered(runs, analysis.base_config()) | probe_tables(runs, out)
    comparison, claims = _compared(analysis, found)
    found |= {"comparison.csv": comparison, "claims.csv": claims, **_beside(analysis, found)}
    for name, table in found.items():
        tables.write_table(table, out / name, tables.SCHEMAS[name])
    context = report_context(analysis, runs, size=size)
    storage.write_text(out / "analysis.yaml", OmegaConf.to_yaml(OmegaConf.create(context)))
    rests_on = " ".join([analysis.rests_on, *context["dataset"]["caveats"]])
    hints = no_gain(
        found["scores.csv"],
        {run.config.arm: run.config for run in runs},
        analysis.comparison.baseline,
    )
    take_further(analysis, runs, out)
    return Answer(write_report(out), claims, rests_on, tuple(hints))


def gathered(runs: Sequence[PlannedRun], base: Config) -> dict[str, pd.DataFrame]:
    """Scores, training curves and descriptions of all runs, one table each."""
    scores = [tables.read_table(run.path / folder.SCORES, tables.SCORES) for run in runs]
    curves = []
    for run in runs:
        curve = tables.read_table(run.path / folder.METRICS, tables.METRICS)
        curves.append(with_gaps(curve).assign(run=run.path.name))
    scored = pd.concat(scores, ignore_index=True)
    named = scored[["run", "dataset", "arm", "seed"]].drop_duplicates()
    return {
        "runs.csv": described(runs, base),
        "scores.csv": scored,
        "curves.csv": pd.concat(curves, ignore_index=True).merge(named, on="run"),
    }


def _compared(
    analysis: Analysis, found: dict[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    with progress.bar("Comparing the arms", None):
        scores = found["scores.csv"]
        arms = compare_arms(
            scores[(scores["checkpoint"] == "best") & (scores["split"] == "test")],
            found["runs.csv"],
            score=analysis.comparison.score,
            baseline=analysis.comparison.baseline,
            margin=analysis.comparison.margin,
        )
        named = {name.removesuffix(".csv"): table for name, table in found.items()}
        contrasts, claims = judge(analysis.claims, named)
        gains, _ = judge(_map_gains(found["maps.csv"]), named)
        rows = pd.concat([arms, contrasts, gains], ignore_index=True)
        return rows.drop_duplicates(list(tables.COMPARISON.keys)), claims


def _beside(analysis: Analysis, found: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What stands beside the verdicts: the gain taken apart, selection, runs behind associations.

    A table that would be empty is left out.
    """
    scores, runs = found["scores.csv"], found["runs.csv"]
    score, baseline = analysis.comparison.score, analysis.comparison.baseline
    named = {name.removesuffix(".csv"): table for name, table in found.items()}
    told = {
        "ladder.csv": ladder(scores, runs, score=score),
        "selection.csv": selection(scores, runs, score=score, baseline=baseline),
        "association.csv": association_table(analysis.claims, ready(named)),
    }
    return {name: table for name, table in told.items() if not table.empty}


def _map_gains(maps: pd.DataFrame) -> list[Claim]:
    """What the activation figure shows beside the claims: each arm's gain from before to after."""
    if not {"before", "after"} <= set(maps["site"]):
        return []
    return [
        Claim(
            id=f"gain-{arm}",
            statement=f"In {arm}, the maps are better after than before",
            table="maps",
            where={"reduction": "mean_abs", "threshold": "otsu", "null": ""},
            comparisons=(ClaimedPair(a=f"{arm}@after", b=f"{arm}@before"),),
            margin=_MAP_MARGIN,
            in_advance=False,
        )
        for arm in maps["arm"].drop_duplicates()
    ]
