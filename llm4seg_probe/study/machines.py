"""Runs of one seed belong on one kind of processor and kernels: other rounding is another seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.runs import PlannedRun, settings
from llm4seg_probe.study.score_store import ScoreStore
from llm4seg_probe.study.study_state import runs_of, terms_of
from llm4seg_probe.training.environment import kernels, processor


def refuse_mixed_machines(
    analysis: Analysis, claims: Sequence[Claim], runs: Sequence[PlannedRun], store: ScoreStore
) -> None:
    """Raise ConfigError for a pair of runs of one seed from two kinds of processor or kernels.

    Other rounding is in effect another seed, so that such a pair is none.
    """
    if not runs:
        return
    table = settings([run.config for run in runs], analysis.base_config())
    for claim in claims:
        places = [np.flatnonzero(runs_of(table, term, claim)) for term in terms_of(claim)]
        by_seed: dict[int, dict[str, str]] = {}
        for place in np.concatenate(places).astype(int):
            one = store.runs[runs[place].path.name]
            machines = by_seed.setdefault(one.seed, {})
            if one.machine:
                machines.setdefault(one.machine, one.run)
        for seed, machines in by_seed.items():
            if len(machines) > 1:
                (first, run), (second, other) = list(machines.items())[:2]
                raise ConfigError(
                    f"claim '{claim.id}', seed {seed}: {run} was run on {first} and {other} on "
                    f"{second}. Rounding differs between them, so they are no pair: remove one of "
                    f"the two from {store.path} (and its folder), and run it where the other was"
                )


def refuse_other_machine(
    wanted: Sequence[PlannedRun], missing: Sequence[PlannedRun], store: ScoreStore
) -> None:
    """Raise ConfigError where arms of a seed are stored from elsewhere and others are missing."""
    here = f"{processor()}, {kernels()}"
    lacking = {run.config.seed for run in missing}
    for run in wanted:
        one = store.runs.get(run.path.name)
        on_cpu = run.config.compute.device == "cpu"
        if one is None or run.config.seed not in lacking or not one.machine or not on_cpu:
            continue
        if one.machine != here:
            raise ConfigError(
                f"seed {one.seed}: {one.run} was run on {one.machine}, and this is {here}. All "
                f"arms of a seed are run on one kind: finish seed {one.seed} there, or remove its "
                f"runs from {store.path} (and their folders) to run them all here"
            )
