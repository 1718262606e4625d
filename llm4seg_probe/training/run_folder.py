"""The run folder: what lies in it, and when it counts as done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from llm4seg_probe import progress, storage
from llm4seg_probe.config import Config, load_config, to_yaml
from llm4seg_probe.errors import TrainingError
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import is_there, refuse_file
from llm4seg_probe.training.environment import ENVIRONMENT as ENVIRONMENT

CONFIG, BEST, LAST = "config.yaml", "run.pt", "last.pt"
METRICS, SCORES, SPLIT = "metrics.csv", "scores.csv", "split.json"
GATES = "gates.csv"
"""Weights of a mixture and openings of a gate by epoch; not in the folder of an arm without."""

FILES = (CONFIG, SPLIT, BEST, METRICS, SCORES, ENVIRONMENT)
"""What a finished run cannot do without; ``last.pt`` only serves to go on from."""
_FROM_TRAINING = (CONFIG, BEST, METRICS, LAST)
_LOOK = 0.5  # seconds between two looks at a lock that another process holds


def is_done(folder: Path) -> bool:
    """Whether the folder holds a finished run, with all of its files."""
    return all((folder / name).is_file() for name in FILES)


def can_go_on(folder: Path) -> bool:
    """Whether a training can go on from what the folder holds, and nothing of it is missing."""
    return all((folder / name).is_file() for name in _FROM_TRAINING)


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Be the only process that makes the run of this folder.

    With ``wait`` another process that makes it is waited for; the lock ends with its process,
    however that ends. Raises TrainingError where another one holds it, and ``wait`` is false.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, reason(error)) from error
    refuse_file(folder, TrainingError)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        # A file system that takes no files, such as /proc, looks to the lock like another process.
        if not is_there(Path(lock.lock_file)):
            raise _unwritable(folder, "no file can be made there") from error
        if not wait:
            raise TrainingError(f"another process is training {folder} at this moment") from error
        progress.say(f"Another process makes {folder.name}; waiting for it.")
        lock.acquire(poll_interval=_LOOK)
    except OSError as error:
        raise _unwritable(folder, reason(error)) from error
    try:
        yield
    finally:
        lock.release()


def _unwritable(folder: Path, why: str) -> TrainingError:
    return TrainingError(
        f"{folder.parent}: no run can be written there ({why}): name another folder with --out"
    )


def prepare(folder: Path, config: Config, *, resume: bool) -> None:
    """Make the folder ready for a run, or for going on with it.

    Raises TrainingError when the folder holds another run, or nothing to resume.
    """
    known = folder / CONFIG
    last = folder / LAST
    if resume and not last.is_file():
        raise TrainingError(f"{folder} holds nothing to resume from: {LAST} is missing")
    if (last.is_file() or (folder / ENVIRONMENT).is_file()) and not resume:
        raise TrainingError(f"{folder} holds a run already: add --resume, or choose another --out")
    if resume and load_config(known) != config:
        raise TrainingError(
            f"{known} differs from the configuration given: a run is resumed as it was begun"
        )
    storage.write_text(known, to_yaml(config))
