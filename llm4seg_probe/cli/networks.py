"""``--network``: the code that the user, and no file, lets run."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

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
