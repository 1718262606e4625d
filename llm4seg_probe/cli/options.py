"""Options, parsing and printing that commands share."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm4seg_probe.errors import CheckpointError, TableError
from llm4seg_probe.reading.names import files_of, printable

if TYPE_CHECKING:
    import pandas as pd

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

Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", help="auto (a GPU if there is one), cpu, cuda, cuda:1 or mps."
    ),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]

Loggers = Annotated[
    list[str] | None,
    typer.Option(
        "--logger", metavar="NAME", help="A logger of the configuration that may ask its host."
    ),
]


Pseudonyms = Annotated[
    bool,
    typer.Option(
        "--pseudonyms",
        help="Numbers for the names of patients and images; which is which stands beside --out.",
    ),
]


def say(line: str = "") -> None:
    """Print one line of a command's result on standard output."""
    typer.echo(printable(line))


def show_page(page: Path, wanted: bool) -> None:
    """Open a page in the user's browser, where that was asked for; say where none would."""
    if wanted and not webbrowser.open(page.resolve().as_uri()):
        typer.echo("No browser could be started here: open the page by hand.", err=True)


def emit_json(result: dict[str, Any]) -> None:
    """Print a result as JSON, with missing numbers as null and paths as text."""
    typer.echo(json.dumps(_plain(result), indent=2, ensure_ascii=False))


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as plain values, missing ones as None."""
    values: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return values


def pairs(conditions: list[str] | None) -> dict[str, str]:
    """``column=value`` texts as a mapping. Raises TableError for one without ``=``."""
    values = {}
    for condition in conditions or ():
        column, equals, value = condition.partition("=")
        if not equals:
            raise TableError(f"'{condition}' is not a condition: write column=value")
        values[column] = value
    return values


def checkpoints(patterns: list[str]) -> list[Path]:
    """The files that paths and globs name, each once, in the order given.

    Raises CheckpointError for a pattern that matches nothing.
    """
    return files_of(patterns, CheckpointError)


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
