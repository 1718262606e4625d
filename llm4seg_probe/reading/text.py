"""JSON, CSV and YAML of others: bounded in size and depth, plain values, refused in one line."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from llm4seg_probe.errors import UserError
from llm4seg_probe.reading.bounds import as_error, bound, refuse_more
from llm4seg_probe.reading.names import refuse_other_than_file

if TYPE_CHECKING:
    import pandas as pd


# Strings first, so that a bracket inside one is none; one that never ends ends with the text.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[\[\]{}]', re.DOTALL)
_CELL_ENDS = re.compile(rb"[,;\t|]")


_CHUNK = 2**22
_SAVE = "save it as UTF-8 text"
_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16",
          b"\xfe\xff": "UTF-16"}  # fmt: skip
"""Byte-order marks of encodings with several bytes a character, the longer ones first."""


def read_bytes(path: Path, error: type[UserError], limit: str = "text") -> bytes:
    """All bytes of a regular file of bounded size.

    Raises ``error`` for a larger one, and for a pipe or device, also behind a link. What the file
    system says of the size is not relied on: no more than the bound is read.
    """
    path = Path(path)
    with as_error(path, error):
        return b"".join(_pieces(path, error, limit))


def _pieces(path: Path, error: type[UserError], limit: str) -> Iterator[bytes]:
    """The bytes of a regular file, piece by piece, until the bound is passed."""
    refuse_other_than_file(path, error)
    size = path.stat().st_size
    refuse_more(limit, size, f"{path}: has {size:,} bytes", error)
    left = int(min(bound(limit), sys.maxsize - 1)) + 1
    with open(path, "rb") as stream:
        while left > 0 and (piece := stream.read(min(left, _CHUNK))):
            left -= len(piece)
            yield piece
    if left <= 0:
        most = int(bound(limit)) + 1
        refuse_more(limit, most, f"{path}: has {most:,} bytes or more", error)


def decoded(content: bytes, path: Path, error: type[UserError], encoding: str = "utf-8") -> str:
    """Bytes as text, line ends as line feeds. Raises ``error`` that says how to save it else."""
    mark = next((name for start, name in _MARKS.items() if content.startswith(start)), "")
    if mark or b"\0" in content[:4096]:
        kind = f"is {mark}" if mark else "holds bytes that are no UTF-8 text (UTF-16?)"
        raise error(f"{path}: {kind}: {_SAVE}")
    try:
        return io.TextIOWrapper(io.BytesIO(content), encoding=encoding).read()
    except UnicodeDecodeError as failure:
        raise error(
            f"{path}: is no UTF-8 text (byte {failure.start:,} is 0x{content[failure.start]:02x}): "
            f"{_SAVE}"
        ) from failure


def read_text(
    path: Path, error: type[UserError], *, encoding: str = "utf-8", limit: str = "text"
) -> str:
    """A text file of bounded size. Raises ``error`` for a larger one, or another encoding."""
    path = Path(path)
    with as_error(path, error):
        return decoded(read_bytes(path, error, limit), path, error, encoding)


def read_json(path: Path, error: type[UserError], *, encoding: str = "utf-8-sig") -> Any:
    """What a JSON file holds. Raises ``error`` for one that is too large, too deep, or none."""
    text = read_text(path, error, encoding=encoding)
    refuse_deep(text, f"{path}", error)
    with as_error(path, error):
        return json.loads(text)


def read_json_object(
    path: Path, error: type[UserError], *, encoding: str = "utf-8-sig"
) -> dict[str, Any]:
    """The same of a file that holds named values. Raises ``error`` for another."""
    found = read_json(path, error, encoding=encoding)
    if not isinstance(found, dict):
        raise error(f"{path}: not readable (an object is expected)")
    return found


def refuse_deep(text: str, what: str, error: type[UserError]) -> None:
    """Raise ``error`` where brackets outside strings are nested more deeply than the bound.

    JSON and YAML's flow style alike; a reader of either calls itself once for each of them.
    """
    deepest = depth = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in "]}":
            depth -= 1
    refuse_more("depth", deepest, f"{what}: is nested {deepest} brackets deep", error)


@contextmanager
def table_guard(
    path: Path, error: type[UserError], what: str = "is not a readable CSV table"
) -> Iterator[None]:
    """Run a block that reads a CSV file by pandas or :mod:`csv`, its size and columns bounded.

    Raises ``error`` for a file of another kind, and for whatever the reader in the block raises.
    """
    path = Path(path)
    with as_error(path, error, what):
        # Counted, and not asked of the file system: what is read in the block is as long.
        for _ in _pieces(path, error, "table"):
            pass
        with open(path, "rb") as stream:
            first = stream.readline(int(1e6))
        columns = 1 + len(_CELL_ENDS.findall(first))
        refuse_more("columns", columns, f"{path}: has {columns:,} columns in its first line", error)
        yield


def read_csv(path: Path, error: type[UserError], **options: Any) -> pd.DataFrame:
    """What :func:`pandas.read_csv` makes of a CSV file, within the bounds of tables."""
    import pandas as pd

    with table_guard(path, error):
        frame: pd.DataFrame = pd.read_csv(path, **options)
    return frame


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))\Z|\.(?:nan|NaN|NAN)\Z"
)


# Base 8 and base 60 of YAML 1.1, which others read as 10 and as text.
_OTHER_BASE = re.compile(r"[-+]?0[0-7_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+")


class _Loader(_Safe):  # type: ignore[misc]
    """Plain values; ``1e-3`` is a number, a date is text, and a key stands once.

    A number that begins with 0, or has colons, is refused: ``010`` was 8, and ``1:30`` was 90.
    """

    def construct_yaml_int(self, node: Any) -> int:
        """The number, unless YAML 1.1 and others read it in different ways."""
        if _OTHER_BASE.fullmatch(str(node.value)):
            raise yaml.constructor.ConstructorError(
                None, None,
                f"'{node.value}' is another number to each reader of YAML: write it without a 0 in "
                "front and without colons, or in quotes where it is text",
                node.start_mark,
            )  # fmt: skip
        found: int = super().construct_yaml_int(node)
        return found

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """The map, unless it gives a key twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key.value}' stands twice", key.start_mark
                    )
                seen.add(key.value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in found
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")
    ]
    for first, found in _Safe.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml_values(path: Path, error: type[UserError]) -> Any:
    """What a YAML file holds, as plain values; an empty one holds an empty map.

    Raises ``error`` for a file that is too large, too deep, repeats itself too often by aliases,
    has tags of objects, or is no YAML.
    """
    text = read_text(path, error)
    with as_error(path, error, "is not a readable configuration"):
        found = _loaded(text, f"{path}", error)
    return {} if found is None else found


