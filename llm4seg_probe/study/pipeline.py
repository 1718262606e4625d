"""From an analysis file to its results: runs made and probed, tables joined, claims judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import progress, storage, tables
from llm4seg_probe.config import Config
from llm4seg_probe.errors import UserError
from llm4seg_probe.reading.text import dump_yaml
from llm4seg_probe.report.report import write_report
from llm4seg_probe.statistics.association import association_table
from llm4seg_probe.statistics.claims import Claim, ClaimedPair, pairs_table
from llm4seg_probe.statistics.compare import compare_arms
from llm4seg_probe.statistics.epoch_choice import selection, with_gaps
from llm4seg_probe.statistics.judgement import judge, ready
from llm4seg_probe.statistics.ladder import ladder
from llm4seg_probe.statistics.look_claims import judge_at_looks
from llm4seg_probe.statistics.multiplicity import by_chance
from llm4seg_probe.statistics.nothing_to_compare import nothing_to_compare
from llm4seg_probe.statistics.sizes import sizes
from llm4seg_probe.study.analysis import ALWAYS, Analysis, Probes
from llm4seg_probe.study.engines.base import Engine, carry_out
from llm4seg_probe.study.engines.local import LocalEngine
from llm4seg_probe.study.probing import is_probed, of_each_run, probe_run, probe_study
from llm4seg_probe.study.report_context import report_context
from llm4seg_probe.study.runs import PlannedRun, described, estimates, fetched, make, plan
from llm4seg_probe.training import run_folder
from llm4seg_probe.training.result_checks import no_gain


@dataclass(frozen=True)
class RunTask:
    """A run to be made and probed, as an engine takes it."""

    planned: PlannedRun
    probes: Probes
    probe_names: tuple[str, ...] = ALWAYS
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
        return self.planned.config.compute.device != "cpu"

    @property
    def gpu_memory_mb(self) -> float | None:
        """Counted memory of a step, and of CUDA itself; None where it cannot be counted."""
        from llm4seg_probe.models.costs import costs
        from llm4seg_probe.training.work import CONTEXT_MB

        try:
            return costs(self.planned.config).total.memory / 1e6 + CONTEXT_MB
        except UserError:
            return None

    @property
    def done(self) -> bool:
        """Whether the run is trained, scored and probed with these probes."""
        return self.planned.done and is_probed(self.planned, self.probe_names, self.probes)

    @property
    def share_done(self) -> float:
        """How far the run has come, from 0 to 1."""
        return 1.0 if self.done else 0.9 * self.planned.share_done

    def run(self) -> None:
        """Train from where the run stands, and probe; what another process did is left."""
        make(self.planned)
        with run_folder.locked(self.planned.path, wait=True):
            if not self.done:
                probe_run(self.planned, self.probe_names, self.probes)


def finish(runs: Sequence[PlannedRun], analysis: Analysis, engine: Engine) -> None:
    """Train and probe what is missing, on an engine."""
    needs = [estimate.memory_mb for estimate in estimates(runs)]
    names = of_each_run(analysis)
    tasks = [
        RunTask(run, analysis.probes, names, need) for run, need in zip(runs, needs, strict=True)
    ]
    missing = [task for task in tasks if not task.done]
    if missing:
        carry_out(missing, engine, "Runs")


_MAP_MARGIN = 0.02  # in activation IoU; it only decides between "equivalent" and "inconclusive"


@dataclass(frozen=True)
class Answer:
    """Where the page of an analysis is, and what it says."""

    page: Path
    claims: pd.DataFrame
    rests_on: str
    signatures: tuple[str, ...]
    """What to try where an arm is no better than the baseline, and which runs found nothing."""


def planned(analysis: Analysis, runs: Path) -> list[PlannedRun]:
    """The runs of an analysis, each in its folder under ``runs``.

    Analyses that are given the same folder share the runs which they have in common.
    """
    configs = analysis.configs()
    return plan(configs, fetched(configs), runs)


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
    finish(runs, analysis, engine or LocalEngine())
    found = gathered(runs, analysis.base_config())
    probed = probe_study(analysis, runs, out)
    return written(analysis, runs, found, probed, out, report_context(analysis, runs, size=size))


def written(
    analysis: Analysis,
    runs: Sequence[PlannedRun],
    found: dict[str, pd.DataFrame],
    probed: Mapping[str, pd.DataFrame],
    out: Path,
    context: Mapping[str, Any],
) -> Answer:
    """Compare what was gathered, and write tables and page.

    runs: those that have a folder. found: tables to be written, by file name. probed: those of
    probes, by the probe's name, which are written already.
    """
    named = {name.removesuffix(".csv"): table for name, table in found.items()} | dict(probed)
    found |= compared(analysis, named)
    claims = found["claims.csv"]
    found |= beside(analysis, named)
    for name, table in found.items():
        tables.write_table(table, out / name, tables.SCHEMAS[name])
    said = {**context, "by_chance": by_chance(claims)}
    storage.write_text(out / "analysis.yaml", dump_yaml(said))
    rests_on = " ".join([analysis.rests_on, *context["dataset"]["caveats"]])
    hints = _hints(found["scores.csv"], found["runs.csv"], runs, analysis.comparison.baseline)
    return Answer(write_report(out), claims, rests_on, hints)


def _hints(
    scores: pd.DataFrame, described_runs: pd.DataFrame, runs: Sequence[PlannedRun], baseline: str
) -> tuple[str, ...]:
    """What to look at before the verdicts are believed."""
    # Runs that deviate, on few images say, are not the arm as it was to be compared.
    usual = set(described_runs.loc[described_runs["deviation"] == "", "run"])
    configs: dict[str, Config] = {
        run.config.arm: run.config for run in runs if run.path.name in usual
    }
    hints = no_gain(scores[scores["run"].isin(usual)], configs, baseline)
    return (*hints, *(f"{one}." for one in nothing_to_compare(scores, described_runs)))


def gathered(runs: Sequence[PlannedRun], base: Config) -> dict[str, pd.DataFrame]:
    """Scores, training curves and descriptions of all runs, one table each."""
    scores = [tables.read_table(run.path / run_folder.SCORES, tables.SCORES) for run in runs]
    curves = []
    for run in runs:
        curve = tables.read_table(run.path / run_folder.METRICS, tables.METRICS)
        curves.append(with_gaps(curve).assign(run=run.path.name))
    scored = pd.concat(scores, ignore_index=True)
    named = scored[["run", "dataset", "arm", "seed"]].drop_duplicates()
    return {
        "runs.csv": described(runs, base),
        "scores.csv": scored,
        "curves.csv": pd.concat(curves, ignore_index=True).merge(named, on="run"),
    }


def compared(analysis: Analysis, named: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """comparison.csv and claims.csv of gathered tables; looks.csv too where looks are declared."""
    design = None if analysis.decide is None else analysis.decide.design
    with progress.bar("Comparing the arms", None):
        scores = named["scores"]
        chosen = scores[(scores["checkpoint"] == "best") & (scores["split"] == "test")]
        arms = compare_arms(
            of_the_task(chosen, analysis.comparison.score),
            named["runs"],
            score=analysis.comparison.score,
            baseline=analysis.comparison.baseline,
            margin=analysis.comparison.margin,
            design=design,
        )
        gains = _map_gains(named.get("maps"))
        if design is None:
            contrasts, claims = judge(analysis.claims, named)
            further, _ = judge(gains, named)
            looks = {}
        else:
            judgement = judge_at_looks(analysis.claims, named, design)
            contrasts, claims = judgement.comparison, judgement.claims
            looks = {"looks.csv": judgement.looks}
            further = judge_at_looks(gains, named, design).comparison
        rows = pd.concat([arms, contrasts, further], ignore_index=True)
        rows = rows.drop_duplicates(list(tables.COMPARISON.keys))
        return {"comparison.csv": rows, "claims.csv": claims, **looks}


def of_the_task(scores: pd.DataFrame, score: str) -> pd.DataFrame:
    """The rows of the runs whose task has this score; all where none has it."""
    if score not in scores.columns:
        return scores
    has = scores.groupby("run")[score].transform("count") > 0
    return scores[has] if has.any() else scores


def beside(analysis: Analysis, named: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What stands beside the verdicts: pairs of the claims, ladder, selection, sizes, associations.

    A table that would be empty is left out.
    """
    scores, runs = named["scores"], named["runs"]
    score, baseline = analysis.comparison.score, analysis.comparison.baseline
    scores = of_the_task(scores, score)
    measured = ready(named)
    if analysis.decide is not None:  # Runs without a folder are known at one checkpoint alone.
        checkpoints = scores.groupby("run")["checkpoint"].transform("nunique")
        scores = scores[checkpoints == checkpoints.max()]
    told = {
        "pairs.csv": pairs_table(analysis.claims, measured, analysis.decide is not None),
        "ladder.csv": ladder(scores, runs, score=score),
        "selection.csv": selection(scores, runs, score=score, baseline=baseline),
        "sizes.csv": sizes(scores, runs, score=score, baseline=baseline),
        "association.csv": association_table(analysis.claims, measured),
    }
    return {name: table for name, table in told.items() if not table.empty}


def _map_gains(maps: pd.DataFrame | None) -> list[Claim]:
    """What the activation figure shows beside the claims: each arm's gain from before to after."""
    if maps is None or not {"before", "after"} <= set(maps["site"]):
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
