"""Torch archives of others: tensors and plain values, made here and by nothing in the file.

The pickle in such an archive says what to build. It is looked through before it is run, only the
names in ``_ALLOWED`` mean anything in it, and no tensor may be larger than what the file holds.
"""

from __future__ import annotations

import collections
import math
import pickle
import pickletools
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.reading.bounds import as_error, bound, refuse_more

_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_OPCODES = frozenset(
    [
        "PROTO",
        "STOP",
        "MARK",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "EMPTY_DICT",
        "DICT",
        "LIST",
        "SETITEM",
        "SETITEMS",
        "GLOBAL",
        "REDUCE",
        "BUILD",
        "BINPUT",
        "LONG_BINPUT",
        "BINGET",
        "LONG_BINGET",
        "BINPERSID",
    ]
)
"""What protocol 2 needs for plain values; others refer to other files' code, or repeat bytes."""
_LEAVES = (bool, int, float, str, torch.Tensor, torch.dtype)
_MOST_VALUES = 2_000_000
_PICKLE_SHARE = 2  # of the bound of texts: what describes the tensors is small


def read_archive(path: Path) -> Any:
    """What a torch archive holds. Raises CheckpointError for anything but tensors and plain values.

    Members must be stored as they are: torch compresses none, and what is compressed may unpack
    to anything.
    """
    path = Path(path)
    size = path.stat().st_size
    with (
        as_error(path, CheckpointError, "is no whole torch archive"),
        zipfile.ZipFile(path) as archive,
    ):
        members = _members(archive, path, size)
        described = archive.read(members["data.pkl"])
        _refuse_strange(described, path)
        if "byteorder" in members:
            written = archive.read(members["byteorder"]).decode("ascii", "replace")
            if written != sys.byteorder:
                raise CheckpointError(f"{path} was written on a machine of another byte order")
        storages = _Storages(archive, members, path)
        return _plain(_Reader(described, storages, path).load(), path)


def _members(archive: zipfile.ZipFile, path: Path, size: int) -> dict[str, zipfile.ZipInfo]:
    """Members by their names under the archive's one folder. Raises CheckpointError."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.partition("/")[2]
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                f"{path}: its part '{name[:40]}' is compressed, which torch does not do: save it "
                "again with torch.save"
            )
        if name in found:
            raise CheckpointError(f"{path}: holds '{name[:40]}' twice")
        found[name] = info
    if "data.pkl" not in found:
        raise CheckpointError(f"{path} is no torch archive: it has no data.pkl")
    if sum(info.file_size for info in found.values()) > size:
        raise CheckpointError(f"{path}: announces more than it holds")
    described = found["data.pkl"].file_size // _PICKLE_SHARE
    what = f"{path}: describes its tensors in {_PICKLE_SHARE * described:,} bytes"
    refuse_more("text", described, what, CheckpointError)
    return found


def _refuse_strange(described: bytes, path: Path) -> None:
    """Raise CheckpointError for names outside ``_ALLOWED``, and for numbers that take memory."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(described), start=1):
        if opcode.name == "GLOBAL" and _ALLOWED.get(str(argument)) is None:
            raise _strange(path, str(argument))
        if opcode.name not in _OPCODES:
            raise _strange(path, f"{opcode.name}")
        if opcode.name in ("BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise CheckpointError(f"{path} is damaged: it counts what is not there")


def _strange(path: Path, what: str) -> CheckpointError:
    named = "".join(c if c.isprintable() else "?" for c in what[:60])
    return CheckpointError(
        f"{path} holds objects other than tensors and plain values ({named}), which could run "
        "code; it was refused and nothing in it was run"
    )


class _Storages:
    """The bytes of an archive's tensors, each read once."""

    def __init__(
        self, archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], path: Path
    ) -> None:
        self._archive = archive
        self._members = members
        self._path = path
        self._read: dict[str, tuple[torch.dtype, torch.Tensor]] = {}

    def get(self, dtype: torch.dtype, key: str, count: int) -> torch.Tensor:
        """One flat tensor. Raises CheckpointError where the file holds another number of values."""
        if key in self._read:
            before, found = self._read[key]
            if before != dtype or found.numel() != count:
                raise CheckpointError(f"{self._path}: says two things about its part '{key[:20]}'")
            return found
        info = self._members.get(f"data/{key}")
        if info is None or info.file_size != count * dtype.itemsize:
            raise CheckpointError(
                f"{self._path}: its part '{key[:20]}' is missing, or of another size than it says"
            )
        data = bytearray(self._archive.read(info))
        found = torch.frombuffer(data, dtype=dtype) if count else torch.empty(0, dtype=dtype)
        self._read[key] = dtype, found
        return found


