"""The ``analysis.yaml`` of a folder of results: data, scale and machine of a study's runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import SIDES, Split
from llm4seg_probe.data.subsets import ALL, all_training_images
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.runs import PlannedRun
from llm4seg_probe.training import run_folder
from llm4seg_probe.training.environment import read_environment


def report_context(analysis: Analysis, runs: Sequence[PlannedRun], *, size: str) -> dict[str, Any]:
    """The ``analysis.yaml`` of a folder of results, as plain values.

    Data, scale and machine are those of a run at the base configuration, where there is one; of
    runs on few images and on all, those on all say how many there are.
    """
    base = analysis.base_config().data.name
    runs = sorted(runs, key=lambda run: run.config.data.train_images != ALL)
    first = min(runs, key=lambda run: run.config.data.name != base)
    made = read_environment(first.path)
    datasets = _datasets(first, runs)
    return {
        **analysis.model_dump(mode="json", exclude=None if analysis.decide else {"decide"}),
        "size": size,
        "command": _command(analysis, size),
        "dataset": datasets[0],
        "datasets": datasets,
        "arms": _levels(runs, "arm"),
        "seeds": _levels(runs, "seed"),
        "scale": _scale(first) | _of_training_images(runs),
        "date": _last_day(runs),
        "machine": {
            "processor": made["gpu"] or made["processor"],
            **({"kernels": made["kernels"]} if made.get("kernels") else {}),
            "cores": made["cores"],
            "python": made["python"],
            "torch": made["packages"]["torch"],
            "commit": (made["commit"] or "")[:12],
        },
    }


def _last_day(runs: Sequence[PlannedRun]) -> str:
    """The day (UTC) on which the last of the runs was finished."""
    finished = max((run.path / run_folder.ENVIRONMENT).stat().st_mtime for run in runs)
    return datetime.fromtimestamp(finished, UTC).date().isoformat()


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
    loaded = [Split.load(run.path / run_folder.SPLIT) for run in splits.values()]
    counts = {"cases": len({sample.group for sample in collection.samples})}
    counts |= {f"{side} images": len(loaded[0].side(side)) for side in SIDES}
    counts["train images"] = all_training_images(collection, data, loaded[0].train)
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
    mixture = config.booster.mixture
    mixed = f"; mixtures of layers {', '.join(map(str, mixture))}" if mixture else ""
    return scale | {"language model": f"{config.booster.source}, layer {layers}{mixed}"}


def _of_training_images(runs: Sequence[PlannedRun]) -> dict[str, str]:
    """How many images were trained on, how many of their masks were wrong, and steps to an epoch.

    Each only where it is not as usual: all images, no mask, once through the images.
    """
    told: dict[str, str] = {}
    if any(run.config.data.train_images != ALL for run in runs):
        amounts: dict[str, list[int]] = {}
        for run in runs:
            data = run.config.data
            of = "" if data.name == runs[0].config.data.name else f" of {data.name}"
            count = len(Split.load(run.path / run_folder.SPLIT).train)
            amounts.setdefault(f"{data.train_images}{of}", []).append(count)
        named = [f"{text} ({_span(counts)})" for text, counts in amounts.items()]
        told["training images, whole patients"] = ", ".join(named)
    for name, values in (
        ("share of wrong training masks", [run.config.data.label_noise for run in runs]),
        ("steps to an epoch", [run.config.training.steps_per_epoch for run in runs]),
    ):
        if any(values):
            shown = ["once through the images" if value is None else str(value) for value in values]
            told[name] = ", ".join(dict.fromkeys(shown))
    return told


def _span(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _levels(runs: Sequence[PlannedRun], field: str) -> list[Any]:
    return list(dict.fromkeys(getattr(run.config, field) for run in runs))
