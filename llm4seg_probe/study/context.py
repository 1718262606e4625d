"""What a page must say beside its tables: the question, the data, the scale, the machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import SIDES, Split
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.sweeps.plan import PlannedRun
from llm4seg_probe.training import folder


def report_context(analysis: Analysis, runs: Sequence[PlannedRun], *, size: str) -> dict[str, Any]:
    """The ``analysis.yaml`` of a folder of results, as plain values.

    Data, scale and machine are those of a run at the base configuration, where there is one.
    """
    base = analysis.base_config().data.name
    first = min(runs, key=lambda run: run.config.data.name != base)
    made = json.loads((first.path / folder.ENVIRONMENT).read_text(encoding="utf-8"))
    datasets = _datasets(first, runs)
    return {
        **analysis.model_dump(mode="json"),
        "size": size,
        "command": _command(analysis, size),
        "dataset": datasets[0],
        "datasets": datasets,
        "arms": _levels(runs, "arm"),
        "seeds": _levels(runs, "seed"),
        "scale": _scale(first),
        "machine": {
            "processor": made["gpu"] or made["processor"],
            "cores": made["cores"],
            "python": made["python"],
            "torch": made["packages"]["torch"],
            "commit": (made["commit"] or "")[:12],
        },
    }


def _command(analysis: Analysis, size: str) -> str:
    """What makes the folder again; the runs themselves may stem from other analyses."""
    if analysis.name == "demo":
        return "llm4seg-probe demo" + (" --quick" if size == "quick" else "")
    return f"llm4seg-probe sweep {analysis.name}.yaml --size {size}"


def _datasets(first: PlannedRun, runs: Sequence[PlannedRun]) -> list[dict[str, Any]]:
    """Every data set once, with the caveats of all splits that it was run with."""
    by_name: dict[str, list[PlannedRun]] = {}
    for run in (first, *runs):
        by_name.setdefault(run.config.data.name, []).append(run)
    return [_dataset(of_set) for of_set in by_name.values()]


def _dataset(runs: Sequence[PlannedRun]) -> dict[str, Any]:
    data = runs[0].config.data
    collection = open_collection(data.name, classes=data.classes)
    splits = {run.config.data.split: run for run in reversed(runs)}
    splits = {name: splits[name] for name in dict.fromkeys(run.config.data.split for run in runs)}
    loaded = [Split.load(run.path / folder.SPLIT) for run in splits.values()]
    counts = {"cases": len({sample.group for sample in collection.samples})}
    counts |= {f"{side} images": len(loaded[0].side(side)) for side in SIDES}
    caveats = [(split.name, sentence) for split in loaded for sentence in split.caveats]
    usual = set(loaded[0].caveats)
    return {
        "name": collection.name,
        "description": collection.note.partition(". ")[0],  # the rest is in `data list`
        "licence": collection.licence,
        "split": " and ".join(split.name for split in loaded),
        "caveats": list(
            dict.fromkeys(
                sentence if sentence in usual else f"Split {name}: {sentence}"
                for name, sentence in caveats
            )
        ),
        "counts": counts,
    }


def _scale(run: PlannedRun) -> dict[str, Any]:
    config = run.config
    scale: dict[str, Any] = {
        "network": config.backbone.name,
        "image size": " × ".join(map(str, config.data.image_size)),
        "epochs": config.training.epochs,
        "batch size": config.training.batch_size,
    }
    if config.backbone.widths:
        scale["widths"] = "-".join(map(str, config.backbone.widths))
    layers = ", ".join(map(str, config.booster.layers))
    return scale | {"language model": f"{config.booster.source}, layer {layers}"}


def _levels(runs: Sequence[PlannedRun], field: str) -> list[Any]:
    return list(dict.fromkeys(getattr(run.config, field) for run in runs))
