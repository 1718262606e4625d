"""Probes of what the features hold: attention, similarity, linear decoding, vocabulary lens."""

from __future__ import annotations

from collections.abc import Callable

COMMANDS: dict[str, Callable[..., None]] = {}
