"""Read nnU-Net's checkpoints without running anything that is in them.

They hold numpy's numbers in their log beside tensors and plain values, for which torch's safe
reading refuses them. It is used all the same, with those numbers allowed and nothing else.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llm4seg_probe.errors import CheckpointError

_MARKS = (b"network_weights", b"trainer_name", b"init_args")
_FIELDS = ("network_weights", "trainer_name", "init_args", "current_epoch")


@dataclass(frozen=True)
class NnunetCheckpoint:
    """Hold what a checkpoint of nnU-Net's says."""

    path: Path
    weights: Mapping[str, Tensor]
    trainer: str
    plans: Mapping[str, Any]
    configuration: str
    fold: int | str
    dataset: Mapping[str, Any]
    epoch: int
    """Epochs that were trained."""


def is_nnunet(path: Path) -> bool:
    """Tell whether a torch archive has nnU-Net's names in it, without unpickling anything."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        index = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
        if index is None:
            return False
        content = archive.read(index)
    return all(mark in content for mark in _MARKS)


def read_nnunet(path: Path) -> NnunetCheckpoint:
    """Read a checkpoint. Raises CheckpointError where it holds anything that could run."""
    try:
        with torch.serialization.safe_globals(_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds objects other than tensors, plain values and numpy's numbers, which "
            "could run code; it was refused and nothing in it was run"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is no whole torch archive: {reason}") from error
    lacking = [name for name in _FIELDS if name not in content]
    arguments = content.get("init_args") or {}
    lacking += [
        f"init_args.{name}"
        for name in ("plans", "configuration", "fold", "dataset_json")
        if name not in arguments
    ]
    if lacking:
        raise CheckpointError(
            f"{path} is no checkpoint of nnU-Net's: it lacks {', '.join(lacking)}"
        )
    return NnunetCheckpoint(
        path=path,
        weights=content["network_weights"],
        trainer=str(content["trainer_name"]),
        plans=arguments["plans"],
        configuration=str(arguments["configuration"]),
        fold=arguments["fold"],
        dataset=arguments["dataset_json"],
        epoch=int(content["current_epoch"]),
    )


def _numbers() -> list[Any]:
    """List numpy's scalars by the names that they are pickled under, and their types."""
    from numpy._core.multiarray import scalar

    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdg"}
    return [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),  # as numpy 1 wrote it
        np.dtype,
        *kinds,
    ]
