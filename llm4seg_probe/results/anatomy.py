"""Anatomy of a decoder layer before any training: ``lp.paper.anatomy``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from llm4seg_probe.config import BoosterConfig, Config, DataConfig
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.preprocess import Preprocess
from llm4seg_probe.llm.blocks import Position
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.paper import figures
from llm4seg_probe.paper.mixing import centre, nearness, reach
from llm4seg_probe.results.result import Result, Text
from llm4seg_probe.study.forecast import preview

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_ARMS = ("cnn", "llm", "llm-trainable", "transformer", "adapters")
_PUBLISHED: Mapping[str, Any] = {
    "arm": "llm",
    "data": {"image_size": [256, 256], "channels": 3},
    "booster": {"source": "meta-llama/Llama-3.2-1B", "layer": 15},
}


class Anatomy(Result):
    """What comes with the layer before any training: costs, mask, position, input.

    ``table`` are the costs by arm and part, ``published`` those of the paper's network beside what
    is published of it.
    """

    def __init__(self, source: str, layer: int, data: str, grid: tuple[int, int]) -> None:
        self.source, self.layer, self.data, self.grid = source, layer, data, grid
        self.token = centre(grid)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per arm and part: parameters trained and frozen, operations, memory."""
        booster = {"source": self.source, "layer": self.layer}
        counted = {
            arm: preview(Config.model_validate({"arm": arm, "booster": booster})).costs
            for arm in _ARMS
        }
        rows = [
            {"arm": arm, **part.row()} for arm, found in counted.items() for part in found.parts
        ]
        return pd.DataFrame(rows)

    @cached_property
    def published(self) -> pd.DataFrame:
        """Printed numbers of the paper's network beside ours, counted without its weights."""
        ahead = preview(Config.model_validate(_PUBLISHED))
        return pd.DataFrame([row.row() for row in ahead.beside]).round({"ratio": 3})

    @property
    def summary(self) -> pd.DataFrame:
        """Parameters of each arm, trained and frozen."""
        return self.table.groupby("arm", sort=False)[["trainable", "frozen"]].sum().reset_index()

    @cached_property
    def reached(self) -> dict[str, np.ndarray]:
        """How far each output token (H, W) changes with the middle one, by attention mask."""
        decoder = self._decoder
        found = {}
        for mask in ("causal", "bidirectional"):
            decoder.attention = mask
            found[mask] = reach(decoder, self.grid, self.token)
        return found

    @cached_property
    def near(self) -> dict[str, np.ndarray]:
        """How alike each position encoding makes each token (H, W) and the middle one."""
        near = partial(nearness, self._decoder, self.grid, self.token)
        encodings: tuple[Position, ...] = ("reference", "rope", "axial-rope")
        return {name: near(name) for name in encodings}

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        """One image as the network sees it, by normalisation."""
        collection = open_collection(self.data)
        raw = collection.read(collection.samples[len(collection.samples) // 2])
        size = DataConfig().image_size
        seen: dict[str, np.ndarray] = {}
        for name in ("modality", "imagenet", "reference"):
            values = {"name": self.data, "normalisation": name, "image_size": size}
            seen[name] = Preprocess(DataConfig.model_validate(values))(raw).numpy()
        return seen

    @property
    def sentences(self) -> tuple[str, ...]:
        """What each of these shows."""
        off = (self.published["ratio"] - 1).abs().max()
        llm = self.table[(self.table["arm"] == "llm") & (self.table["part"] == "layer")].iloc[0]
        seen = {mask: int((grid > 0).sum()) for mask, grid in self.reached.items()}
        right, below = self.token + 1, self.token + self.grid[1]
        alike = ", ".join(
            f"{name} {grid.flat[right]:+.2f} and {grid.flat[below]:+.2f}"
            for name, grid in self.near.items()
        )
        spread = {name: float(values.std()) for name, values in self.inputs.items()}
        return (
            f"**Costs.** Of {len(self.published)} published numbers of the paper's network ours "
            f"differ by {off:.0%} at most.",
            f"**Frozen.** Of the layer's {llm['parameters']:,} parameters {llm['trainable']:,} are "
            "trained in `llm`.",
            f"**Mask.** One token of {self.grid[0] * self.grid[1]} reaches {seen['causal']} tokens "
            f"of the output with the causal mask, {seen['bidirectional']} without one. The paper's "
            "figure shows no mask.",
            "**Position.** The right-hand neighbour and the one below are alike to the token by: "
            f"{alike}.",
            f"**Input.** The spread of the input is "
            f"{spread['imagenet'] / spread['reference']:.0f} times smaller as published than "
            "normalised once.",
        )

    @property
    def agreement(self) -> Text:
        """The sentences as a list."""
        return Text("\n".join(f"- {sentence}" for sentence in self.sentences))

    @cached_property
    def _decoder(self) -> Any:
        return load_decoder(BoosterConfig(source=self.source, layer=self.layer))

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        return {
            "parts": lambda: figures.parts(self.table),
            "mask": lambda: figures.grids(
                self.reached, token=self.token, label="Change of the output", signed=False
            ),
            "position": lambda: figures.grids(
                self.near, token=self.token, label="Cosine, mean over the head", signed=True
            ),
            "input": lambda: figures.intensities(self.inputs, label="What the network sees"),
        }


def anatomy(
    source: str = "smollm2-135m",
    layer: int = 15,
    *,
    data: str = "spine",
    grid: tuple[int, int] = (6, 6),
) -> Anatomy:
    """Take apart what comes with a decoder layer: its costs, mask, positions and input.

    Parameters
    ----------
    source, layer
        Where the layer comes from.
    data : str
        Data set of which one image is looked at.
    grid : tuple of int
        Grid of the tokens, rows and columns.

    Returns
    -------
    Anatomy
        With the figures ``parts``, ``mask``, ``position`` and ``input``.
    """
    return Anatomy(source, layer, data, grid)
