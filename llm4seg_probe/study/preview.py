"""What a run is, costs and is likely to go wrong in, before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llm4seg_probe.config import Config
from llm4seg_probe.models.costs import Costs, hollow_network
from llm4seg_probe.models.published import Beside, beside
from llm4seg_probe.models.signatures import inspect
from llm4seg_probe.training.timing import StepTime, step_time


@dataclass(frozen=True)
class Preview:
    """Costs by part, published numbers beside them, signs of failure, and time where asked for."""

    costs: Costs
    beside: tuple[Beside, ...]
    signatures: tuple[str, ...]
    time: StepTime | None

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values; memory in bytes, shapes without the batch."""
        rows = [part.row() for part in (*self.costs.parts, self.costs.total)]
        found: dict[str, Any] = {
            "parts": rows,
            "batch_size": self.costs.batch_size,
            "sites": {name: list(shape) for name, shape in self.costs.sites.items()},
            "published": [row.row() for row in self.beside],
            "signatures": list(self.signatures),
        }
        if self.time is not None:
            found["time"] = {
                "seconds_per_step": self.time.seconds,
                "steps": self.time.steps,
                "seconds": self.time.run_seconds,
            }
        return found


def preview(config: Config, *, timed: bool = False) -> Preview:
    """Count what the run of a configuration costs, without data and without the layer's weights.

    ``timed`` takes a few real training steps too, and needs both. Raises ConfigError where the
    parts of the network do not fit, SourceError where the language model's config is not to be had.
    """
    found = inspect(config, hollow_network(config))
    assert found.costs is not None  # built from one configuration, its widths fit
    return Preview(
        found.costs,
        tuple(beside(config, found.costs)),
        found.sentences,
        step_time(config) if timed else None,
    )
