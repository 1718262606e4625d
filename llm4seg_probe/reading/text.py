"""JSON and CSV of others: bounded in size and depth, and refused in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm4seg_probe.errors import UserError
from llm4seg_probe.reading.bounds import as_error, refuse_more

if TYPE_CHECKING:
    import pandas as pd

# Strings first, so that a bracket inside one is none; one that never ends ends with the text.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[\[\]{}]', re.DOTALL)
_CELL_ENDS = re.compile(rb"[,;\t|]")


def read_text(
    path: Path, error: type[UserError], *, encoding: str = "utf-8", limit: str = "text"
) -> str:
    """A text file of bounded size. Raises ``error`` for a larger one, or another encoding."""
    path = Path(path)
    with as_error(path, error):
        size = path.stat().st_size
        refuse_more(limit, size, f"{path}: has {size:,} bytes", error)
        return path.read_text(encoding=encoding)


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
        size = path.stat().st_size
        refuse_more("table", size, f"{path}: has {size:,} bytes", error)
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
