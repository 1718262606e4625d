"""Interventions: what changes when the layer is bypassed, cut, exchanged or projected."""

from __future__ import annotations

from collections.abc import Callable

COMMANDS: dict[str, Callable[..., None]] = {}
