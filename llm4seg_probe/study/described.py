"""The runs of an analysis in ``runs.csv``: what varies between them, and what deviates in each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from llm4seg_probe.config import Config
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.sweeps.plan import PlannedRun
from llm4seg_probe.tables import SCHEMAS
from llm4seg_probe.training import folder

_ALWAYS = {
    "data.name": "dataset",
    "backbone.name": "backbone",
    "arm": "arm",
    "booster.source": "llm",
    "booster.layer": "layer",
    "seed": "seed",
}
"""Fields that have a column whether they vary or not, and what it is called."""
_OF_ANY_BOOSTER = ("booster.residual", "booster.adapter_init")
_NOT_DEVIATING = ("arm", "seed")


def described(runs: Sequence[PlannedRun], base: Config) -> pd.DataFrame:
    """One row per run: the fields that vary, what the run cost, and where it deviates.

    ``deviation`` holds what differs from the base configuration, as a condition of a claim
    writes it (``layer=10``; several with commas); empty in a run that is the arm itself. A field
    of the data that goes with the data set, such as its split, is part of that.
    """
    flat = [_flat(run.config) for run in runs]
    columns = {**_ALWAYS, **_columns(_varying(flat))}
    deviating = deviations([run.config for run in runs], base)
    rows = []
    for run, values, deviation in zip(runs, flat, deviating, strict=True):
        made = json.loads((run.path / folder.ENVIRONMENT).read_text(encoding="utf-8"))
        rows.append(
            {
                "run": run.path.name,
                **{column: values[name] for name, column in columns.items()},
                "deviation": deviation,
                "wall_seconds": made["wall_seconds"],
                "peak_memory_mb": made["peak_memory_mb"],
            }
        )
    return pd.DataFrame(rows)


def deviations(configs: Sequence[Config], base: Config) -> list[str]:
    """What differs from the base in each configuration, as a condition writes it."""
    flat = [_flat(config) for config in configs]
    varying = [name for name in _varying(flat) if name not in _NOT_DEVIATING]
    names = _columns(_varying(flat))
    usual = {arm: _flat(base.model_copy(update={"arm": arm})) for arm in {c.arm for c in configs}}
    found = []
    for config, values in zip(configs, flat, strict=True):
        of_the_data = _going_with(values["data.name"], flat, base)
        found.append(
            ",".join(
                sorted(
                    f"{names[name]}={values[name]}"
                    for name in varying
                    if name not in of_the_data and values[name] != usual[config.arm][name]
                )
            )
        )
    return found


def _varying(flat: Sequence[Mapping[str, str]]) -> list[str]:
    return [name for name in flat[0] if len({values[name] for values in flat}) > 1]


def _flat(config: Config) -> dict[str, str]:
    """Dotted fields of a configuration with their values as text, empty where they play no part."""
    found: dict[str, str] = {}
    _flatten(config.model_dump(mode="json"), "", found)
    has_layer = ARMS[config.arm].middle == "layer"
    for name in found:
        plays = has_layer or (name in _OF_ANY_BOOSTER and config.arm != "cnn")
        if name.startswith("booster.") and not plays:
            found[name] = ""
    return found


def _flatten(values: Mapping[str, Any], prefix: str, found: dict[str, str]) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            _flatten(value, f"{prefix}{name}.", found)
        else:
            found[prefix + name] = _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return "" if value is None or value == {} else str(value)


def _columns(varying: Sequence[str]) -> dict[str, str]:
    """Column names of the fields that vary: the last part of the name where that is enough.

    The split that a run was drawn by is ``data.split``: ``split`` is a side of it in other tables.
    """
    leaves = [name.rpartition(".")[2] for name in varying]
    taken = {
        *_ALWAYS.values(),
        *(column for schema in SCHEMAS.values() for column in schema.columns),
    }
    return {
        name: _ALWAYS.get(name) or (leaf if leaves.count(leaf) == 1 and leaf not in taken else name)
        for name, leaf in zip(varying, leaves, strict=True)
    }


def _going_with(dataset: str, flat: Sequence[Mapping[str, str]], base: Config) -> set[str]:
    """Fields of the data that have one value throughout a data set other than the base's."""
    if dataset == base.data.name:
        return set()
    its = [values for values in flat if values["data.name"] == dataset]
    fields = [name for name in its[0] if name.startswith("data.") and name != "data.name"]
    return {name for name in fields if len({values[name] for values in its}) == 1}
