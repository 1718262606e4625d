"""The local engine: the missing runs, one after the other, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from llm4seg_probe import progress
from llm4seg_probe.sweeps.plan import PlannedRun
from llm4seg_probe.training.fit import train


def make(runs: Sequence[PlannedRun]) -> int:
    """Make the runs that are not done, resuming those that were begun; return how many.

    One worker with all threads is as fast as several with one each, and needs one import.
    """
    missing = [run for run in runs if not run.done]
    for run in progress.track(missing, "Runs"):
        if not run.begun and run.path.exists():
            shutil.rmtree(run.path)  # stopped before its first epoch was whole: nothing to keep
        train(run.config, run.path, resume=run.begun)
    return len(missing)
