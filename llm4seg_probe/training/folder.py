"""The run folder: what lies in it, and when it counts as done."""

from __future__ import annotations

from pathlib import Path

from llm4seg_probe import storage
from llm4seg_probe.config import Config, load_config, to_yaml
from llm4seg_probe.errors import TrainingError

CONFIG, BEST, LAST = "config.yaml", "run.pt", "last.pt"
METRICS, SCORES, SPLIT = "metrics.csv", "scores.csv", "split.json"
ENVIRONMENT = "environment.json"  # written last: a folder without it holds no finished run


def is_done(folder: Path) -> bool:
    """Whether the folder holds a finished run."""
    return (folder / ENVIRONMENT).is_file()


def prepare(folder: Path, config: Config, *, resume: bool) -> None:
    """Make the folder ready for a run, or for going on with it.

    Raises TrainingError when the folder holds another run, or nothing to resume.
    """
    known = folder / CONFIG
    last = folder / LAST
    if resume and not last.is_file():
        raise TrainingError(f"{folder} holds nothing to resume from: {LAST} is missing")
    if (last.is_file() or is_done(folder)) and not resume:
        raise TrainingError(f"{folder} holds a run already: add --resume, or choose another --out")
    if resume and load_config(known) != config:
        raise TrainingError(
            f"{known} differs from the configuration given: a run is resumed as it was begun"
        )
    storage.write_text(known, to_yaml(config))
