"""Forecast time and memory of a run or of a whole analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import progress
from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.data.subsets import asked_told, count_of
from llm4seg_probe.models.costs import Costs, costs, hollow_network
from llm4seg_probe.models.published import Beside, beside
from llm4seg_probe.models.setup_checks import check_setup
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.engines.local import available_cores
from llm4seg_probe.study.pipeline import planned
from llm4seg_probe.study.runs import PlannedRun, RunEstimate, deviations, estimates
from llm4seg_probe.training.epochs import batches_of_epoch
from llm4seg_probe.training.work import (
    CONTEXT_MB,
    KernelKind,
    StepTime,
    Work,
    step_time,
    work_of_step,
)


@dataclass(frozen=True)
class Gpu:
    """Peaks in TFLOP/s, memory bandwidth in GB/s, memory in GB."""

    name: str
    fp32: float
    bf16: float
    bandwidth: float
    memory: float

    def peak(self, precision: str) -> float:
        """Operations per second in a precision."""
        return 1e12 * (self.fp32 if precision == "fp32" else self.bf16)


GPUS = (
    Gpu("A100 80GB", 19.5, 312.0, 2039.0, 80.0),
    Gpu("H100", 67.0, 989.0, 3350.0, 80.0),
    Gpu("RTX 4090", 82.6, 165.2, 1008.0, 24.0),
)
EFFICIENCY: dict[KernelKind, float] = {
    "matrix": 0.98, "convolution": 1.0, "grouped": 0.7, "moving": 0.53,
}  # fmt: skip
"""Share of the limit that each kind of kernel reached (analyses/benchmarks/forecast_check.py)."""
RANGE = 2.0
"""Factor either way of the middle within which a step is expected."""
START_SECONDS = 8e-6  # that the processor takes to start a kernel; the GPU may have to wait for it
IMAGES = {"busi": 647, "tnscui": 3644, "isic2018": 2594, "kvasir": 1000, "btcv": 30}
"""Images with masks in the data sets of the paper, BUSI without its normal images."""
_WINDOWS = 64  # that slide over a volume of the abdomen, 96 voxels wide, half of each shared
_SHARES = (0.7, 0.1)  # of images for training and validation, where the data are not here


@dataclass(frozen=True)
class Span:
    """A middle with a range around it."""

    middle: float

    @property
    def low(self) -> float:
        """Least that is expected."""
        return self.middle / RANGE

    @property
    def high(self) -> float:
        """Most that is expected."""
        return self.middle * RANGE

    def text(self, digits: int = 1) -> str:
        """The range as it is printed."""
        return f"{self.low:.{digits}f} to {self.high:.{digits}f}"


def step_seconds(
    work: Work,
    peak: float,
    bandwidth: float,
    start: float = 0.0,
    efficiency: Mapping[KernelKind, float] = EFFICIENCY,
) -> Span:
    """Seconds of a training step on a machine of that peak (FLOP/s) and bandwidth (bytes/s).

    ``start`` is what the processor needs to start one kernel: a small network waits for that.
    """
    least = work.least_seconds(peak, bandwidth)
    busy = sum(seconds / efficiency[kind] for kind, seconds in least.items())
    return Span(max(busy, start * work.count))


def gpu_forecast(configs: Sequence[Config]) -> pd.DataFrame:
    """Cost of runs on each GPU of :data:`GPUS`, a row for each data set, network and arm.

    Nothing is opened or fetched but the config of the language model. Columns: dataset, backbone,
    arm, runs, gpu, minutes_low, minutes_high (of a run), hours_low, hours_high (of all runs, one
    after another), memory_gb (of a training step), fits, disk_mb (of all runs). Reading images,
    probes and surface distances come on top.
    """
    groups: dict[tuple[Any, ...], list[Config]] = {}
    for config in configs:
        kind = config.model_copy(update={"seed": 0})
        groups.setdefault((kind.model_dump_json(),), []).append(config)
    known: dict[str, tuple[Work, Costs]] = {}
    rows = []
    for alike in progress.track(list(groups.values()), "Counting"):
        config = alike[0]
        # Which layer, and which images and how many, make no difference to the work of a step.
        booster = config.booster.model_copy(update=_first_layers(config))
        whole = {"name": "", "split": "groups", "train_images": "all", "label_noise": 0.0}
        data = config.data.model_copy(update=whole)
        like = config.model_copy(update={"seed": 0, "data": data, "booster": booster})
        key = like.model_dump_json()
        if key not in known:
            known[key] = work_of_step(like), costs(like)
        rows += [_row(config, len(alike), gpu, *known[key]) for gpu in GPUS]
    return pd.DataFrame(rows)


def _first_layers(config: Config) -> dict[str, tuple[int, ...] | None]:
    """As many layers as a configuration has, the first ones, in the field that counts."""
    booster = config.booster
    if not ARMS[config.arm].mixed:
        return {"layer": tuple(range(1, len(booster.layers) + 1)), "mixture": None}
    if booster.mixture is None:  # how many they are goes by the layer
        return {}
    return {"mixture": tuple(range(1, len(booster.mixture) + 1))}


def _row(config: Config, runs: int, gpu: Gpu, work: Work, counted: Costs) -> dict[str, Any]:
    precision, total = config.compute.precision, counted.total
    step = step_seconds(work, gpu.peak(precision), 1e9 * gpu.bandwidth, START_SECONDS)
    run = Span(step.middle * _steps(config))
    memory = total.memory / 1e9 + CONTEXT_MB / 1000
    # run.pt holds what is trained, last.pt the optimiser's numbers too.
    disk = 4e-6 * total.trainable * 3 + 5
    return {
        "dataset": config.data.name,
        "backbone": config.backbone.name,
        "arm": config.arm,
        "runs": runs,
        "gpu": gpu.name,
        "minutes_low": run.low / 60,
        "minutes_high": run.high / 60,
        "hours_low": runs * run.low / 3600,
        "hours_high": runs * run.high / 3600,
        "memory_gb": memory,
        "fits": memory < gpu.memory,
        "disk_mb": runs * disk,
    }


def _steps(config: Config) -> float:
    """Training steps of a run, with validation as the third of a step that its forward pass is."""
    training, data = config.training, config.data
    batch = training.batch_size
    images = IMAGES.get(data.name)
    if images is None:
        from llm4seg_probe.data.datasets import open_collection
        from llm4seg_probe.data.splits import split_of

        split = split_of(open_collection(data.name, classes=data.classes), data)
        train, val = len(split.train), len(split.val)
    else:
        train, val = (round(share * images) for share in _SHARES)
    windows = _WINDOWS if data.sampling == "patches" else 1
    # Patients are not known here: as if each image were of one.
    few = min(train, count_of(data.train_images, train))
    return training.epochs * (batches_of_epoch(config, few, train) + val * windows / batch / 3)


def totals(rows: pd.DataFrame) -> pd.DataFrame:
    """What is printed: a row for each data set and GPU, and one for all data sets."""
    parts = []
    for names, table in ((["dataset", "gpu"], rows), (["gpu"], rows.assign(dataset="all"))):
        for _, group in table.groupby(names, sort=False):
            first = group.iloc[0]
            parts.append(
                {
                    "dataset": first["dataset"],
                    "GPU": first["gpu"],
                    "runs": int(group["runs"].sum()),
                    "minutes a run": f"{group['minutes_low'].min():.0f} to "
                    f"{group['minutes_high'].max():.0f}",
                    "hours in all": f"{group['hours_low'].sum():.1f} to "
                    f"{group['hours_high'].sum():.1f}",
                    "memory GB": f"{group['memory_gb'].max():.1f}"
                    + ("" if group["fits"].all() else " (too much)"),
                    "disk GB": f"{group['disk_mb'].sum() / 1000:.1f}",
                }
            )
    return pd.DataFrame(parts)


SENTENCE = (
    "A forecast, for GPUs that nobody asked: counted operations and bytes, the vendors' peaks, and "
    "the shares of a machine's limit that were measured on a CPU. Runs one after another; reading "
    "images, probes and surface distances come on top."
)


@dataclass(frozen=True)
class Preview:
    """Costs by part, published numbers beside them, signs of failure, and time where asked for.

    ``asks`` is what the configuration asks of the training images, where it is not all of them.
    """

    costs: Costs
    beside: tuple[Beside, ...]
    signatures: tuple[str, ...]
    time: StepTime | None
    asks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values; memory in bytes, shapes without the batch."""
        rows = [part.row() for part in (*self.costs.parts, self.costs.total)]
        values: dict[str, Any] = {
            "parts": rows,
            "batch_size": self.costs.batch_size,
            "sites": {name: list(shape) for name, shape in self.costs.sites.items()},
            "published": [row.row() for row in self.beside],
            "signatures": list(self.signatures),
            "training_images": list(self.asks),
        }
        if self.time is not None:
            values["time"] = {
                "seconds_per_step": self.time.seconds,
                "steps": self.time.steps,
                "seconds": self.time.run_seconds,
            }
        return values


