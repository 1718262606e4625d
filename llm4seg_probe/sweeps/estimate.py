"""How long runs will take and what memory they need, from runs of their kind that were made."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm4seg_probe.config import Config, load_config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.sweeps.plan import PlannedRun
from llm4seg_probe.training import folder


@dataclass(frozen=True)
class Estimate:
    """What one run will take, each None where nothing is known."""

    seconds: float | None
    memory_mb: float | None


@dataclass(frozen=True)
class _Made:
    config: Config
    seconds: float
    memory_mb: float


def estimates(runs: Sequence[PlannedRun], measured: Sequence[Path] = ()) -> list[Estimate]:
    """For each run the medians over finished runs of its kind, from the folders of the runs.

    Runs are of one kind that differ in nothing that changes the work: same arm, network, image
    size, batches, precision and language model. Where there are none of the same arm, those of
    any arm are taken. The seconds are for each epoch, times the epochs of the run. ``measured``
    are further folders of runs to learn from.
    """
    stores = dict.fromkeys([*(run.path.parent for run in runs), *measured])
    made = [found for store in stores for found in _made(store)]
    return [_estimate(run.config, made) for run in runs]


def hours(found: Sequence[Estimate], workers: int) -> float | None:
    """Hours that runs take side by side, None where one of them is not known."""
    seconds = [estimate.seconds for estimate in found]
    if any(value is None for value in seconds):
        return None
    return sum(value for value in seconds if value is not None) / workers / 3600


def _estimate(config: Config, made: Sequence[_Made]) -> Estimate:
    for kind in (_kind, _kind_of_any_arm):
        alike = [one for one in made if kind(one.config) == kind(config)]
        if alike:
            per_epoch = [one.seconds / one.config.training.epochs for one in alike]
            return Estimate(
                statistics.median(per_epoch) * config.training.epochs,
                max(one.memory_mb for one in alike),
            )
    return Estimate(None, None)


def _kind(config: Config) -> tuple[object, ...]:
    return (
        config.arm,
        config.booster.source,
        len(config.booster.layers),
        *_kind_of_any_arm(config),
    )


def _kind_of_any_arm(config: Config) -> tuple[object, ...]:
    data, compute = config.data, config.compute
    return (
        config.backbone.name, config.backbone.widths, data.name, data.image_size, data.channels,
        data.sampling, config.training.batch_size, compute.threads, compute.precision,
        compute.memory_format, compute.accelerator,
    )  # fmt: skip


def _made(store: Path) -> list[_Made]:
    found = []
    for path in sorted(store.glob(f"*/{folder.ENVIRONMENT}")):
        try:
            config = load_config(path.with_name(folder.CONFIG))
            noted = json.loads(path.read_text(encoding="utf-8"))
            found.append(_Made(config, noted["wall_seconds"], noted["peak_memory_mb"]))
        except (ConfigError, ValueError, KeyError):
            continue  # of another version: nothing to learn from
    return found
