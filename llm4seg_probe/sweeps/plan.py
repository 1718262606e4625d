"""Which runs an analysis needs, what each is called, and how one is made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm4seg_probe.config import Config
from llm4seg_probe.training import folder


@dataclass(frozen=True)
class PlannedRun:
    """One run with the folder that its identity gives it."""

    config: Config
    path: Path

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return folder.is_done(self.path)

    @property
    def begun(self) -> bool:
        """Whether the run can be resumed."""
        return (self.path / folder.LAST).is_file()

    @property
    def share_done(self) -> float:
        """How much of the run is done, from 0 to 1, by the epochs in its folder."""
        if self.done:
            return 1.0
        metrics = self.path / folder.METRICS
        if not metrics.is_file():
            return 0.0
        epochs = metrics.read_text(encoding="utf-8").count("\n") - 1
        return 0.95 * epochs / self.config.training.epochs

    @property
    def checkpoint(self) -> Path:
        """Path of the run's selected checkpoint."""
        return self.path / folder.BEST


_WITHOUT_EFFECT: Any = {
    "training": {"workers", "loggers"},
    "compute": {"keep_freed_memory"},
}
"""Fields that change neither the bits of a run nor its tables."""


def identity(config: Config, data_fingerprint: str) -> str:
    """Hexadecimal text that two runs share only if configuration and data are the same.

    Fields that cannot change a result, such as the number of loader workers, do not count.
    """
    values = json.dumps(config.model_dump(mode="json", exclude=_WITHOUT_EFFECT), sort_keys=True)
    return hashlib.sha256(f"{values}\n{data_fingerprint}".encode()).hexdigest()


def plan(
    configs: Sequence[Config], data_fingerprints: Sequence[str], runs: Path
) -> list[PlannedRun]:
    """The runs in the order of their configurations, each in its folder under ``runs``."""
    return [
        PlannedRun(config, runs / f"{config.arm}-{config.seed}-{identity(config, data)[:8]}")
        for config, data in zip(configs, data_fingerprints, strict=True)
    ]


def make(run: PlannedRun) -> None:
    """Train one run from where it stands; a finished one is left as it is."""
    from llm4seg_probe.training.fit import train

    if run.done:
        return
    if not run.begun and run.path.exists():
        shutil.rmtree(run.path)  # stopped before its first epoch was whole: nothing to keep
    train(run.config, run.path, resume=run.begun)
