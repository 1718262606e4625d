"""A training step of the demo's narrow network on one thread, against plain torch modules.

    python analyses/benchmarks/narrow_step.py > narrow_step.csv

Ways, which take turns in one process and start from the same weights:

- ``plain``: every 1 x 1 convolution as ``nn.Conv2d``, AdamW as a loop over the parameters;
- ``pointwise``: the 1 x 1 convolutions as in :class:`llm4seg_probe.models.cmunext.Pointwise`;
- ``ours``: those, and AdamW in one kernel, as a run has them.

Seconds are those of the processor, so that other processes disturb little. ``to_plain`` is the
median over the rounds of the ratio within a round, and ``to_limit`` the share of what a matrix
product of 1024 x 1024 reaches on this thread in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from llm4seg_probe.config import Config
from llm4seg_probe.models.cmunext import Pointwise
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.training.compute import computing, in_memory_format, memory_format
from llm4seg_probe.training.loss import SegmentationLoss
from llm4seg_probe.training.optimiser import optimiser

WAYS = ("plain", "pointwise", "ours")
NARROW = (8, 16, 32, 64, 96)
SIDE = 96
WARM_UP = 3

Step = Callable[[], object]


def main() -> None:
    """Measure each arm and batch size, and print a CSV that grows as they are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=["cnn", "llm"])
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--rounds", type=int, default=21)
    given = parser.parse_args()
    first = True
    for arm in given.arms:
        for batch in given.batches:
            table = pd.DataFrame(measured(arm, batch, given.rounds))
            table.to_csv(sys.stdout, index=False, header=first)
            sys.stdout.flush()
            first = False


def measured(arm: str, batch: int, rounds: int) -> list[dict[str, object]]:
    """One row per way."""
    config = Config.model_validate(
        {
            "arm": arm,
            "backbone": {"widths": NARROW},
            "training": {"batch_size": batch},
            "compute": {"threads": 1, "device": "cpu"},
        }
    )
    with computing(config.compute):
        steps = {way: step_of(config, way) for way in WAYS}
        product = torch.randn(1024, 1024)
        limits, seconds = [], {way: list[float]() for way in WAYS}
        for turn in range(rounds + WARM_UP):
            limit = taken(lambda: product @ product)
            for way, step in steps.items():
                spent = taken(step)
                if turn >= WARM_UP:
                    seconds[way].append(spent)
            if turn >= WARM_UP:
                limits.append(2 * 1024**3 / limit)
        with FlopCounterMode(display=False) as counter:
            steps["plain"]()
    operations = counter.get_total_flops()
    return [
        {
            "arm": arm,
            "batch": batch,
            "way": way,
            "milliseconds": round(1000 * statistics.median(own), 2),
            "to_plain": round(median_ratio(own, seconds["plain"]), 3),
            "to_limit": round(
                median_ratio([operations / spent for spent in own], limits),
                3,
            ),
            "steps": rounds,
        }
        for way, own in seconds.items()
    ]


def step_of(config: Config, way: str) -> Step:
    """A function that takes one training step on a batch in memory."""
    network = in_memory_format(build_network(config), config)
    if way == "plain":
        for module in network.modules():
            if isinstance(module, Pointwise):
                module.__class__ = torch.nn.Conv2d  # type: ignore[assignment]  # its forward
    draw = torch.Generator().manual_seed(0)
    batch = config.training.batch_size
    images = torch.randn(batch, 1, SIDE, SIDE, generator=draw).to(
        memory_format=memory_format(config)
    )
    masks = (torch.rand(batch, 1, SIDE, SIDE, generator=draw) > 0.7).float()
    loss = SegmentationLoss(config.training)
    chosen = optimiser(config.training.optimiser, parameter_groups(network))
    if way != "ours":
        chosen = torch.optim.AdamW(chosen.param_groups)
        for group in chosen.param_groups:
            group["fused"] = False

    def step() -> None:
        chosen.zero_grad()
        loss(network(images), masks).backward()
        chosen.step()

    return step


def taken(do: Step) -> float:
    """Seconds of the processor that a call takes."""
    start = time.process_time()
    do()
    return time.process_time() - start


def median_ratio(own: list[float], other: list[float]) -> float:
    """Median over the rounds of the ratio."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


if __name__ == "__main__":
    main()
