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
    """The ``analysis.yaml`` of a folder of results, as plain values."""
    first = runs[0]
    split = Split.load(first.path / folder.SPLIT)
    made = json.loads((first.path / folder.ENVIRONMENT).read_text(encoding="utf-8"))
    return {
        **analysis.model_dump(mode="json"),
        "size": size,
        "command": made["command"],
        "dataset": _dataset(first, split),
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


def _dataset(run: PlannedRun, split: Split) -> dict[str, Any]:
    data = run.config.data
    collection = open_collection(data.name, classes=data.classes)
    counts = {"cases": len({sample.group for sample in collection.samples})}
    counts |= {f"{side} images": len(split.side(side)) for side in SIDES}
    return {
        "name": collection.name,
        "description": collection.note.partition(". ")[0],  # the rest is in `data list`
        "licence": collection.licence,
        "split": split.name,
        "caveats": list(split.caveats),
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
