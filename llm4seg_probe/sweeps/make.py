"""Making the runs of a plan: only those that are missing, resuming those that were begun."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from llm4seg_probe.sweeps import local
from llm4seg_probe.sweeps.plan import PlannedRun
from llm4seg_probe.training import folder
from llm4seg_probe.training.fit import train


def make(runs: Sequence[PlannedRun], *, workers: int | None = None) -> int:
    """Make what is not done, on this machine; return how many runs that were.

    ``workers`` None: as many as the cores carry with the threads that each run is given.
    """
    missing = [run for run in runs if not run.done]
    if missing:
        threads = max(run.config.compute.threads for run in missing)
        local.each(
            make_one,
            missing,
            workers=workers or local.workers_for(len(missing), threads),
            description="Runs",
            share_done=share_done,
        )
    return len(missing)


def make_one(run: PlannedRun) -> None:
    """Train one run from where it stands."""
    if not run.begun and run.path.exists():
        shutil.rmtree(run.path)  # stopped before its first epoch was whole: nothing to keep
    train(run.config, run.path, resume=run.begun)


def share_done(run: PlannedRun) -> float:
    """How much of a run is done, from 0 to 1, by the epochs in its folder."""
    if run.done:
        return 1.0
    metrics = run.path / folder.METRICS
    if not metrics.is_file():
        return 0.0
    epochs = metrics.read_text(encoding="utf-8").count("\n") - 1
    return 0.95 * epochs / run.config.training.epochs
