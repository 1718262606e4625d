"""Errors that the user can fix. Each message says what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches


class UserError(Exception):
    """An error that the user can fix; the command line prints it in one line and exits with 2."""


class ConfigError(UserError):
    """A configuration or analysis file that cannot be run as it stands."""


class DataError(UserError):
    """Images, masks or splits that cannot be trained on or measured."""


class SourceError(UserError):
    """A decoder layer that is not available from the source that the configuration names."""


class DownloadError(UserError):
    """Something that could not be fetched whole."""


class CheckpointError(UserError):
    """A file that is no checkpoint of this project, or not a whole one."""


class TrainingError(UserError):
    """A run that cannot start in its folder, or cannot go on."""


class SiteError(UserError):
    """A site that the network does not have, or that never ran."""


class TableError(UserError):
    """A table that lacks columns or rows which the computation needs."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; the name of its class where it has none.

    >>> first_line(ValueError("no\\nmore")), first_line(KeyError())
    ('no', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def unknown(kind: str, value: str, valid: Iterable[str]) -> str:
    """Say in one sentence that a name is not among the valid ones, the nearest first.

    >>> unknown("site", "befor", ["after", "before"])
    "unknown site 'befor'. Did you mean 'before'? Valid: before, after"
    """
    names = list(valid)
    near = get_close_matches(value, names, n=3, cutoff=0.5)
    # Of names equally alike, the one of the same length comes first: letters are often exchanged.
    near.sort(
        key=lambda name: (-SequenceMatcher(a=name, b=value).ratio(), abs(len(name) - len(value)))
    )
    ordered = near + [name for name in names if name not in near]
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{value}'.{hint} Valid: {', '.join(ordered)}"
