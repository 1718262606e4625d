"""Data: the registry of data sets, their readers, splits, checks and generated images.

``check``, ``split``, ``open`` and ``list`` are the calls behind ``llm4seg-probe data``; they are
resolved when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_CALLS = {"check": "check", "split": "split", "open": "open_set", "list": "list_sets"}
__all__ = list(_CALLS)


def __getattr__(name: str) -> Any:
    if name not in _CALLS:
        raise AttributeError(f"module 'llm4seg_probe.data' has no attribute '{name}'")
    return getattr(import_module("llm4seg_probe.results.sets"), _CALLS[name])
