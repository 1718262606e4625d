"""The command line as a whole: its commands, and what a failure looks like."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import Any

import typer

from llm4seg_probe.cli import (
    causes,
    convert,
    data,
    features,
    inputs,
    llm,
    model,
    predict,
    probe,
    quality,
    statistics,
    study,
    train,
)
from llm4seg_probe.errors import UserError


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
        except KeyboardInterrupt:
            _end(130, "Stopped. What was done is kept; the same command goes on from there.")

    return run


def _end(code: int, message: str) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def _of_the_system(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{place}. What was done is kept; free some space and repeat"
    return f"{error.strerror or error}{place}"


def _application() -> typer.Typer:
    settings: dict[str, Any] = {
        "no_args_is_help": True,
        "add_completion": False,
        "pretty_exceptions_enable": False,
        "rich_markup_mode": None,
    }
    app = typer.Typer(
        name="llm4seg-probe",
        help="Train, take apart and test frozen language-model layers in segmentation networks.",
        **settings,
    )
    alone = (study, model, train, predict, convert, probe, features, inputs, causes, statistics)
    for module in alone:
        for name, command in module.COMMANDS.items():
            app.command(name)(guarded(command))
    for name, modules in {"data": (data, quality), "llm": (llm,)}.items():
        group = typer.Typer(help=modules[0].__doc__, **settings)
        commands = [entry for module in modules for entry in module.COMMANDS.items()]
        for inner, command in commands:
            group.command(inner)(guarded(command))
        app.add_typer(group, name=name)
    return app


app = _application()


def main() -> None:
    """Run the command line."""
    app()
