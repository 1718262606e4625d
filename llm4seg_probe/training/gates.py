"""The opening of gates, and the weights of a mixture's layers, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from llm4seg_probe import tables
from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.models.sites import boosters_of

Rows = list[dict[str, Any]]


def gate_rows(network: nn.Module, epoch: int) -> Rows:
    """Rows of ``gates.csv``: a row for each layer of a mixture, and one without layer for a gate.

    None in a network that has neither.
    """
    rows: Rows = []
    for _, booster in boosters_of(network):
        if booster.mixing is not None:
            weights = booster.mixing.weights.detach().tolist()
            rows += [
                {"epoch": epoch, "layer": str(layer), "weight": weight}
                for layer, weight in zip(booster.mixing.layers, weights, strict=True)
            ]
        if booster.gate is not None:
            opening = booster.gate.opening.detach().item()
            rows.append({"epoch": epoch, "layer": "", "gate": opening})
    return rows


def told_gates(rows: Rows) -> dict[str, float]:
    """The rows of one epoch as Lightning's loggers take them, by name.

    >>> told_gates([{"epoch": 0, "layer": "3", "weight": 1.0}])
    {'weight_3': 1.0}
    """
    told: dict[str, float] = {}
    for row in rows:
        if row["layer"]:
            told[f"weight_{row['layer']}"] = row["weight"]
        else:
            told["gate"] = row["gate"]
    return told


def resumed_gates(rows: object, folder: Path) -> Rows:
    """The rows that a ``last.pt`` holds. Raises CheckpointError where they are none."""
    if isinstance(rows, Sequence) and all(map(_is_row, rows)):
        return [dict(row) for row in rows]
    raise CheckpointError(
        f"{folder} cannot be resumed: the weights and gates in its last.pt are no numbers. Train "
        "the run again from the start"
    )


def _is_row(row: object) -> bool:
    return (
        isinstance(row, dict)
        and set(row) <= set(tables.GATES.columns)
        and isinstance(row.get("epoch"), int)
        and isinstance(row.get("layer"), str)
        and all(isinstance(row[name], float) for name in ("weight", "gate") if name in row)
    )
