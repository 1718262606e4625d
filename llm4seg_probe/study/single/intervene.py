"""Interventions on finished runs: scores when one thing in the network is changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe import progress, tables
from llm4seg_probe.study.single.effects import effects, say_notes
from llm4seg_probe.study.single.images import RunImages
from llm4seg_probe.study.single.result import ProbeResult, each_run, written

if TYPE_CHECKING:
    from llm4seg_probe.probing.applicable import Options
    from llm4seg_probe.training.run import Run


def intervene_runs(
    checkpoints: Sequence[Path],
    out: Path,
    *,
    options: Options,
    split: str = "test",
    data: Path | None = None,
) -> ProbeResult:
    """Scores of each run under every intervention: ``intervene.csv``, effects and figure.

    What does not apply to a run is said, and left out. Where layers differ between seeds, a run is
    given the layer of the next seed of its arm among the checkpoints.
    """
    from llm4seg_probe.probing.intervene import intervene_table
    from llm4seg_probe.reporting.figures import interventions
    from llm4seg_probe.reporting.report import FIGURES
    from llm4seg_probe.reporting.saving import save_figure
    from llm4seg_probe.reporting.summaries import told_apart

    following = next_seeds(checkpoints)

    def measure(run: Run) -> pd.DataFrame:
        other = _with_own_layer(run, following.get(run.path))
        found = intervene_table(
            run,
            RunImages(run, split, data),
            run.collection(data),
            options,
            other_seed=None if other is None else other.network,
        )
        _say_skipped(run, found.skipped)
        return found.table

    rows = each_run(checkpoints, measure, doing="Interventions", data=data)
    table, target = written(rows, out, tables.INTERVENE)
    found, source = written(
        effects(told_apart(table), ["intervention", "setting"], ["none", ""]),
        out,
        tables.INTERVENE_EFFECTS,
    )
    say_notes(found)
    figure = interventions.figure(found)
    saved = save_figure(figure, out / FIGURES, "interventions", source)
    shown = ["arm", "intervention", "setting", "n_seeds", "mean", "change", "ci_low", "ci_high"]
    summary = found.loc[found["score"] == "iou", shown]
    return ProbeResult(table, summary, target, tuple(saved.values()))


def next_seeds(checkpoints: Sequence[Path]) -> dict[Path, Path]:
    """For each checkpoint that of the next seed of its arm, the last one's being the first's."""
    from llm4seg_probe.training import checkpoint

    if len(checkpoints) < 2:
        return {}
    by_arm: dict[str, list[tuple[int, Path]]] = {}
    for path in checkpoints:
        config = checkpoint.read_run(path)["config"]
        by_arm.setdefault(config["arm"], []).append((config["seed"], path))
    following = {}
    for runs in by_arm.values():
        ordered = sorted(runs, key=lambda run: run[0])
        for (seed, path), (other, partner) in zip(ordered, ordered[1:] + ordered[:1], strict=True):
            if seed != other:
                following[path] = partner
    return following


def _with_own_layer(run: Run, path: Path | None) -> Run | None:
    """The run at a path, where the layers of this arm differ between seeds."""
    from llm4seg_probe.models.arms import ARMS
    from llm4seg_probe.probing.applicable import parts_of
    from llm4seg_probe.training.run import load

    if path is None or "layer of its own seed" not in parts_of(ARMS[run.arm]):
        return None
    return load(path)


def _say_skipped(run: Run, skipped: dict[str, str]) -> None:
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        progress.say(f"{run.name}: left out {', '.join(names)}: {reason}")
