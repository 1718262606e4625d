"""Train, take apart and test frozen language-model layers in segmentation networks.

The names below are resolved when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llm4seg_probe.measures.activation import activation_iou as activation_iou
    from llm4seg_probe.measures.activation import activation_map as activation_map
    from llm4seg_probe.measures.rank import effective_rank as effective_rank
    from llm4seg_probe.measures.rank import entropy as entropy
    from llm4seg_probe.measures.rank import lsvr as lsvr
    from llm4seg_probe.models.boosting import boost as boost
    from llm4seg_probe.probing.recorder import record as record
    from llm4seg_probe.statistics.compare import compare as compare
    from llm4seg_probe.training.run import load as load

_HOMES = {
    "activation_iou": "measures.activation",
    "activation_map": "measures.activation",
    "effective_rank": "measures.rank",
    "entropy": "measures.rank",
    "lsvr": "measures.rank",
    "boost": "models.boosting",
    "record": "probing.recorder",
    "compare": "statistics.compare",
    "load": "training.run",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llm4seg_probe' has no attribute '{name}'")
    return getattr(import_module(f"llm4seg_probe.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