def preview(config: Config, *, timed: bool = False) -> Preview:
    """Count what the run of a configuration costs, without data and without the layer's weights.

    ``timed`` takes a few real training steps too, and needs both. Raises ConfigError where the
    parts of the network do not fit, SourceError where the language model's config is not to be had.
    """
    checked = check_setup(config, hollow_network(config))
    assert checked.costs is not None  # built from one configuration, its widths fit
    return Preview(
        checked.costs,
        tuple(beside(config, checked.costs)),
        checked.sentences,
        step_time(config) if timed else None,
        asked_told(config),
    )


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
            f"take about {progress.in_words(3600 * totals['hours'])}, {side}, and up to "
            f"{totals['memory_mb'] / 1000 * self.workers:.1f} GB in all. Estimated from runs of "
            "the same kind where there are any, else from a few training steps taken now."
        )


def forecast(analysis: Analysis, store: Path, workers: int | None = None) -> Forecast:
    """Plan an analysis and estimate what is missing, from runs of the kind or by measuring."""
    runs = planned(analysis, store)
    known = estimates(runs)
    deviating = deviations([run.config for run in runs], analysis.base_config())
    taken: dict[str, RunEstimate] = {}
    rows = []
    for run, estimate, deviation in progress.track(
        list(zip(runs, known, deviating, strict=True)), "Estimating"
    ):
        condition = run.config.arm + (f"[{deviation}]" if deviation else "")
        expected = estimate
        if expected.seconds is None and not run.done:
            if condition not in taken:
                taken[condition] = _measured(run)
            expected = taken[condition]
        rows.append(
            {
                "run": run.path.name,
                "condition": condition,
                "done": run.done,
                "seconds": expected.seconds,
                "memory_mb": expected.memory_mb,
            }
        )
    table = pd.DataFrame(rows)
    threads = max(run.config.compute.threads for run in runs)
    side_by_side = workers or max(1, available_cores() // threads)
    missing = int((~table["done"]).sum())
    return Forecast(table, max(1, min(side_by_side, missing)))


def _measured(run: PlannedRun) -> RunEstimate:
    from llm4seg_probe.models.costs import costs
    from llm4seg_probe.training.work import step_time

    needed = sum(part.memory for part in costs(run.config).parts) / 1e6
    return RunEstimate(step_time(run.config, repeats=3).run_seconds, _PROCESS_MB + needed)
