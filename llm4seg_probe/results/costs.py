"""The cost of a run before it is made: ``lp.show``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm4seg_probe.config import Config
from llm4seg_probe.results.result import Result, save_files
from llm4seg_probe.results.runs import Overrides, configuration, on_device

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Shown(Result):
    """What a run will cost: parameters, operations, memory, shapes, and time where asked for."""

    def __init__(self, preview: Any) -> None:
        self.preview = preview

    @property
    def table(self) -> pd.DataFrame:
        """One row per part and one for all: parameters, operations, memory in bytes."""
        return pd.DataFrame(self.preview.to_dict()["parts"])

    @property
    def shapes(self) -> pd.DataFrame:
        """One row per site: the shape of one image's features there."""
        sites = self.preview.costs.sites
        return pd.DataFrame({"site": list(sites), "shape": [tuple(s) for s in sites.values()]})

    @property
    def published(self) -> pd.DataFrame:
        """Published numbers of this setting beside these; empty where there are none."""
        return pd.DataFrame(self.preview.to_dict()["published"])

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is asked of the training images, and signs of failure with the field to change."""
        return (*self.preview.asks, *self.preview.signatures)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        return {"costs": self._costs}

    def _costs(self) -> Figure:
        from matplotlib.figure import Figure

        from llm4seg_probe.drawing.style import paper_style

        parts = [part for part in self.preview.costs.parts if part.parameters or part.macs]
        names = [part.part for part in parts]
        with paper_style():
            drawing = Figure(figsize=(6.0, 0.6 + 0.35 * len(parts)), layout="constrained")
            left, right = drawing.subplots(1, 2, sharey=True)
            left.barh(names, [part.trainable / 1e6 for part in parts], label="trained")
            left.barh(
                names, [part.frozen / 1e6 for part in parts],
                left=[part.trainable / 1e6 for part in parts], label="frozen", color="0.7",
            )  # fmt: skip
            left.invert_yaxis()
            left.legend()
            left.set_xlabel("Parameters (millions)")
            right.barh(names, [part.macs / 1e9 for part in parts], color="0.4")
            right.set_xlabel("Multiply-accumulates of an image (G)")
        return drawing

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the costs, the shapes and the figure."""
        shapes = self.shapes.assign(shape=[" x ".join(map(str, s)) for s in self.shapes["shape"]])
        found = {"costs.csv": self.table, "shapes.csv": shapes}
        return save_files(found, self.figures(), Path(folder))


def show(
    config: str | Path | Config | Mapping[str, Any],
    *,
    time: bool = False,
    overrides: Overrides = (),
    network: str | None = None,
    device: str | None = None,
    **fields: Any,
) -> Shown:
    """Count what a run costs before it starts, without its data and without the layer's weights.

    Parameters
    ----------
    config, overrides, network, device, **fields
        As in :func:`train`.
    time : bool
        Take a few real training steps, too; this needs data and weights.

    Returns
    -------
    Shown

    Raises
    ------
    ConfigError
        Where the parts of the network do not fit each other.
    """
    from llm4seg_probe.study.forecast import preview

    chosen = on_device(configuration(config, overrides, network, **fields), device)
    return Shown(preview(chosen, timed=time))
