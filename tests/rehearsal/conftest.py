"""Without a card: the words ``cuda`` and ``auto`` mean the card that is rehearsed with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from card import Card, a_card

from llm4seg_probe.models import devices


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """A GPU for one test."""
    monkeypatch.setattr(devices, "gpu_count", lambda: 1)
    with a_card() as found:
        yield found
