"""Claims of the tests, as an analysis file states them."""

from __future__ import annotations

from llm4seg_probe.config import validated
from llm4seg_probe.statistics.claims import Claim


def claim(**fields):
    values = {
        "id": "boost",
        "statement": "the layer improves segmentation",
        "comparisons": [{"a": "llm", "b": "cnn"}],
        "margin": 0.005,
    }
    return validated({**values, **fields}, Claim, "demo.yaml")


def pairs(*both):
    return [{"a": a, "b": b} for a, b in both]