class _Reader(pickle.Unpickler):
    """Builds plain values; whatever a file may name is in ``_ALLOWED``."""

    def __init__(self, described: bytes, storages: _Storages, path: Path) -> None:
        super().__init__(BytesIO(described))
        self._storages = storages
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the file means. Raises CheckpointError for all others."""
        allowed = _ALLOWED.get(f"{module} {name}")
        if allowed is None:
            raise _strange(self._path, f"{module} {name}")
        return allowed

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """The storage that a file refers to."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, _Kind) or not isinstance(key, str):
            raise CheckpointError(f"{self._path}: refers to something else than a storage")
        if not isinstance(count, int) or count < 0:
            raise CheckpointError(f"{self._path}: a storage of {count!r} values")
        return self._storages.get(dtype.dtype, key, count)


class _Kind:
    """A type of storage: it can be named, and neither called nor changed."""

    __slots__ = ("_dtype",)
    _dtype: torch.dtype

    def __init__(self, dtype: torch.dtype) -> None:
        object.__setattr__(self, "_dtype", dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the values."""
        return self._dtype

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class _Maker:
    """A callable that a file may name; it cannot be changed from there."""

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def _plain(found: Any, path: Path) -> Any:
    """The same values in plain containers, each as often as it is named. Raises CheckpointError."""
    most, count = bound("depth"), 0

    def plain(value: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if count > _MOST_VALUES or depth > most:
            raise CheckpointError(f"{path}: holds too many values, or is nested too deeply")
        if isinstance(value, dict):
            pairs = dict.items(value)
            return {plain(key, depth + 1): plain(item, depth + 1) for key, item in pairs}
        if type(value) in (list, tuple):
            return type(value)(plain(item, depth + 1) for item in value)
        if value is None or isinstance(value, _LEAVES):
            return value
        raise _strange(path, type(value).__name__)

    return plain(found, 0)


def _tensor(
    storage: torch.Tensor,
    offset: int,
    size: Sequence[int],
    stride: Sequence[int],
    requires_grad: bool = False,
    hooks: object = None,
    metadata: object = None,
) -> torch.Tensor:
    """A view of a storage in which every value of the file is seen at most once."""
    if not isinstance(storage, torch.Tensor) or not isinstance(offset, int):
        raise ValueError("a tensor without a storage")
    size, stride = tuple(map(int, size)), tuple(map(int, stride))
    if len(size) != len(stride) or len(size) > 16 or min(size, default=0) < 0 or offset < 0:
        raise ValueError(f"a tensor of size {size} with strides {stride}")
    if math.prod(size) == 0:
        return torch.empty(size, dtype=storage.dtype)
    spread = sorted((step, side) for side, step in zip(size, stride, strict=True) if side > 1)
    reach = 1
    for step, side in spread:
        if step < reach:
            raise ValueError(f"a tensor of size {size} that shows the same values repeatedly")
        reach = step * (side - 1) + reach
    if offset + reach > storage.numel():
        raise ValueError(f"a tensor of size {size} of which not all is there")
    return torch.as_strided(storage, size, stride, offset)


def _parameter(data: torch.Tensor, requires_grad: bool = True, hooks: object = None) -> Any:
    if not isinstance(data, torch.Tensor):
        raise ValueError("a parameter without values")
    return data


def _ordered(*args: Any) -> collections.OrderedDict[Any, Any]:
    if args and not all(isinstance(pair, list | tuple) for pair in args[0]):
        raise ValueError("a dictionary of something else than pairs")
    return collections.OrderedDict(*args[:1])


_ALLOWED: dict[str, Any] = {
    "collections OrderedDict": _Maker(_ordered),
    "torch._utils _rebuild_tensor_v2": _Maker(_tensor),
    "torch._utils _rebuild_parameter": _Maker(_parameter),
    "torch Size": _Maker(lambda sides: tuple(map(int, sides))),
    **{f"torch {name}": _Kind(dtype) for name, dtype in _TYPES.items()},
    **{f"torch {str(dtype).partition('.')[2]}": dtype for dtype in _TYPES.values()},
}
