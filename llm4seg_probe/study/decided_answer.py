"""The page of a study that went on until it was decided, and what such a study may cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.probes import registry
from llm4seg_probe.statistics.look_claims import judge_at_looks
from llm4seg_probe.statistics.stopping import expected
from llm4seg_probe.study.analysis import Analysis, deciding, storable
from llm4seg_probe.study.engines.base import Engine
from llm4seg_probe.study.forecast import forecast
from llm4seg_probe.study.pipeline import Answer, RunTask, gathered, planned, written
from llm4seg_probe.study.probing import of_each_run, probe_study
from llm4seg_probe.study.report_context import report_context
from llm4seg_probe.study.runs import described
from llm4seg_probe.study.score_store import NAME as STORE
from llm4seg_probe.study.score_store import ScoreStore
from llm4seg_probe.study.study_state import Budget, with_seeds
from llm4seg_probe.study.until_decided import Course, stored_tables, until_decided


def answer_until_decided(
    analysis: Analysis,
    out: Path,
    *,
    size: str,
    store: Path | None = None,
    engine: Engine | None = None,
    budget: Budget | None = None,
    new_study: bool = False,
) -> tuple[Answer | None, Course]:
    """Add seeds until the claims are decided, and write tables and page under ``out``.

    The answer is None where no run has a folder to draw a page from, since all are known by their
    stored scores alone: tables and page are then left as they are. Raises as
    :func:`until_decided`.
    """
    runs = (store or out / "runs").resolve()
    course = until_decided(analysis, out, runs, engine=engine, budget=budget, new_study=new_study)
    names = of_each_run(analysis)
    present = [run for run in course.runs if RunTask(run, analysis.probes, names).done]
    if not present:
        return None, course
    absent = [run.path.name for run in course.runs if run not in present]
    found = gathered(present, analysis.base_config())
    probed = probe_study(course.analysis, present, out)
    named = {"scores": found["scores.csv"], **probed}
    named |= {
        name: _with_stored(table, name, absent, course.store) for name, table in named.items()
    }
    found["scores.csv"] = named.pop("scores")
    made = {name: one.made for name, one in course.store.runs.items()}
    found["runs.csv"] = described(course.runs, analysis.base_config(), made)
    context = {
        **report_context(course.analysis, present, size=size),
        "command": f"llm4seg-probe sweep {analysis.name}.yaml --size {size} --until-decided",
        "seeds": sorted({run.config.seed for run in course.runs}),
        "course": {
            "sentence": course.sentence,
            "look": course.state.look,
            "reason": course.reason,
            "decided": list(course.decided),
            "open": list(course.still_open),
            "earlier": course.state.earlier,
        },
    }
    return written(course.analysis, present, found, named, out, context), course


def _with_stored(
    table: pd.DataFrame, name: str, absent: Sequence[str], store: ScoreStore
) -> pd.DataFrame:
    """A table with the rows of runs that have no folder; columns not stored are empty there."""
    stored = [run for run in absent if name in store.runs[run].values]
    if not stored:
        return table
    schema = registry.measured_tables()[name]
    further = store.table(name, stored).reindex(columns=list(schema.columns))
    return pd.concat([table, tables.conform(further, schema)], ignore_index=True)


@dataclass(frozen=True)
class StudyForecast:
    """What a study with looks may cost: one row per true difference, and the range.

    rows: ``claim, difference, mean_seeds, hours, undecided``; without seeds to know the spread by,
    differences are in SDs. seconds: that one seed of all arms takes; NaN where not known.
    """

    rows: pd.DataFrame
    fewest: int
    most: int
    runs_per_seed: int
    seconds: float

    @property
    def sentence(self) -> str:
        """Seeds and hours with their range."""
        means = self.rows["mean_seeds"]
        return (
            f"Between {self._cost(self.fewest)} and {self._cost(self.most)}; on average "
            f"{self._cost(means.min())} to {self._cost(means.max())}, by how large the difference "
            "truly is. Arms that no open claim needs are not run on, so it may be less."
        )

    def _cost(self, seeds: float) -> str:
        hours = seeds * self.seconds / 3600
        took = "" if hours != hours else f", {hours:.1f} h of runs"
        return f"{seeds:.0f} seeds ({seeds * self.runs_per_seed:.0f} runs{took})"


def forecast_until_decided(
    analysis: Analysis, out: Path, runs: Path, budget: Budget
) -> StudyForecast:
    """Expected seeds and hours, from the seeds that are there or else for usual differences.

    Raises ConfigError as :func:`until_decided`.
    """
    if analysis.decide is None:
        raise ConfigError(
            f"analysis {analysis.name} does not say when it is decided: add a section `decide`"
        )
    design = analysis.decide.design
    most = budget.max_seeds or analysis.decide.max_seeds or design.looks[-1]
    first = with_seeds(analysis, (0,))
    costs = forecast(first, runs)
    seconds = float(costs.runs["seconds"].sum(min_count=len(costs.runs)))
    spreads = _spreads(analysis, out, runs)
    rows: list[dict[str, Any]] = []
    for claim in deciding(analysis):
        sd = spreads.get(claim.id, nan)
        known = sd == sd
        differences = (
            {"none": 0.0, "the margin": claim.margin, "twice the margin": 2 * claim.margin}
            if known
            else {"half an SD": 0.5, "one SD": 1.0, "two SDs": 2.0}
        )
        for words, effect in differences.items():
            found = expected(
                design, effect, sd=sd if known else 1.0,
                kind=claim.kind if known else "superiority",
                margin=claim.margin if known else nan,
            )  # fmt: skip
            mean = min(found.mean_seeds, float(most))
            rows.append(
                {"claim": claim.id, "difference": words, "mean_seeds": mean,
                 "hours": mean * seconds / 3600, "undecided": found.undecided}
            )  # fmt: skip
    return StudyForecast(pd.DataFrame(rows), design.looks[0], most, len(costs.runs), seconds)


def _spreads(analysis: Analysis, out: Path, folder: Path) -> dict[str, float]:
    """Largest SD over seeds of each claim's differences, by the store; of three seeds or more."""
    assert analysis.decide is not None
    store = ScoreStore.read(out / STORE)
    seeds = sorted({one.seed for one in store.runs.values()})
    if not seeds:
        return {}
    every = planned(with_seeds(analysis, seeds), folder)
    known = [run for run in every if run.path.name in store.runs]
    found = stored_tables(analysis, known, store)
    judgement = judge_at_looks(storable(analysis), found, analysis.decide.design, bootstrap=0)
    spreads = {}
    for name, path in judgement.paths.items():
        sds = [member.assessment.estimate.sd for member in path.members if member.n_seeds >= 3]
        if sds and max(sds) > 0:
            spreads[name] = max(sds)
    return spreads
