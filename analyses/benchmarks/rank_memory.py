"""Memory of the probe ``rank`` by number of images.

    python analyses/benchmarks/rank_memory.py --ckpt run.pt [--images 100 10000] > rank_memory.csv

Each number of images is a process of its own, which makes that many noise images, a batch of 16 at
a time, and measures the ranks at ``before`` and ``after``, all null bands but the untrained
network's included. ``peak_mb`` is the peak resident set of that process, ``growth_mb`` how far it
is above that of the first number. ``rows`` are those of the table.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

BATCH = 16


def main() -> None:
    """Measure each number of images in a process of its own, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 10_000])
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(*measure(arguments.ckpt, arguments.measure))
        return
    rows = []
    for count in arguments.images:
        command = [sys.executable, __file__, "--ckpt", str(arguments.ckpt), "--measure", str(count)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        peak, seconds, lines = map(float, out.split())
        rows.append({"images": count, "peak_mb": peak, "seconds": seconds, "rows": int(lines)})
    table = pd.DataFrame(rows)
    table["growth_mb"] = table["peak_mb"] - table["peak_mb"].iloc[0]
    table.to_csv(sys.stdout, index=False)


def measure(checkpoint: Path, count: int) -> tuple[float, float, int]:
    """Peak memory in MB, seconds, and rows of the table, of this many images."""
    import llm4seg_probe as lp
    from llm4seg_probe.data.batches import Batch
    from llm4seg_probe.probes.rank.table import rank_table
    from llm4seg_probe.training.compute import computing

    run = lp.load(checkpoint)
    data = run.config.data
    source = torch.Generator().manual_seed(0)

    def images() -> Iterator[Batch]:
        for start in range(0, count, BATCH):
            names = tuple(f"image{i}" for i in range(start, min(start + BATCH, count)))
            pixels = torch.randn(len(names), data.channels, *data.image_size, generator=source)
            masks = torch.zeros(len(names), len(data.classes), *data.image_size)
            masks[..., : data.image_size[-1] // 2] = 1
            yield Batch(pixels, masks, names, names)

    begun = time.perf_counter()
    with computing(run.config.compute):
        table = rank_table(run, images(), ("before", "after"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return peak, time.perf_counter() - begun, len(table)


if __name__ == "__main__":
    main()
