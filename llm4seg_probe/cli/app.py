"""The command line: every command, `list` and `doctor`, and failures as one line."""

from __future__ import annotations

import errno
import functools
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from llm4seg_probe.cli import data, llm, nnunet, probes, runs, statistics, study
from llm4seg_probe.cli.cache import cache
from llm4seg_probe.cli.options import (
    ORDER,
    PANELS,
    PROBES,
    Json,
    emit_json,
    epilog,
    say,
    with_network,
)
from llm4seg_probe.errors import UserError
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import OCCUPIED, printable

_SETTINGS = {"traceback": False}
_PACKAGE = str(Path(__file__).resolve().parents[1])


class Listed(StrEnum):
    """What `list` can list."""

    arms = "arms"
    sites = "sites"
    backbones = "backbones"
    probes = "probes"
    claims = "claims"
    presets = "presets"


def list_names(
    kind: Annotated[Listed, typer.Argument(help="What to list.")], as_json: Json = False
) -> None:
    """List what there is, one line each."""
    from llm4seg_probe.results.names import names_of

    entries = names_of(kind.value)
    if as_json:
        emit_json(entries)
        return
    width = max(map(len, entries))
    for name, text in entries.items():
        say(f"{name:<{width}}  {text}")


def doctor(
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Check this device from end to end, within minutes: auto, cpu, cuda, cuda:1, mps.",
        ),
    ] = "",
    out: Annotated[Path, typer.Option("--out", help="With --device: folder for the table.")] = Path(
        "reports/gpu"
    ),
    as_json: Json = False,
) -> None:
    """What is installed, which devices, caches and sources work here, and what to do."""
    from llm4seg_probe.cli.doctor import examine

    if device:
        _check_device(device, out, as_json)
        return

    findings = examine()
    if as_json:
        emit_json({"findings": [asdict(finding) for finding in findings]})
        return
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        say(f"{finding.what:<{width}}  {finding.state}")
        if finding.advice:
            say(f"{'':<{width}}  → {finding.advice}")


def _check_device(device: str, out: Path, as_json: bool) -> None:
    from llm4seg_probe import storage
    from llm4seg_probe.study.device_check import check_device

    found = check_device(device)
    table = out / found.file_name
    storage.write_text(table, found.markdown())
    if as_json:
        emit_json({"table": table, **asdict(found)})
    else:
        say(f"{found.markdown()}\nThe table: {table}")
    if found.wrong:
        raise typer.Exit(1)


COMMANDS: dict[str, Callable[..., None]] = {
    "doctor": doctor,
    "list": list_names,
    "cache": cache,
}


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with its failures made into one line: exit 2 on bad input, 130 on Ctrl-C."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except UserError as error:
            _end(2, f"Error: {' '.join(str(error).split())}")
        except OSError as error:
            _end(2, f"Error: {_of_the_system(error)}")
        except MemoryError:
            _end(2, "Error: memory ran out. Give less at a time, or use a machine with more")
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except Exception as error:
            if _SETTINGS["traceback"]:
                traceback.print_exc()
            _end(1, f"Error: {_internal(error)}")
        except KeyboardInterrupt:
            _end(130, "Stopped. What was done is kept; the same command goes on from there.")

    return run


def _internal(error: Exception) -> str:
    """What to report of a mistake of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _PACKAGE in frame.filename] or frames
    place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
    return (
        f"internal ({type(error).__name__} in {place}: {reason(error)}). This is a mistake of "
        "llm4seg-probe: please report this line with the command; `llm4seg-probe --traceback …` "
        "shows more"
    )


def _end(code: int, message: str) -> None:
    typer.echo(printable(message), err=True)
    raise typer.Exit(code)


def _of_the_system(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{place}. What was done is kept; free some space and repeat"
    if error.errno in (errno.EEXIST, errno.ENOTDIR) and error.filename:
        return f"{_occupied(Path(error.filename))}: {OCCUPIED}"
    return f"{error.strerror or error}{place}"


def _occupied(path: Path) -> Path:
    """What stands in the way of a folder: the path itself, or the first above it that is a file."""
    return next((part for part in (*reversed(path.parents), path) if part.is_file()), path)


class _InOrder(TyperGroup):
    """Commands and groups of commands in the order of their panels."""

    def list_commands(self, context: Any) -> list[str]:
        """Names in the order in which ``--help`` shows them."""
        names = super().list_commands(context)
        return sorted(names, key=lambda name: ORDER.index(PANELS.get(name, PROBES)))


class _Described(TyperCommand):
    """A command whose ``--help`` leaves the descriptions their width, without boxes around them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "rich_markup_mode": None})


def application() -> typer.Typer:
    """The command line with the commands of all probes that are known now."""
    settings: dict[str, Any] = {
        "no_args_is_help": True,
        "pretty_exceptions_enable": False,
        "rich_markup_mode": "markdown",
        "context_settings": {"help_option_names": ["-h", "--help"]},
    }
    app = typer.Typer(
        name="llm4seg-probe",
        cls=_InOrder,
        help="Train, take apart and test frozen language-model layers in segmentation networks.",
        **settings,
    )
    groups = {"data": data, "llm": llm, "nnunet": nnunet}
    commands: dict[str, Callable[..., None]] = {
        **study.COMMANDS, **COMMANDS, **runs.COMMANDS, **statistics.COMMANDS,
    }  # fmt: skip
    commands |= probes.commands(taken=(*commands, *groups))
    for panel in ORDER:
        for name in (name for name, module in groups.items() if PANELS[name] == panel):
            app.add_typer(_group(name, groups[name], settings), name=name, rich_help_panel=panel)
        for name, command in commands.items():
            if PANELS.get(name, PROBES) == panel:
                wrapped = guarded(with_network(command))
                shown: dict[str, Any] = {"rich_help_panel": panel, "epilog": epilog(name)}
                app.command(name, cls=_Described, **shown)(wrapped)
    app.callback()(_before)
    return app


def _group(name: str, module: Any, settings: dict[str, Any]) -> typer.Typer:
    """A group of commands, such as ``data``."""
    group = typer.Typer(help=module.__doc__, add_completion=False, **settings)
    for own, command in module.COMMANDS.items():
        wrapped = guarded(with_network(command))
        group.command(own, cls=_Described, epilog=epilog(f"{name} {own}"))(wrapped)
    return group


def _version(wanted: bool) -> None:
    from importlib.metadata import version

    if wanted:
        typer.echo(f"llm4seg-probe {version('llm4seg-probe')}")
        raise typer.Exit


def _before(
    context: typer.Context,
    bounds: Annotated[
        str,
        typer.Option(
            "--bounds",
            metavar="name=number,…",
            help="Raise what one file may take, such as bytes=8e9, where a message says so.",
        ),
    ] = "",
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Say which it is."),
    ] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an internal error comes from.")
    ] = False,
) -> None:
    """Train, take apart and test frozen language-model layers in segmentation networks."""
    from llm4seg_probe.reading.bounds import raised

    _SETTINGS["traceback"] = show_traceback
    try:
        context.with_resource(raised(bounds))
    except UserError as error:
        _end(2, f"Error: {error}")


app = application()


def main() -> None:
    """Run the command line; ``--traceback`` counts wherever it stands."""
    arguments = sys.argv[1:]
    if "--traceback" in arguments:
        arguments = ["--traceback", *(text for text in arguments if text != "--traceback")]
    app(arguments)