def parse_yaml_value(text: str, what: str, error: type[UserError]) -> Any:
    """One value as the command line gives it, such as ``[1, 2]``."""
    with as_error(what, error, "is not a readable value"):
        return _loaded(text, what, error)


def dump_yaml(values: Any) -> str:
    """Plain values as YAML that any reader takes for the same values, whatever their text is."""
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return text


def _loaded(text: str, what: str, error: type[UserError]) -> Any:
    _refuse_large(text, what, error)
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _refuse_large(text: str, what: str, error: type[UserError]) -> None:
    """Raise ``error`` by the events alone, which come one by one: nothing calls itself yet.

    What an alias stands for is counted as often as it is named.
    """
    most = bound("values")
    sizes: dict[str, int] = {}
    open_since: list[tuple[str | None, int]] = []
    count = 0
    for event in yaml.parse(text, Loader=_Safe):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_since.pop()
            if anchor is not None:
                sizes[anchor] = count - before
            continue
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_since):
                raise error(f"{what}: '*{event.anchor}' stands inside of what it names")
            count += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            count += 1
        if isinstance(event, yaml.CollectionStartEvent):
            open_since.append((event.anchor, count - 1))
            depth = len(open_since)
            refuse_more("depth", depth, f"{what}: is nested {depth} levels deep", error)
        if count > most:
            refuse_more("values", count, f"{what}: holds {count:,} values or more", error)
