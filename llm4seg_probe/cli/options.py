"""Options that commands share, their parsing and printing; groups and examples in ``--help``."""

from __future__ import annotations

import functools
import inspect
import json
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm4seg_probe.errors import CheckpointError, TableError
from llm4seg_probe.probes import registry
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
    """``column=value`` texts as a mapping.

    Raises TableError for one without ``=``, and for two of one column.
    """
    values: dict[str, str] = {}
    for condition in conditions or ():
        column, equals, value = condition.partition("=")
        if not equals or column[-1:] in tuple("!<>~:=") or column[:1] == "!" or value[:1] == "=":
            raise TableError(f"'{condition}' is not a condition: write column=value")
        if values.get(column, value) != value:
            raise TableError(
                f"{column} is given twice, as {values[column]} and as {value}: one value of a "
                "column at a time"
            )
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


OPENING = ("ckpt", "config", "analysis")
"""Parameters of commands whose files may name a network."""

Network = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        metavar="package.module:callable",
        help="A network from outside that the files may name; may be repeated.",
    ),
]


def with_network(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option ``--network``, where it opens files that may name one."""
    signature = inspect.signature(command, eval_str=True)
    if not set(OPENING) & set(signature.parameters):
        return command

    @functools.wraps(command)
    def run(*args: Any, network: list[str] | None = None, **options: Any) -> None:
        from llm4seg_probe.models.outside import networks_given

        with networks_given(network or ()):
            command(*args, **options)

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = inspect.Parameter("network", keyword, default=None, annotation=Network)
    parameters = [*signature.parameters.values(), own]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "network": Network}
    return run


START, DATA, RUNS = "Start", "Data", "Train and predict"
PROBES, STUDIES, STATISTICS = "Probes", "Studies", "Statistics for any results"

PANELS = {
    "demo": START, "doctor": START, "list": START, "cache": START,
    "data": DATA, "llm": DATA,
    "show": RUNS, "train": RUNS, "evaluate": RUNS, "predict": RUNS, "convert": RUNS,
    "sweep": STUDIES, "report": STUDIES, "nnunet": STUDIES,
    "compare": STATISTICS, "plan": STATISTICS, "audit": STATISTICS,
}  # fmt: skip
"""The group of each command; a command that is not named here is a probe."""
ORDER = (START, DATA, RUNS, PROBES, STUDIES, STATISTICS)

_NAME = "llm4seg-probe"
EXAMPLES = {
    "demo": ("demo --quick", "demo --open"),
    "doctor": ("doctor",),
    "list": ("list arms", "list probes"),
    "cache": ("cache", "cache --clear data"),
    "show": ("show run.yaml", "show run.yaml arm=cnn --time"),
    "train": ("train run.yaml", "train run.yaml arm=cnn seed=3 --out runs/cnn-3"),
    "evaluate": ("evaluate --ckpt 'runs/*/run.pt'",),
    "predict": ("predict --ckpt run.pt --images new-images --overlays",),
    "convert": ("convert best.pth --out run.pt",),
    "sweep": ("sweep my-study.yaml --dry-run", "sweep my-study.yaml --size quick --open"),
    "report": ("report reports/demo --open", "report reports/demo --one-file --out shared"),
    "compare": (
        "compare results.csv --baseline unet --score dice",
        "compare scores.csv --where split=test --where checkpoint=best",
    ),
    "plan": ("plan pilot.csv --margin 0.01",),
    "audit": ("audit their-table.csv --open", "audit theirs.csv --where split=test"),
    "data check": ("data check my-images --split groups",),
    "data split": ("data split my-images --kind groups --folds 5",),
    "data list": ("data list",),
    "data prepare": ("data prepare busi Dataset_BUSI_with_GT.zip",),
    "data phantoms": ("data phantoms --kind texture --out phantoms",),
    "llm list": ("llm list",),
    "llm fetch": ("llm fetch smollm2-135m --layer 15",),
    "llm show": ("llm show smollm2-135m",),
    "nnunet trainers": ("nnunet trainers",),
    "nnunet plans": ("nnunet plans 501 --source smollm2-135m --out nnUNetPlans_llm",),
    "nnunet table": ("nnunet table $nnUNet_results/Dataset501_Spine",),
    "nnunet compare": ("nnunet compare $nnUNet_results/Dataset501_Spine",),
}
"""Uses of each command, as they are typed after the program's name; a probe's are its own."""


def examples(name: str) -> tuple[str, ...]:
    """Uses of a command; none where it has none."""
    if name in EXAMPLES:
        return EXAMPLES[name]
    probe = registry.probes().get(name)
    return () if probe is None else probe.examples


def epilog(name: str) -> str | None:
    """The examples of a command, as they stand under its help."""
    lines = [f"  {_NAME} {words}" for words in examples(name)]
    if not lines:
        return None
    title = "Example" if len(lines) == 1 else "Examples"
    return "\n".join(["\b", f"{title}:", *lines])  # \b: not to be filled
