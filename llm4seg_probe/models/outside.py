"""Networks from outside this project: only the user decides that one runs, never a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from llm4seg_probe.errors import ConfigError, UserError
from llm4seg_probe.reading.names import shown

_GIVEN: ContextVar[tuple[str, ...]] = ContextVar("networks given by the user", default=())
_HOW = (
    "Nothing in a file decides which code runs: if you know this code and trust it, name it "
    "yourself with --network package.module:callable"
)


def is_outside(name: str) -> bool:
    """Whether the name of a backbone is that of a callable, ``package.module:callable``."""
    return ":" in name


@contextmanager
def networks_given(names: Sequence[str]) -> Iterator[None]:
    """Let files that are opened in a block name these callables.

    Raises ConfigError for a text that names none.
    """
    for name in names:
        module, colon, function = name.partition(":")
        if not (
            colon and function.isidentifier() and all(map(str.isidentifier, module.split(".")))
        ):
            raise ConfigError(
                f"--network is '{shown(name)}': write package.module:callable, such as "
                "my_package.networks:Net"
            )
    token = _GIVEN.set((*_GIVEN.get(), *names))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def name_of(network: str | Callable[..., object]) -> str:
    """The name with which a configuration names a callable.

    >>> name_of("a.b:Net"), name_of(is_outside)
    ('a.b:Net', 'llm4seg_probe.models.outside:is_outside')
    """
    if isinstance(network, str):
        return network
    return f"{network.__module__}:{network.__qualname__}"


def refuse_unasked(
    stored: str,
    where: str,
    error: type[UserError],
    network: str | Callable[..., object] | None = None,
) -> None:
    """Raise ``error`` where a file names a callable that the user did not name.

    ``network`` is what the user gave for this one file, which must be what it was made with.
    """
    given = _GIVEN.get() if network is None else (name_of(network),)
    if network is not None and given[0] != stored:
        raise error(
            f"{where} was made with the network '{shown(stored)}', not with '{shown(given[0])}': "
            "a run is opened with the network it was trained with"
        )
    if not is_outside(stored) or stored in given:
        return
    others = f" (given was {', '.join(given)}, and the two must be equal)" if given else ""
    raise error(f"{where} names a network from outside, '{shown(stored)}'{others}. {_HOW}")
