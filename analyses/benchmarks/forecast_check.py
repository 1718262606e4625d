"""Training steps against their forecast from counted kernels, on this machine's processor.

    python analyses/benchmarks/forecast_check.py > reports/benchmarks/forecast_check.csv

Each step (three backbones, three arms, 96 and 256 pixels) is counted kernel by kernel and run on
one thread; seconds are those of the processor, so that other processes disturb little. The peak is
that of a matrix product, the bandwidth that of a copy, both taken beside every step. The share of
the limit that each kind of kernel reaches is fitted to the other seventeen steps, non-negative
least squares of relative errors, and the step left out is forecast with it: ``forecast`` against
``seconds``, ``ratio`` of the two, and whether the step lies in the range (``inside``). The shares
from all steps, which :mod:`llm4seg_probe.study.forecast` takes, are printed to standard error.

The arm ``random-frozen`` has the work of ``llm``: no weights of a language model are needed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.optimize import nnls

from llm4seg_probe.config import Config
from llm4seg_probe.models.reference import LANGUAGE_MODELS
from llm4seg_probe.study.forecast import RANGE
from llm4seg_probe.training.compute import computing
from llm4seg_probe.training.work import KINDS, median_step, work_of_step

BACKBONES = {
    "cmunext": None,
    "unet": (24, 48, 96, 192, 384),
    "attention-unet": (24, 48, 96, 192, 384),
}
ARMS = ("cnn", "random-frozen", "transformer")
BATCH = {96: 4, 256: 1}


def main() -> None:
    """Measure, fit, and print a CSV."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        values = LANGUAGE_MODELS["meta-llama/Llama-3.2-1B"]
        (source / "config.json").write_text(json.dumps(values))
        rows = [
            measured(arm, backbone, side, source, given.repeats)
            for backbone in BACKBONES
            for arm in ARMS
            for side in BATCH
        ]
    table = pd.DataFrame(rows)
    forecasts = [
        float(table.loc[place, list(KINDS)] @ slowness(table.drop(index=place)))
        for place in table.index
    ]
    table["forecast"] = forecasts
    table["ratio"] = table["forecast"] / table["seconds"]
    table["inside"] = table["ratio"].between(1 / RANGE, RANGE)
    table.round(4).to_csv(sys.stdout, index=False)
    shares = {kind: round(float(1 / value), 3) if value else None
              for kind, value in zip(KINDS, slowness(table), strict=True)}  # fmt: skip
    print(f"shares of the limit: {shares}", file=sys.stderr)


def measured(arm: str, backbone: str, side: int, source: Path, repeats: int) -> dict[str, object]:
    """One step: its seconds, and the least seconds of its kernels by kind."""
    config = Config.model_validate(
        {
            "arm": arm,
            "data": {"image_size": [side, side], "channels": 3},
            "backbone": {"name": backbone, "widths": BACKBONES[backbone]},
            "booster": {"source": str(source), "layer": 15, "init": "normal"},
            "training": {"batch_size": BATCH[side]},
            "compute": {"threads": 1, "device": "cpu"},
        }
    )
    work = work_of_step(config)
    with computing(config.compute):
        peak, bandwidth = limits()
        seconds = median_step(config, repeats, clock=time.process_time)
    print(f"{backbone} {arm} {side}: {seconds:.2f} s", file=sys.stderr)
    about = {"backbone": backbone, "arm": arm, "side": side, "batch": BATCH[side]}
    counted = {"gflop": work.flops / 1e9, "gflops_peak": peak / 1e9, "gbs": bandwidth / 1e9}
    return {**about, **counted, "seconds": seconds, **work.least_seconds(peak, bandwidth)}


def limits() -> tuple[float, float]:
    """Operations a second of a matrix product, and bytes a second of a copy, on one thread."""
    product, numbers = torch.randn(1024, 1024), torch.randn(2**24)
    target = torch.empty_like(numbers)
    operations = 2 * 1024**3 / quickest(lambda: product @ product)
    return operations, 2 * 4 * 2**24 / quickest(lambda: target.copy_(numbers))


def quickest(action: Callable[[], object], repeats: int = 4) -> float:
    """Least seconds of the processor that an action takes."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return min(taken[1:])


def slowness(table: pd.DataFrame) -> np.ndarray:
    """Factors by kind of kernel with which the least seconds come nearest to the measured ones."""
    seconds = table["seconds"].to_numpy()
    factors, _ = nnls(table[list(KINDS)].to_numpy() / seconds[:, None], np.ones(len(table)))
    return np.maximum(factors, 1.0)


if __name__ == "__main__":
    main()
