"""The descriptor of a probe: what it measures, its table, its options, and the code that does it.

A descriptor is cheap: the modules that measure and draw are imported when they are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from llm4seg_probe.errors import ConfigError, SiteError, unknown
from llm4seg_probe.tables import Schema


class NotMeasurable(SiteError):
    """A run that has nothing of what a probe measures; the probe goes on with the other runs."""


@dataclass(frozen=True)
class NoOptions:
    """For a probe that takes no options of its own."""


def option(
    default: Any, text: str, *, minimum: int | None = None, flags: tuple[str, ...] = (),
    analysis: str = "",
) -> Any:  # fmt: skip
    """Declare an option of a probe, as a field of its ``options`` dataclass.

    Parameters
    ----------
    default
        Value unless one is given.
    text
        Help text on the command line and in the documentation.
    minimum
        Smallest value of a number, or of each of several.
    flags
        Names of the option on the command line; by default its own.
    analysis
        Field of an analysis file's ``probes:`` that sets it in a sweep, such as ``sites``.
    """
    metadata = {"help": text, "minimum": minimum, "flags": flags, "analysis": analysis}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option of a probe, as the command line and an analysis file need to know it."""

    name: str
    type: type
    """Of one value: ``str``, ``int`` or ``bool``."""
    several: bool
    """Whether it is a tuple of them, written with commas."""
    optional: bool
    """Whether it may be None."""
    default: Any
    help: str
    minimum: int | None
    flags: tuple[str, ...]
    analysis: str

    @property
    def flag(self) -> str:
        """Its first name on the command line."""
        return self.flags[0] if self.flags else f"--{self.name.replace('_', '-')}"

    @property
    def text(self) -> str | None:
        """The default as it is written on the command line, for a tuple."""
        return None if self.default is None else ",".join(map(str, self.default))

    def parsed(self, text: str) -> tuple[Any, ...]:
        """Values between commas. Raises ConfigError for one that is no such number."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if self.type is str:
            return tuple(parts)
        least = 0 if self.minimum is None else self.minimum
        for part in parts:
            if not part.isdecimal() or int(part) < least:
                such = self.text or "48,48"
                raise ConfigError(
                    f"{self.flag} holds '{part}': give whole numbers from {least}, such as {such}"
                )
        return tuple(int(part) for part in parts)


@dataclass(frozen=True)
class Usual:
    """What a claim on a table is about unless it says otherwise; see :class:`Probe`."""

    where: Mapping[str, str | int | float] = field(default_factory=dict)
    average_over: tuple[str, ...] = ()
    common_cases: bool = False


@dataclass(frozen=True)
class Probe:
    """What a probe is; everything that others need to know of it stands here alone.

    Parameters
    ----------
    name
        Of the command, the results' folder, and the table on which claims are stated.
    package
        Package that holds the code, ``__name__`` where the descriptor stands in its ``__init__``.
    summary
        What is measured, in one line without a full stop.
    shows
        What the results show, in sentences.
    cannot
        What they do not show, such that "It cannot show" may stand before it.
    schema
        Columns of the table. Its file is ``<name>.csv``.
    options
        Dataclass of the options, each declared with :func:`option`.
    measure
        ``module:function`` of the package, ``(probed, options) -> Measurement`` for one run: a
        :class:`~llm4seg_probe.probes.probed.ProbedRun` and an instance of ``options``.
    measure_together
        Instead of ``measure``, ``(sources, options) -> Measurement`` for all runs at once.
    draw
        ``module:function``, ``(tables, arrays) -> {name: (figure, file)}``: the tables by file
        name as they were written, the arrays (None where there are none), and for each figure the
        file that it was drawn from.
    claims
        Value columns on which a claim may be stated; all numbers unless given.
    where
        Rows that a claim is about unless it says otherwise; ``max`` is the largest number of a
        run.
    average_over
        Columns that are averaged over within an image, beside ``class``.
    common_cases
        Whether a claim compares the images that have a value in all runs, and counts the others.
        Otherwise a missing value is an error.
    per_run
        Whether the results are kept in each run's folder, and taken of every run of a study.
        Otherwise they are kept in the study's folder, under the probe's name.
    further
        Schemas of tables measured beside the first. One that is ``on_request`` may be missing.
    derive
        ``module:function``, ``(tables) -> {schema: table}`` of what is computed from them.
    write_arrays
        ``module:function``, ``(arrays of each run, folder) -> path``; by default they are merged.
    summary_by, summary_of, summary_where
        The summary that is printed: means of the columns ``summary_of`` by ``summary_by``.
    summarise
        ``module:function``, ``(tables) -> table``, for a summary that is no such mean.
    sentences
        ``module:function``, ``(tables) -> sentences``, what may be said of the table.
    arms
        How many arms the probe compares; None for any number.
    split
        Help text of ``--split``, where not every side can be looked at.
    without_masks
        Options with which it measures images that have no masks; None where it needs masks.
    answers
        Whether it looks at what the network answers: logits (B, K, *grid).
    examples
        Uses as they are typed after the program's name, shown under the command's help.
    """

    name: str
    package: str
    summary: str
    shows: str
    cannot: str
    schema: Schema
    options: type = NoOptions
    measure: str = "table:measure"
    measure_together: str = ""
    draw: str = "figure:figures"
    claims: tuple[str, ...] = ()
    where: Mapping[str, str | int | float] = field(default_factory=dict)
    average_over: tuple[str, ...] = ()
    common_cases: bool = True
    per_run: bool = False
    further: tuple[Schema, ...] = ()
    derive: str = ""
    derived: tuple[Schema, ...] = ()
    write_arrays: str = ""
    summary_by: tuple[str, ...] = ("arm", "seed")
    summary_of: tuple[str, ...] = ()
    summary_where: Mapping[str, str] = field(default_factory=dict)
    summarise: str = ""
    sentences: str = ""
    arms: int | None = None
    split: str = "Which side of the run's own split: train, val or test."
    without_masks: Mapping[str, Any] | None = None
    answers: bool = False
    examples: tuple[str, ...] = ()

    @property
    def caveat(self) -> str:
        """What it cannot show, in short: the first clause."""
        return re.split(r"[:;.]", self.cannot, maxsplit=1)[0]

    @property
    def limits(self) -> str:
        """What it cannot show, as a sentence under that heading."""
        return f"{self.cannot[:1].upper()}{self.cannot[1:]}."

    @property
    def schemas(self) -> tuple[Schema, ...]:
        """All its tables: the first one, further ones, and those derived from them."""
        return (self.schema, *self.further, *self.derived)

    @property
    def claimable(self) -> tuple[str, ...]:
        """Columns on which a claim may be stated."""
        values = self.schema.values.items()
        return self.claims or tuple(name for name, kind in values if kind != "text")

    @property
    def arrays_file(self) -> str:
        """File of the arrays that its figures are drawn from, where it has some."""
        return f"{self.name}.npz"

    def resolved(self, reference: str) -> Callable[..., Any]:
        """The function that ``module:function`` names in its package, imported now."""
        module, _, name = reference.partition(":")
        function: Callable[..., Any] = getattr(import_module(f"{self.package}.{module}"), name)
        return function

    def option_list(self) -> tuple[Option, ...]:
        """Its options in the order of their declaration."""
        hints = get_type_hints(self.options)
        return tuple(_option(each, hints[each.name]) for each in fields(self.options))

    def of_analysis(self, values: Mapping[str, Any]) -> Any:
        """Options as a sweep takes them: the defaults, and what the analysis file sets."""
        given = {each.name: values[each.analysis] for each in self.option_list() if each.analysis}
        return self.options(**given)

    def with_options(self, **given: Any) -> Any:
        """An instance of the options. Raises ConfigError for one that there is not."""
        known = {each.name: each for each in self.option_list()}
        for name, value in given.items():
            if name not in known:
                raise ConfigError(f"{self.name}: {unknown('option', name, known)}")
            if known[name].several and isinstance(value, str):
                given[name] = tuple(part.strip() for part in value.split(","))
        return self.options(**given)


def _option(declared: Any, hint: Any) -> Option:
    inner = [part for part in get_args(hint) if part is not NoneType]
    optional = NoneType in get_args(hint)
    plain = inner[0] if optional else hint
    several = get_origin(plain) is tuple
    metadata = declared.metadata
    return Option(
        name=declared.name,
        type=get_args(plain)[0] if several else plain,
        several=several,
        optional=optional,
        default=None if declared.default is MISSING else declared.default,
        help=metadata.get("help", ""),
        minimum=metadata.get("minimum"),
        flags=metadata.get("flags", ()),
        analysis=metadata.get("analysis", ""),
    )
