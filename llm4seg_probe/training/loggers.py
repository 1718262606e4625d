"""Lightning's loggers by the names of their classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch.loggers as available
from lightning.pytorch.loggers import Logger

from llm4seg_probe.errors import ConfigError, unknown


def logger_names() -> tuple[str, ...]:
    """Classes of lightning.pytorch.loggers that write somewhere."""
    return tuple(sorted(name for name in available.__all__ if name != "Logger"))


def loggers_of(wanted: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Logger]:
    """The loggers of a configuration, which write into the run's folder unless they are told where.

    Raises ConfigError for a class that is none, arguments that it does not take, and a package
    that is not installed.
    """
    return [_logger(name, options, folder) for name, options in wanted.items()]


def _logger(name: str, options: Mapping[str, Any], folder: Path) -> Logger:
    where = f"training.loggers.{name}"
    if name not in logger_names():
        raise ConfigError(f"training.loggers: {unknown('logger', name, logger_names())}")
    chosen = getattr(available, name)
    place = {}
    if "save_dir" in inspect.signature(chosen).parameters:
        place = {"save_dir": str(folder)}
    try:
        return chosen(**{**place, **options})
    except ModuleNotFoundError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} needs a package that is not installed: {reason}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where} does not take {dict(options)}: {error}") from error
