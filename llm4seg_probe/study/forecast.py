"""What a sweep would do and what it would take, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import progress
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.answer import planned
from llm4seg_probe.study.described import deviations
from llm4seg_probe.sweeps.estimate import Estimate, estimates
from llm4seg_probe.sweeps.local import available_cores
from llm4seg_probe.sweeps.plan import PlannedRun

_PROCESS_MB = 1000.0
"""Resident memory of a process with torch, transformers and lightning, before it trains."""


@dataclass(frozen=True)
class Forecast:
    """The runs of a sweep, which of them are missing, and what those will take."""

    runs: pd.DataFrame
    """One row per run: run, condition, done, seconds, memory_mb."""
    workers: int

    @property
    def totals(self) -> dict[str, Any]:
        """Numbers of runs, hours of the missing ones side by side, and most memory of one."""
        missing = self.runs[~self.runs["done"]]
        return {
            "planned": len(self.runs),
            "cached": int(self.runs["done"].sum()),
            "workers": self.workers,
            "hours": missing["seconds"].sum() / self.workers / 3600,
            "memory_mb": float(missing["memory_mb"].max()) if len(missing) else 0.0,
        }

    @property
    def by_condition(self) -> pd.DataFrame:
        """One row per condition: how many runs, how many are there, minutes and MB of each."""
        grouped = self.runs.groupby("condition", sort=False)
        return pd.DataFrame(
            {
                "condition": list(grouped.groups),
                "runs": grouped.size().to_numpy(),
                "cached": grouped["done"].sum().to_numpy(),
                "minutes each": (grouped["seconds"].median() / 60).to_numpy(),
                "MB each": grouped["memory_mb"].max().to_numpy(),
            }
        )

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        totals = self.totals
        missing = totals["planned"] - totals["cached"]
        if not missing:
            return f"All {totals['planned']} runs are there."
        side = f"{self.workers} at a time" if self.workers > 1 else "one after another"
        return (
            f"{totals['planned']} runs, {totals['cached']} of them there; the {missing} missing "
            f"take about {totals['hours']:.1f} h, {side}, and up to "
            f"{totals['memory_mb'] / 1000 * self.workers:.1f} GB in all. Estimated from runs of "
            "the same kind where there are any, else from a few training steps taken now."
        )


def forecast(analysis: Analysis, store: Path, workers: int | None = None) -> Forecast:
    """Plan an analysis and estimate what is missing, from runs of the kind or by measuring."""
    runs = planned(analysis, store)
    known = estimates(runs)
    deviating = deviations([run.config for run in runs], analysis.base_config())
    taken: dict[str, Estimate] = {}
    rows = []
    for run, estimate, deviation in progress.track(
        list(zip(runs, known, deviating, strict=True)), "Estimating"
    ):
        condition = run.config.arm + (f"[{deviation}]" if deviation else "")
        found = estimate
        if found.seconds is None and not run.done:
            if condition not in taken:
                taken[condition] = _measured(run)
            found = taken[condition]
        rows.append(
            {
                "run": run.path.name,
                "condition": condition,
                "done": run.done,
                "seconds": found.seconds,
                "memory_mb": found.memory_mb,
            }
        )
    table = pd.DataFrame(rows)
    threads = max(run.config.compute.threads for run in runs)
    side_by_side = workers or max(1, available_cores() // threads)
    missing = int((~table["done"]).sum())
    return Forecast(table, max(1, min(side_by_side, missing)))


def _measured(run: PlannedRun) -> Estimate:
    from llm4seg_probe.models.costs import costs
    from llm4seg_probe.training.timing import step_time

    needed = sum(part.memory for part in costs(run.config).parts) / 1e6
    return Estimate(step_time(run.config, repeats=3).run_seconds, _PROCESS_MB + needed)
