"""What every command shares: its options, and how a result is printed."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm4seg_probe.errors import CheckpointError, TableError

if TYPE_CHECKING:
    import pandas as pd

    from llm4seg_probe.study.single.result import ProbeResult

Out = Annotated[Path | None, typer.Option("--out", help="Folder for the results.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on standard output, nothing else.")
]
Checkpoints = Annotated[
    list[str], typer.Option("--ckpt", help="A run.pt, or a glob of them; may be repeated.")
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Images of another folder instead of the run's own.")
]
SplitSide = Annotated[
    str, typer.Option("--split", help="Which side of the run's own split: train, val or test.")
]
Sites = Annotated[
    str, typer.Option("--sites", help="Where to read activations, separated by commas.")
]


def say(line: str = "") -> None:
    """Print one line of a command's result on standard output."""
    typer.echo(line)


def emit_json(result: dict[str, Any]) -> None:
    """Print a result as JSON, with missing numbers as null and paths as text."""
    typer.echo(json.dumps(_plain(result), indent=2, ensure_ascii=False))


def print_probe(found: ProbeResult, as_json: bool) -> None:
    """Print what a probe gave: its rows as JSON, or its summary and where table and figures lie."""
    if as_json:
        rows = records(found.table)
        emit_json({"table": found.path, "figures": found.figures, "rows": rows})
        return
    say(found.summary.to_string(index=False, float_format="%.4f"))
    for label, path in (("table", found.path), *(("figure", path) for path in found.figures)):
        say(f"The {label}: {path}")


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as plain values, missing ones as None."""
    values: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return values


def pairs(conditions: list[str] | None) -> dict[str, str]:
    """``column=value`` texts as a mapping. Raises TableError for one without ``=``."""
    found = {}
    for condition in conditions or ():
        column, equals, value = condition.partition("=")
        if not equals:
            raise TableError(f"'{condition}' is not a condition: write column=value")
        found[column] = value
    return found


def checkpoints(patterns: list[str]) -> list[Path]:
    """The files that paths and globs name, each once, in the order given.

    Raises CheckpointError for a pattern that matches nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = [Path(pattern)] if Path(pattern).exists() else _matches(pattern)
        if not paths:
            raise CheckpointError(f"{pattern} does not exist")
        found.update(dict.fromkeys(paths))
    return list(found)


def _matches(pattern: str) -> list[Path]:
    # Path.glob refuses absolute patterns, which is what `reports/**/run.pt` expands to elsewhere.
    return sorted(map(Path, glob.glob(pattern, recursive=True)))  # noqa: PTH207


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value != value:
        return None
    return value
