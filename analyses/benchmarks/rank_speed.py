"""Effective rank against float64 ``svdvals``, MONAI's, and all tokens at once; interleaved.

    python analyses/benchmarks/rank_speed.py [--repeats 5] > rank_speed.csv

Ways, on the same tokens (B, N, C), which take turns:

- ``ours``: ``llm4seg_probe.effective_rank``, from the float64 Gram matrix of the smaller side;
- ``svdvals``: ``torch.linalg.svdvals`` in float64, then the entropy of the normalised values;
- ``monai``: MONAI's embedding collapse metric, image by image as it takes them: float32, all of
  the decomposition, of centred tokens, so that it gives another number;
- ``ours-dataset``: all tokens of the batch as one matrix, merged image by image in one pass, and
  ``concatenated``: ``svdvals`` of that matrix.

Milliseconds are medians over the repeats; ``ratio`` is to ``svdvals``, and to ``concatenated`` for
the data set. ``error`` is the largest relative difference in effective rank from that yardstick.
``flat`` are float32 Gaussian tokens; ``steep`` ones have a spectrum that falls over twelve decades,
in float64, where ours takes the SVD too: they are there for the error, and measured once.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

import llm4seg_probe as lp
from llm4seg_probe.measures.rank import MergedTokens, spectrum_measures

Ways = dict[str, Callable[[Tensor], Tensor]]


def main() -> None:
    """Measure every case, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--small", action="store_true", help="shapes an eighth as wide, to see that it works"
    )
    given = parser.parse_args()
    scale = 8 if given.small else 1
    rows = []
    for shape, spectrum, ways in cases(scale):
        tokens = flat(shape) if spectrum == "flat" else steep(shape)
        repeats = given.repeats if spectrum == "flat" else 1
        about = {"shape": "x".join(map(str, shape)), "spectrum": spectrum}
        rows += [{**about, **row} for row in measured(tokens, ways, repeats)]
    pd.DataFrame(rows).to_csv(sys.stdout, index=False)


def cases(scale: int) -> list[tuple[tuple[int, int, int], str, Ways]]:
    """Shape, spectrum, and ways, the first of which is the yardstick."""
    images: Ways = {"svdvals": by_svdvals, "ours": lp.effective_rank}
    dataset: Ways = {"concatenated": concatenated, "ours-dataset": merged}
    wide, long = (16, 256 // scale, 2048 // scale), (8, 1024 // scale, 576 // scale)
    booster, square = (16, 36, 576 // scale), (16, 256 // scale, 256 // scale)
    return [
        (wide, "flat", {**images, "monai": by_monai}),
        (long, "flat", images),
        (booster, "flat", {**images, "monai": by_monai}),
        (square, "flat", dataset),
        (wide, "steep", images),
        (long, "steep", images),
        (square, "steep", dataset),
    ]


def measured(tokens: Tensor, ways: Ways, repeats: int) -> list[dict[str, object]]:
    """One row per way, the ways taking turns."""
    yardstick = next(iter(ways))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    found = {way: function(tokens) for way, function in ways.items()}  # warms up
    for _ in range(repeats):
        for way, function in ways.items():
            start = time.perf_counter()
            function(tokens)
            seconds[way].append(time.perf_counter() - start)
    median = {way: statistics.median(values) for way, values in seconds.items()}
    wanted = found[yardstick]
    errors = {way: ((found[way] - wanted).abs() / wanted).max().item() for way in ways}
    return [
        {
            "way": way,
            "milliseconds": 1000 * median[way],
            "ratio": median[way] / median[yardstick],
            "error": math.nan if way == "monai" else errors[way],
            "threads": torch.get_num_threads(),
        }
        for way in ways
    ]


def flat(shape: tuple[int, int, int]) -> Tensor:
    """Gaussian tokens."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def steep(shape: tuple[int, int, int]) -> Tensor:
    """Tokens whose singular values fall geometrically over twelve decades, in float64."""
    source = torch.Generator().manual_seed(1)
    batch, count, channels = shape
    short = min(count, channels)
    left = torch.linalg.qr(torch.randn(batch, count, short, generator=source).double())[0]
    right = torch.linalg.qr(torch.randn(batch, channels, short, generator=source).double())[0]
    sigma = torch.logspace(0, -12, short, dtype=torch.float64)
    return left * sigma @ right.mT


def by_svdvals(tokens: Tensor) -> Tensor:
    """Effective rank from float64 singular values."""
    return spectrum_measures(torch.linalg.svdvals(tokens.double()))["effective_rank"]


def by_monai(tokens: Tensor) -> Tensor:
    """MONAI's score, 1 less the effective rank of centred tokens as a share of the largest."""
    from monai.metrics.embedding_collapse import EmbeddingCollapseMetric

    metric = EmbeddingCollapseMetric("none", ["effective_rank"])
    return torch.stack([metric(image)["effective_rank_score"] for image in tokens])


def merged(tokens: Tensor) -> Tensor:
    """Effective rank of all tokens, streamed image by image."""
    stream = MergedTokens()
    for image in tokens:
        stream.add(image)
    return stream.measures()["effective_rank"]


def concatenated(tokens: Tensor) -> Tensor:
    """Effective rank of all tokens, which are in memory at once."""
    return by_svdvals(tokens.flatten(0, 1)[None])[0]


if __name__ == "__main__":
    main()
