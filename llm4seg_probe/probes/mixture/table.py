"""The probe's table: weights and gates by epoch, and what goes on at the stored checkpoint."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from llm4seg_probe import tables
from llm4seg_probe.activations.passes import Run, checked, recorded, run_columns
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.llm.decoder import Decoder
from llm4seg_probe.models.booster import Booster
from llm4seg_probe.models.sites import boosters_of
from llm4seg_probe.probes.base import NoOptions, NotMeasurable
from llm4seg_probe.probes.mixture import MIXTURE
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows
from llm4seg_probe.training.gates import gate_rows
from llm4seg_probe.training.run_folder import GATES

Values = dict[str, Any]
_TOLERANCE = 1e-5


def measure(probed: ProbedRun, options: NoOptions) -> Measurement:
    """Measure one run; see :func:`mixture_table`."""
    run = probed.run
    beside = run.path.parent / GATES if run.epoch is not None else None
    history = recorded_gates(run.network, beside, run.epoch)
    return Measurement(mixture_table(run, probed.batches(), run.epoch, history))


def mixture_table(
    run: Run, batches: Iterable[Batch], epoch: int | None, history: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Measure ``mixture.csv`` of one run.

    Rows of the ``checkpoint`` ``best`` are of the network as it is, stored after ``epoch``; those
    of ``last`` of the last epoch of ``history`` (a ``gates.csv``), and the others of each of its
    epochs. A mixture has a row for each layer, and as a gate does, one of all together, whose
    ``layer`` is empty. ``added``, at ``best`` alone, is the mean over the images of the norm of
    what is added over the norm of what it is added to: a layer's weighted change of the tokens
    that enter it, or the gate's share of the booster's output.

    Raises NotMeasurable for a network that has neither mixture nor gate.
    """
    booster = _booster(run)
    rows = Rows(MIXTURE)
    facts = _facts(booster)
    stored = pd.DataFrame(gate_rows(run.network, 0)).drop(columns="epoch")
    added = _added(run, booster, batches)
    for values in _rows(stored, booster):
        known = {"checkpoint": "best", "epoch": epoch, "added": added.get(values["layer"])}
        rows.add({**run_columns(run), **facts, **known, **values})
    if history is not None:
        last = history["epoch"].max()
        for number, of_epoch in history.groupby("epoch", sort=True):
            for values in _rows(of_epoch.drop(columns="epoch"), booster):
                for checkpoint in ("", "last") if number == last else ("",):
                    at: Values = {"checkpoint": checkpoint, "epoch": number}
                    rows.add({**run_columns(run), **facts, **at, **values})
    return rows.table()


def recorded_gates(network: nn.Module, path: Path | None, epoch: int | None) -> pd.DataFrame | None:
    """The ``gates.csv`` beside a run, None where there is none: its ``run.pt`` lies alone.

    Raises CheckpointError where it is that of another training.
    """
    if path is None or not path.is_file():
        return None
    history = tables.read_table(path, tables.GATES)
    known = history[history["epoch"] == epoch].set_index("layer")
    for row in gate_rows(network, 0):
        name = "gate" if "gate" in row else "weight"
        there = known[name].get(row["layer"], math.nan)
        if not abs(there - row[name]) < _TOLERANCE:
            raise CheckpointError(
                f"{path} is of another training than the run beside it: in epoch {epoch} its "
                f"{name} is {there:.4g}, the run has {row[name]:.4g}. Take it away, or put back "
                "the one that was written with the run"
            )
    return history


def _booster(run: Run) -> Booster:
    for _, booster in boosters_of(run.network):
        if booster.mixing is not None or booster.gate is not None:
            return booster
    raise NotMeasurable(
        f"arm '{run.arm}' has no mixture of layers and no gate: give a run that has, such as of "
        "arm 'llm-mix' or 'llm-gated'"
    )


def _decoder(booster: Booster) -> Decoder:
    assert isinstance(booster.middle, Decoder)  # of every arm with a mixture or a gate
    return booster.middle


def _facts(booster: Booster) -> Values:
    identity = _decoder(booster).identity
    facts: Values = {"layers": "+".join(map(str, identity.layers)), "learned": ""}
    if booster.mixing is not None:
        facts["learned"] = "yes" if list(booster.mixing.parameters()) else "no"
    return facts


def _rows(gates: pd.DataFrame, booster: Booster) -> Iterator[Values]:
    """Rows of one moment: those of ``gates.csv``, and of a mixture what they come to together."""
    for row in gates.to_dict("records"):
        if "gate" in row and not pd.isna(row["gate"]):
            yield {"layer": row["layer"], "gate": row["gate"], "opening": abs(row["gate"])}
        else:
            yield {"layer": row["layer"], "weight": row["weight"]}
    weights = gates[gates["layer"] != ""]
    if not weights.empty:
        yield {"layer": "", **spread(dict(zip(weights["layer"], weights["weight"], strict=True)),
                                     _decoder(booster).identity.depth)}  # fmt: skip


def spread(weights: Mapping[str, float], depth: int) -> dict[str, float]:
    """How many layers weights are spread over, and how deep these lie, from 1 / depth to 1.

    >>> spread({"3": 0.5, "9": 0.5}, 12)
    {'effective_layers': 2.0, 'depth': 0.5}
    """
    entropy = -sum(weight * math.log(weight) for weight in weights.values() if weight > 0)
    deep = sum(weight * int(layer) / depth for layer, weight in weights.items())
    return {"effective_layers": math.exp(entropy), "depth": deep}


def _added(run: Run, booster: Booster, batches: Iterable[Batch]) -> dict[str, float]:
    """The mean of ``added`` over the images, by layer; that of all together under ''."""
    seen: dict[str, list[float]] = defaultdict(list)
    with _watching(booster, seen):
        for batch in checked(run, batches, ("after",), "Mixture"):
            recorded(run.network, batch.images, ("after",))
    return {layer: sum(values) / len(values) for layer, values in seen.items()}


@contextmanager
def _watching(booster: Booster, seen: dict[str, list[float]]) -> Iterator[None]:
    """Note in each pass what the mixture's layers, or the gate, add for each image."""
    into: list[Tensor] = []

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        into[:] = [inputs[0]]

    def mixed(mixing: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        weights: Tensor = mixing.weights  # type: ignore[assignment]
        names = map(str, mixing.layers)  # type: ignore[arg-type]
        for name, weight, stream in zip(names, weights, inputs[0], strict=True):
            seen[name] += _relative(weight * (stream - into[0]), into[0])
        seen[""] += _relative(output - into[0], into[0])

    def gated(gate: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen[""] += _relative(output - inputs[0], inputs[0])

    with ExitStack() as hooks:
        if booster.mixing is not None:
            hooks.callback(booster.middle.register_forward_pre_hook(enter).remove)
            hooks.callback(booster.mixing.register_forward_hook(mixed).remove)
        elif booster.gate is not None:
            hooks.callback(booster.gate.register_forward_hook(gated).remove)
        yield


def _relative(added: Tensor, to: Tensor) -> list[float]:
    """Norm of what is added to each image, over the norm of what it is added to."""
    sizes = added.flatten(1).float().norm(dim=1) / to.flatten(1).float().norm(dim=1)
    found: list[float] = sizes.tolist()
    return found
