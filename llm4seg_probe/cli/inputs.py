"""Probes of what the input does: attribution, effective receptive field, robustness."""

from __future__ import annotations

from collections.abc import Callable

COMMANDS: dict[str, Callable[..., None]] = {}
