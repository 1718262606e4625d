"""Effective rank against float64 ``svdvals`` and MONAI-sized loops, interleaved.

    python analyses/benchmarks/rank_speed.py [--repeats 7] > rank_speed.csv

Ways, on the same float32 tokens (B, N, C):

- ``ours``: ``llm4seg_probe.effective_rank``, the float64 Gram matrix of the smaller side;
- ``svdvals``: ``torch.linalg.svdvals`` in float64, then the entropy of the normalised values;
- ``loop``: the same image by image through ``torch.linalg.svd``, singular vectors and all, as
  scripts that come with papers do;
- ``ours-dataset`` and ``concatenated``: the rank of all tokens of the batch as one matrix, merged
  in one pass, against the singular values of the concatenation.

Each row is the median over the repeats; the ratio is to ``svdvals`` (``concatenated`` for the data
set). ``error`` is the largest relative difference in effective rank, over tokens with a spectrum
that falls over twelve decades too (``steep``).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

import llm4seg_probe as lp
from llm4seg_probe.measures.rank import MergedTokens, spectrum_measures

SHAPES = ((16, 256, 2048), (8, 1024, 576), (16, 256, 256), (16, 36, 576))


def main() -> None:
    """Measure every shape, flat and steep, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    rows = []
    for shape in SHAPES:
        for spectrum, tokens in (("flat", flat(shape)), ("steep", steep(shape))):
            for yardstick, ways in groups().items():
                rows += measured(tokens, ways, yardstick, repeats, shape, spectrum)
    pd.DataFrame(rows).to_csv(sys.stdout, index=False)


def groups() -> dict[str, dict[str, Callable[[Tensor], Tensor]]]:
    """Ways that give the same number, by the one that the others are held against."""
    return {
        "svdvals": {"ours": lp.effective_rank, "svdvals": by_svdvals, "loop": by_loop},
        "concatenated": {"ours-dataset": merged, "concatenated": concatenated},
    }


def measured(
    tokens: Tensor,
    ways: dict[str, Callable[[Tensor], Tensor]],
    yardstick: str,
    repeats: int,
    shape: tuple[int, ...],
    spectrum: str,
) -> list[dict[str, object]]:
    """One row per way, the ways taking turns."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    found = {way: function(tokens) for way, function in ways.items()}  # warms up
    for _ in range(repeats):
        for way, function in ways.items():
            start = time.perf_counter()
            function(tokens)
            seconds[way].append(time.perf_counter() - start)
    median = {way: statistics.median(values) for way, values in seconds.items()}
    wanted = found[yardstick].double()
    return [
        {
            "shape": "x".join(map(str, shape)),
            "spectrum": spectrum,
            "way": way,
            "milliseconds": 1000 * median[way],
            "ratio": median[way] / median[yardstick],
            "error": ((found[way].double() - wanted).abs() / wanted).max().item(),
            "threads": torch.get_num_threads(),
        }
        for way in ways
    ]


def flat(shape: tuple[int, ...]) -> Tensor:
    """Gaussian tokens."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def steep(shape: tuple[int, ...]) -> Tensor:
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


def by_loop(tokens: Tensor) -> Tensor:
    """Effective rank image by image, from a full decomposition."""
    sigma = torch.stack(
        [torch.linalg.svd(image.double(), full_matrices=False)[1] for image in tokens]
    )
    return spectrum_measures(sigma)["effective_rank"]


def merged(tokens: Tensor) -> Tensor:
    """Effective rank of all tokens, streamed image by image."""
    stream = MergedTokens()
    for image in tokens:
        stream.add(image[None])
    return spectrum_measures(stream.singular_values()[None])["effective_rank"]


def concatenated(tokens: Tensor) -> Tensor:
    """Effective rank of all tokens, which are in memory at once."""
    return by_svdvals(tokens.flatten(0, 1)[None])


if __name__ == "__main__":
    main()
