"""The share of HD95 and surface Dice in scoring an image, of the network's pass and all scores.

    python analyses/benchmarks/surface_share.py > reports/benchmarks/surface_share.csv

One row per case: CMUNeXt on 256-pixel images (one class), and a volume of 13 organs, whose
network is left out, since its pass takes longer than everything else. Masks are discs or balls, the
prediction moved by a few pixels. Seconds are those of the processor, on one thread. The share is
that of the surface distances in the scores and the pass together. They are computed once, when
training is over, and never in an epoch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from llm4seg_probe.config import Config
from llm4seg_probe.measures.segmentation import overlap_scores, surface_scores
from llm4seg_probe.models.network import build_network
from llm4seg_probe.training.compute import computing


def main() -> None:
    """Measure both cases, and print a CSV."""
    config = Config.model_validate(
        {"arm": "cnn", "data": {"image_size": [256, 256], "channels": 3}, "compute": {"threads": 1}}
    )
    with computing(config.compute), torch.no_grad():
        network = build_network(config).eval()
        image = torch.randn(1, 3, 256, 256)
        rows = [
            row("256 px, CMUNeXt", balls((256, 256), 1), lambda: network(image)),
            row("240 x 240 x 120, 13 classes, no network", balls((120, 240, 240), 13), None),
        ]
    pd.DataFrame(rows).to_csv(sys.stdout, index=False)


def row(case: str, masks: tuple[Tensor, Tensor], network: Callable[[], object] | None) -> dict:
    """Milliseconds of the parts of scoring one image."""
    passed = taken(network) if network else 0.0
    overlap = taken(lambda: overlap_scores(*masks))
    surface = taken(lambda: surface_scores(*masks))
    share = surface / (passed + overlap + surface)
    parts = {"network_ms": passed, "overlap_ms": overlap, "surface_ms": surface}
    return {"case": case, **{n: round(1000 * s, 1) for n, s in parts.items()},
            "surface_share": round(share, 3)}  # fmt: skip


def balls(grid: tuple[int, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Predicted and true masks (1, K, *grid): balls of different sizes, moved by three pixels."""
    places = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")

    def ball(number: int, moved: int) -> Tensor:
        radius = min(grid) / (3 + number / 2)
        distance = sum((p - s / 2 - moved) ** 2 for p, s in zip(places, grid, strict=True))
        return distance < radius**2

    pair = [torch.stack([ball(k, moved) for k in range(classes)])[None] for moved in (3, 0)]
    return pair[0], pair[1]


def taken(action: Callable[[], object], repeats: int = 3) -> float:
    """Median seconds of the processor, after a first time."""
    found = []
    for _ in range(repeats + 1):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return sorted(found[1:])[repeats // 2]


if __name__ == "__main__":
    main()
