"""Checkpoints: tensors and plain values only, written whole or not at all."""

from __future__ import annotations

import io
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from packaging.version import Version
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from torch import Tensor
from torch.utils._pytree import tree_map_only

from llm4seg_probe.config import Config, validated
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import CheckpointError, ConfigError, DataError
from llm4seg_probe.llm.stored_weights import LayerIdentity
from llm4seg_probe.reading.bounds import reason, refuse_deep_values
from llm4seg_probe.reading.names import is_plain, other_than_file, shown
from llm4seg_probe.reading.torch_archive import read_archive
from llm4seg_probe.storage import atomically


class _Strict(BaseModel):
    """Part of a run.pt: each field of its own type, none beside them."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", arbitrary_types_allowed=True
    )


def _plain_name(name: str) -> str:
    if not is_plain(name):
        raise ValueError("a name without '/' and the like is expected")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Images = Annotated[tuple[str, ...] | list[str], Field(max_length=10_000_000)]


class SplitContent(_Strict):
    """The split with which a run was trained."""

    name: str
    dataset: str
    dataset_fingerprint: str
    seed: _Count
    within_case: bool
    validation_is_test: bool
    train: _Images
    val: _Images
    test: _Images
    fingerprint: str


class LayerContent(_Strict):
    """The frozen layer that a run was trained with."""

    source: str
    layers: list[Annotated[int, Field(ge=1, lt=2**31)]] = Field(min_length=1)
    weights: Literal["pretrained", "random", "shuffled"]
    architecture: str
    width: Annotated[int, Field(ge=1, lt=2**31)]
    depth: Annotated[int, Field(ge=1, lt=2**31)]
    sha256: Sha256


class EmbeddedContent(_Strict):
    """A layer whose weights lie in the file: its language model's config, and its tensors."""

    values: dict[str, Any]
    tensors: dict[str, Tensor] = Field(min_length=1)
    sha256: Sha256


class RunContent(_Strict):
    """All of a ``run.pt``."""

    format: str
    version: int
    name: Name
    dataset: str
    config: dict[str, Any]
    split: SplitContent
    epoch: _Count | None
    val_iou: float | None
    layer: LayerContent | None
    embedded: EmbeddedContent | None = None
    state: dict[str, Tensor] = Field(min_length=1)

    def configuration(self, where: str) -> Config:
        """The run's configuration. Raises CheckpointError where it is none."""
        try:
            return validated(self.config, Config, where)
        except ConfigError as error:
            raise CheckpointError(str(error)) from error

    def split_of_run(self, where: str) -> Split:
        """The split. Raises CheckpointError where it was changed since it was stored."""
        try:
            return Split.from_dict(self.split.model_dump())
        except DataError as error:
            raise CheckpointError(f"{where}: {error}") from error

    @property
    def identity(self) -> LayerIdentity | None:
        """The layer, None where the run has none that is frozen."""
        return None if self.layer is None else LayerIdentity.from_dict(self.layer.model_dump())


def run_content_of(values: dict[str, Any], where: str) -> RunContent:
    """The content of a ``run.pt``. Raises CheckpointError that names the first field in it."""
    refuse_deep_values(values, where, CheckpointError)
    try:
        return RunContent(**values)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(f"{where} is no whole run: {_first(error)}") from error


class _Schedule(BaseModel):
    """State of a learning-rate schedule, which takes over whatever stands in it."""

    model_config = ConfigDict(strict=True, extra="allow")

    last_epoch: _Count
    """The steps that it has taken."""


class Resumed(BaseModel):
    """What Lightning's checkpoint must hold, so that a training can go on from it."""

    model_config = ConfigDict(strict=True, extra="allow", arbitrary_types_allowed=True)

    epoch: _Count
    global_step: _Count
    state_dict: dict[str, Tensor] = Field(min_length=1)
    optimizer_states: list[dict[str, Any]] = Field(min_length=1, max_length=1)
    lr_schedulers: list[_Schedule] = Field(min_length=1, max_length=1)
    callbacks: dict[str, Any]
    loops: dict[str, Any]
    written_by: str = Field(alias="pytorch-lightning_version")

    @field_validator("written_by")
    @classmethod
    def _by_none_later(cls, written: str) -> str:
        """What a later version writes, and with what meaning, is not known here."""
        here = version("lightning")
        if Version(written) > Version(here):
            raise ValueError(f"is {shown(written)}, later than the one here, {here}")
        return written


def refuse_unresumable(values: dict[str, Any], where: str) -> None:
    """Raise CheckpointError where a ``last.pt`` lacks what a training goes on from."""
    try:
        Resumed(**values)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(
            f"{where} cannot be resumed from: {_first(error)}. Train the run again from the start"
        ) from error


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return reason(error)
    problem = error.errors(include_url=False, include_input=False)[0]
    place = shown(".".join(map(str, problem["loc"])))
    what = {"missing": "is missing", "extra_forbidden": "is nothing that a run has"}
    return f"{place}: {what.get(problem['type'], problem['msg'].removeprefix('Value error, '))}"


FORMAT = "llm4seg-probe run"
VERSION = 1


def save(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values as a torch archive, atomically.

    The archive is made in memory first: a full disk then shows as the operating system's own
    error, not as one of the archive writer. Tensors are stored as those of the CPU, wherever they
    lie, so that every machine opens the file.
    """
    buffer = io.BytesIO()
    torch.save(tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), content), buffer)
    with atomically(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def read(path: Path) -> dict[str, Any]:
    """Contents of a torch archive that holds nothing but tensors and plain values.

    Raises CheckpointError for anything else; no code in the file is ever run.
    """
    path = Path(path)
    if not path.is_file():
        inside = "is a folder; give the run.pt inside it" if path.is_dir() else ""
        raise CheckpointError(f"{path} {inside or other_than_file(path) or 'does not exist'}")
    if not _is_archive(path):
        raise CheckpointError(f"{path} {_what_else(path)}")
    content = read_archive(path)
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
    written = content.get("version")
    if isinstance(written, bool) or not isinstance(written, int):
        raise CheckpointError(
            f"{path} gives the version of its format as {_in_words(written)}, and a whole number "
            f"is expected, such as {VERSION}: it was changed, or written by another program; take "
            "the run.pt as it was trained"
        )
    if written != VERSION:
        raise CheckpointError(
            f"{path} has version {written} of the run format, this release reads "
            f"{VERSION}: install the release that wrote it"
        )
    run_content_of(content, str(path))
    return content


def _in_words(value: object) -> str:
    if isinstance(value, str):
        return f"the text '{shown(value)}'"
    return "nothing" if value is None else f"a value of the type {type(value).__name__}"


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


def _is_archive(path: Path) -> bool:
    # A damaged directory of the archive is told by an exception, not by a no.
    try:
        return zipfile.is_zipfile(path)
    except (ValueError, OverflowError, NotImplementedError):
        return False
