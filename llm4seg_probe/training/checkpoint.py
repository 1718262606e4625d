"""Checkpoints: tensors and plain values only, written whole or not at all."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.storage import atomically

FORMAT = "llm4seg-probe run"
VERSION = 1


def save(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values as a torch archive, atomically.

    The archive is made in memory first: a full disk then shows as the operating system's own
    error, not as one of the archive writer.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomically(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def read(path: Path) -> dict[str, Any]:
    """Contents of a torch archive that holds nothing but tensors and plain values.

    Raises CheckpointError for anything else; no code in the file is ever run.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder; give the run.pt inside it" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} {_what_else(path)}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds objects other than tensors and plain values, which could run code; "
            "it was refused and nothing in it was run"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is no whole torch archive: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, no checkpoint")
    return content


def read_run(path: Path) -> dict[str, Any]:
    """Contents of one of this project's ``run.pt`` files. Raises CheckpointError."""
    content = read(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is a torch file, but no run of llm4seg-probe. A checkpoint of the reference "
            "implementation becomes one by: llm4seg-probe convert REFERENCE.pth --out run.pt"
        )
    if content.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {content.get('version')} of the run format, this release reads "
            f"{VERSION}: install the release that wrote it"
        )
    return content


def _what_else(path: Path) -> str:
    with open(path, "rb") as stream:
        start = stream.read(4)
    if start == b"PK\x03\x04":
        return "is cut short: the end of the archive is missing. Copy or train it again"
    if start[:1] == b"\x80":
        return "is a pickle, which could run code; it was not opened. Only torch archives are"
    if not start:
        return "is empty"
    return "is no checkpoint: it is not a torch archive"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
