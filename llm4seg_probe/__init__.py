"""Train, take apart and test frozen language-model layers in segmentation networks.

Each thing that the command line does is one call here, which returns an object and writes nothing
before its ``save``. The names are resolved when they are first used, so that importing the package
is cheap. Every probe of the registry is a call of its own name, those of other packages included.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llm4seg_probe import data as data
    from llm4seg_probe import paper as paper
    from llm4seg_probe.activations.recorder import record as record
    from llm4seg_probe.drawing.style import style as style
    from llm4seg_probe.measures.activation import activation_iou as activation_iou
    from llm4seg_probe.measures.activation import activation_map as activation_map
    from llm4seg_probe.measures.rank import effective_rank as effective_rank
    from llm4seg_probe.measures.rank import entropy as entropy
    from llm4seg_probe.measures.rank import lsvr as lsvr
    from llm4seg_probe.models.insertion import boost as boost
    from llm4seg_probe.results.audits import audit as audit
    from llm4seg_probe.results.comparisons import compare as compare
    from llm4seg_probe.results.comparisons import plan as plan
    from llm4seg_probe.results.costs import show as show
    from llm4seg_probe.results.evaluations import evaluate as evaluate
    from llm4seg_probe.results.predictions import predict as predict
    from llm4seg_probe.results.probes import attention as attention
    from llm4seg_probe.results.probes import attribute as attribute
    from llm4seg_probe.results.probes import calibration as calibration
    from llm4seg_probe.results.probes import decode as decode
    from llm4seg_probe.results.probes import denoise as denoise
    from llm4seg_probe.results.probes import field as field
    from llm4seg_probe.results.probes import intervene as intervene
    from llm4seg_probe.results.probes import lens as lens
    from llm4seg_probe.results.probes import maps as maps
    from llm4seg_probe.results.probes import mixture as mixture
    from llm4seg_probe.results.probes import probe as probe
    from llm4seg_probe.results.probes import rank as rank
    from llm4seg_probe.results.probes import robustness as robustness
    from llm4seg_probe.results.probes import similarity as similarity
    from llm4seg_probe.results.probes import swap as swap
    from llm4seg_probe.results.runs import runs as runs
    from llm4seg_probe.results.runs import train as train
    from llm4seg_probe.results.sets import list_names
    from llm4seg_probe.results.studies import read as read
    from llm4seg_probe.results.studies import sweep as sweep
    from llm4seg_probe.training.stored_run import load as load

    list = list_names

_PROBES = (
    *("rank", "maps", "attention", "similarity", "decode", "lens", "attribute", "field"),
    *("robustness", "denoise", "calibration", "intervene", "swap", "mixture"),
)
_HOMES = {
    "activation_iou": "measures.activation",
    "activation_map": "measures.activation",
    "effective_rank": "measures.rank",
    "entropy": "measures.rank",
    "lsvr": "measures.rank",
    "boost": "models.insertion",
    "record": "activations.recorder",
    "load": "training.stored_run",
    "runs": "results.runs",
    "train": "results.runs",
    "predict": "results.predictions",
    "evaluate": "results.evaluations",
    "show": "results.costs",
    "probe": "results.probes",
    **dict.fromkeys(_PROBES, "results.probes"),
    "sweep": "results.studies",
    "read": "results.studies",
    "compare": "results.comparisons",
    "plan": "results.comparisons",
    "audit": "results.audits",
    "list": "results.sets:list_names",
    "style": "drawing.style",
}
__all__ = ["__version__", "data", "paper", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, other = _HOMES[name].partition(":")
        return getattr(import_module(f"llm4seg_probe.{module}"), other or name)
    if name in ("data", "paper"):
        return import_module(f"llm4seg_probe.{name}")
    if name in _outside():
        return import_module("llm4seg_probe.results.probes").call_of(name)
    raise AttributeError(f"module 'llm4seg_probe' has no attribute '{name}'")


def __dir__() -> Iterable[str]:
    return sorted({*__all__, *_outside()})


def _outside() -> set[str]:
    """Probes of other packages, whose names are calls here as well."""
    registry = import_module("llm4seg_probe.probes.registry")
    known: set[str] = {name for name in registry.probes() if name.isidentifier()}
    return known - _HOMES.keys()
