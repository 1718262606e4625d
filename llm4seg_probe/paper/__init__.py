"""The paper's own numbers and figures, beside our runs.

``figure``, ``table`` and ``anatomy`` are the calls of the notebooks; they are resolved when first
used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {"anatomy": "anatomy", "figure": "paper", "table": "paper"}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llm4seg_probe.paper' has no attribute '{name}'")
    return getattr(import_module(f"llm4seg_probe.results.{_HOMES[name]}"), name)
