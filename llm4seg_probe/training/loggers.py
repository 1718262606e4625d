"""Lightning's loggers by the names of their classes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch.loggers as available
from lightning.pytorch.loggers import Logger

from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import is_plain, shown

VARIABLE = "LLM4SEG_PROBE_LOGGERS"
"""Environment variable with the loggers that the user allowed; worker processes see it too."""

_LOCAL = {
    "CSVLogger": {"name", "version", "prefix", "flush_logs_every_n_steps"},
    "TensorBoardLogger": {
        *("name", "version", "prefix", "sub_dir", "log_graph", "default_hp_metric"),
        *("max_queue", "flush_secs", "purge_step"),
    },
}
"""Loggers that write files and ask no host, with the options that a file may give."""
_FOLDERS = ("name", "version", "sub_dir")
_PLACES = ("save_dir", "root_dir", "log_dir", "dir", "artifact_location", "tracking_uri")


@contextmanager
def loggers_given(names: Sequence[str]) -> Iterator[None]:
    """Let trainings that start in a block use these loggers, which talk to hosts."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(filter(None, (before, *names)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def logger_names() -> tuple[str, ...]:
    """Classes of lightning.pytorch.loggers that write somewhere."""
    return tuple(sorted(name for name in available.__all__ if name != "Logger"))


def loggers_of(wanted: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Logger]:
    """The loggers of a configuration, which write into the run's folder and nowhere else.

    Raises ConfigError for a class that is none, arguments that it does not take, and a package
    that is not installed.
    """
    return [_logger(name, options, folder) for name, options in wanted.items()]


def _logger(name: str, options: Mapping[str, Any], folder: Path) -> Logger:
    where = f"training.loggers.{name}"
    if name not in logger_names():
        raise ConfigError(f"training.loggers: {unknown('logger', name, logger_names())}")
    chosen = getattr(available, name)
    given = os.environ.get(VARIABLE, "").split(",")
    if name not in _LOCAL and name not in given:
        raise ConfigError(
            f"{where} sends what it logs to a host, which no file decides: add --logger {name} to "
            "the command if you want that"
        )
    for option in _PLACES:
        if option in options:
            raise ConfigError(
                f"{where}: {option} is not for a file to choose: loggers write into the run's own "
                "folder"
            )
    for option in options:
        if option not in _LOCAL.get(name, options):
            raise ConfigError(f"{where}: {unknown('option', str(option), _LOCAL[name])}")
        value = options[option]
        if option in _FOLDERS and not (isinstance(value, int) or is_plain(str(value))):
            raise ConfigError(
                f"{where}: {option} is '{shown(str(value))}', which is no plain name: it becomes a "
                "folder in the run's own"
            )
    own = {"save_dir": str(folder)} if "save_dir" in inspect.signature(chosen).parameters else {}
    try:
        return chosen(**{**options, **own})
    except ModuleNotFoundError as error:
        why = reason(error)
        raise ConfigError(f"{where} needs a package that is not installed: {why}") from error
    except Exception as error:  # of whatever kind: loggers are other projects' code
        raise ConfigError(f"{where} does not take {dict(options)}: {reason(error)}") from error
