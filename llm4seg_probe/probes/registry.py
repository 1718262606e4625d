"""The probes that there are: those of this package, of installed packages, and named by a path."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from llm4seg_probe import tables
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.probes import (
    attention,
    attribute,
    calibration,
    decode,
    denoise,
    field,
    intervene,
    lens,
    maps,
    mixture,
    rank,
    robustness,
    similarity,
    swap,
)
from llm4seg_probe.probes.base import Probe, Usual
from llm4seg_probe.tables import Schema

GROUP = "llm4seg_probe.probes"
"""Entry points under which other packages announce their descriptors."""

PROBES: tuple[Probe, ...] = (
    rank.PROBE,
    maps.PROBE,
    attention.PROBE,
    similarity.PROBE,
    decode.PROBE,
    lens.PROBE,
    attribute.PROBE,
    field.PROBE,
    robustness.PROBE,
    denoise.PROBE,
    calibration.PROBE,
    intervene.PROBE,
    swap.PROBE,
    mixture.PROBE,
)

VARIABLE = "LLM4SEG_PROBE_PROBES"
"""Environment variable with the paths that the user allowed; worker processes see it too."""

_NAMED: dict[str, Probe] = {}  # by their path, as package.module:PROBE


@contextmanager
def probes_given(paths: Sequence[str]) -> Iterator[None]:
    """Let probes of these paths, ``package.module:PROBE``, be imported within a block.

    A path in an analysis file is code that a file names: it is imported only if the user names it
    too, here or by ``sweep --probe``.
    """
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(filter(None, (before, *paths)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


@cache
def installed() -> tuple[dict[str, Probe], dict[str, str]]:
    """Probes of installed packages by name, and why others could not be taken, by entry point."""
    found: dict[str, Probe] = {}
    refused: dict[str, str] = {}
    taken = {probe.name for probe in PROBES}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            probe = _checked(point.load(), point.value)
            if probe.name in taken | found.keys():
                raise ConfigError(f"there is a probe '{probe.name}' already")
        except Exception as error:  # another package's code may fail in any way
            refused[point.name] = f"{point.value}: {' '.join(str(error).split())}"
            continue
        found[probe.name] = probe
    return found, refused


@cache
def _announced() -> dict[str, str]:
    """Names of entry points by the path that they announce."""
    return {point.value: point.name for point in entry_points(group=GROUP)}


def probes() -> dict[str, Probe]:
    """All probes that are known by now, by name."""
    by_path = {probe.name: probe for probe in _NAMED.values()}
    return {probe.name: probe for probe in PROBES} | installed()[0] | by_path


def find(name: str) -> Probe:
    """The probe of a name, or of a path such as ``my_package.depth:PROBE``.

    A path is imported only if the user named it (:func:`probes_given`) or an installed package
    announces it; the probe is known by its name from then on. Raises ConfigError with the nearest
    name, or with what is wrong with the path.
    """
    if ":" in name:
        return _of_path(name)
    known = probes()
    if name in known:
        return known[name]
    if name in installed()[1]:
        raise ConfigError(f"probe '{name}' cannot be taken: {installed()[1][name]}")
    raise ConfigError(
        f"{unknown('probe', name, known)}; or name a descriptor of your own as package.module:PROBE"
    )


def schemas() -> dict[str, Schema]:
    """The schemas of all tables, those of the probes included, by file name."""
    of_probes = {schema.name: schema for probe in probes().values() for schema in probe.schemas}
    return {**tables.SCHEMAS, **of_probes}


def measured_tables() -> Mapping[str, Schema]:
    """Tables on which a claim may be stated, by the name that it uses."""
    of_probes = {name: probe.schema for name, probe in probes().items()}
    return {"scores": tables.SCORES, "curves": tables.CURVES, **of_probes}


def claimable(table: str) -> tuple[str, ...]:
    """Columns of a table on which a claim may be stated. Raises ConfigError for another table."""
    known = measured_tables()
    if table not in known:
        raise ConfigError(unknown("table", table, known))
    if table in probes():
        return probes()[table].claimable
    values = {**known[table].values, **known[table].optional}
    return tuple(name for name, kind in values.items() if kind != "text")


def usual(table: str) -> Usual:
    """What a claim on a table is about unless it says otherwise."""
    probe = probes().get(table)
    if probe is None:
        known = measured_tables().get(table)
        return Usual(known.claimed) if known else Usual()
    return Usual(probe.where, probe.average_over, probe.common_cases)


def _of_path(path: str) -> Probe:
    announced = installed()[0].get(_announced().get(path, ""))
    if announced is not None:
        return announced
    if path not in _NAMED:
        if path not in os.environ.get(VARIABLE, "").split(","):
            raise ConfigError(
                f"probe '{path}' is code that no file may name alone: add --probe {path} to the "
                "command (in Python probes_given), or install a package that announces it"
            )
        module, _, name = path.partition(":")
        try:
            probe = _checked(getattr(import_module(module), name), path)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"probe '{path}' cannot be imported: {error}. Is its package installed, or its "
                "folder on PYTHONPATH?"
            ) from error
        known = probes().get(probe.name)
        if known is not None and known is not probe:
            raise ConfigError(f"probe '{path}': there is a probe '{probe.name}' already")
        _NAMED[path] = probe
    return _NAMED[path]


def _checked(found: Any, path: str) -> Probe:
    if not isinstance(found, Probe):
        raise ConfigError(f"{path} is not a probe: it is {type(found).__name__}")
    if found.schema.name != f"{found.name}.csv":
        raise ConfigError(
            f"{path}: the table of probe '{found.name}' is {found.schema.name}, not "
            f"{found.name}.csv"
        )
    return found
