"""A device with the networks, images and clock that it is checked with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llm4seg_probe.config import Config
from llm4seg_probe.models.network import build_network
from llm4seg_probe.models.reference import LANGUAGE_MODELS
from llm4seg_probe.training.compute import in_memory_format, memory_format
from llm4seg_probe.training.work import finished


@dataclass(frozen=True)
class Row:
    """One number: of which check, what it is, and whether it is as it should be."""

    check: str
    what: str
    value: str
    wanted: str = ""
    good: bool | None = None


class Skipped(Exception):
    """A check that cannot be made here."""


@dataclass(frozen=True)
class Bench:
    """The device with the settings that fit it."""

    device: torch.device
    small: bool
    folder: Path
    """For what is made while checking."""

    @property
    def side(self) -> int:
        """Side of an image in pixels: that of the published setting, or less."""
        return 64 if self.small else 256

    def config(self, arm: str = "random-frozen", **sections: dict[str, Any]) -> Config:
        """The published setting with a LLaMA-3.2-1B-shaped layer of random weights."""
        values: dict[str, Any] = {
            "arm": arm,
            "data": {"image_size": [self.side, self.side], "channels": 3},
            "backbone": {"name": "cmunext"},
            "booster": {"source": str(self._shapes()), "layer": 15, "init": "normal"},
            "training": {
                "batch_size": 2 if self.small else 8,
                "optimiser": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
            },
            "compute": {"threads": torch.get_num_threads(), "device": str(self.device)},
        }
        if self.small:
            values["backbone"]["widths"] = [8, 16, 32, 64, 96]
        for name, fields in sections.items():
            values[name] = values[name] | fields
        return Config.model_validate(values)

    def _shapes(self) -> Path:
        place = self.folder / "shapes"
        if not place.exists():
            place.mkdir()
            values = dict(LANGUAGE_MODELS["meta-llama/Llama-3.2-1B"])
            if self.small:
                narrow = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8}
                values |= narrow | {"num_key_value_heads": 2, "head_dim": 32}
            (place / "config.json").write_text(json.dumps(values))
        return place

    def network(self, config: Config) -> nn.Module:
        """The network of a configuration on the device."""
        return in_memory_format(build_network(config), config).to(self.device)

    def batch(self, config: Config) -> tuple[Tensor, Tensor]:
        """Noise, and discs for masks, on the device."""
        draw = torch.Generator().manual_seed(0)
        count, grid = config.training.batch_size, config.data.image_size
        images = torch.randn((count, config.data.channels, *grid), generator=draw)
        rows, columns = torch.meshgrid(*(torch.arange(s) for s in grid), indexing="ij")
        disc = (rows - grid[0] / 2) ** 2 + (columns - grid[1] / 2) ** 2 < (grid[0] / 4) ** 2
        masks = disc.float().expand(count, 1, *grid).contiguous()
        images = images.to(memory_format=memory_format(config))
        return images.to(self.device), masks.to(self.device)

    def seconds(self, action: Callable[[], object], repeats: int = 5) -> float:
        """Median seconds of an action, after a first one."""
        taken = []
        for _ in range(repeats + 1):
            finished(self.device)
            start = time.perf_counter()
            action()
            finished(self.device)
            taken.append(time.perf_counter() - start)
        return float(np.median(taken[1:]))
