"""Cost of recording: against hand-written hooks, captum, nnsight, and not recording at all.

    python analyses/benchmarks/recorder.py [--repeats 40] [--nnsight] > recorder.csv

CMUNeXt of the published widths with a SmolLM2 layer, a batch of 8 at 96 px, in evaluation mode.
Ways, which take turns pass by pass, in one order and then the reverse:

- ``plain``: a forward pass, nothing recorded;
- ``record``: ``lp.record`` of six sites; ``record-booster``: of ``before`` and ``after`` alone;
- ``hooks``: hand-written hooks that clone the same six sites;
- ``captum``: ``LayerActivation`` of the six modules in one call; ``captum-each``: called per site;
- ``nnsight``: the six sites saved in a trace, with ``--nnsight``.

nnsight is no dependency of this package, and goes into an environment of its own:

    python -m venv /tmp/nnsight
    /tmp/nnsight/bin/pip install -e . nnsight -c constraints.txt
    /tmp/nnsight/bin/python analyses/benchmarks/recorder.py --nnsight > recorder.csv

``milliseconds`` is the median pass; ``to_plain`` and ``to_hooks`` are medians of the ratio to that
way's pass in the same turn. The first three turns do not count.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable

import pandas as pd
import torch
from captum.attr import LayerActivation
from torch import Tensor, nn

import llm4seg_probe as lp
from llm4seg_probe.config import Config
from llm4seg_probe.models.network import build_network
from llm4seg_probe.models.sites import SitePoint, sites_of
from llm4seg_probe.training.compute import in_memory_format, keep_freed_memory, memory_format

SITES = ("encoder.1", "encoder.3", "before", "after", "decoder.3", "decoder.1")
BATCH = 8
WARM_UP = 3

Ways = dict[str, Callable[[], object]]
"""By name, one pass over the images."""


def main() -> None:
    """Measure, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--nnsight", action="store_true", help="which has to be installed")
    given = parser.parse_args()
    keep_freed_memory()
    config = Config.model_validate({"data": {"image_size": (96, 96)}})
    network = in_memory_format(build_network(config), config).eval()
    images = torch.randn(BATCH, 1, 96, 96).to(memory_format=memory_format(config))
    points = [sites_of(network)[site] for site in SITES]
    ways = ways_of(network, images, points)
    if given.nnsight:
        ways["nnsight"] = by_nnsight(network, images, points)
    with torch.no_grad():
        table = pd.DataFrame(rows(taken(ways, given.repeats)))
    table.to_csv(sys.stdout, index=False)


def taken(ways: Ways, repeats: int) -> dict[str, list[float]]:
    """Seconds of each pass of each way, turn by turn."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeats + WARM_UP):
        for way in list(ways) if turn % 2 else reversed(ways):
            start = time.perf_counter()
            ways[way]()
            if turn >= WARM_UP:
                seconds[way].append(time.perf_counter() - start)
    return seconds


def rows(seconds: dict[str, list[float]]) -> list[dict[str, object]]:
    """One row per way."""
    return [
        {
            "way": way,
            "milliseconds": 1000 * statistics.median(own),
            "to_plain": ratio(own, seconds["plain"]),
            "to_hooks": ratio(own, seconds["hooks"]),
            "threads": torch.get_num_threads(),
        }
        for way, own in seconds.items()
    ]


def ratio(own: list[float], other: list[float]) -> float:
    """Median over the turns of the ratio of two ways' passes."""
    return statistics.median(a / b for a, b in zip(own, other, strict=True))


def ways_of(network: nn.Module, images: Tensor, points: list[SitePoint]) -> Ways:
    """The ways that need no other environment."""
    modules = [network.get_submodule(point.module) for point in points]
    together = LayerActivation(network, modules)
    each = [LayerActivation(network, module) for module in modules]

    def record(*sites: str) -> object:
        with lp.record(network, sites) as recording:
            network(images)
        return recording

    return {
        "plain": lambda: network(images),
        "record": lambda: record(*SITES),
        "record-booster": lambda: record("before", "after"),
        "hooks": lambda: by_hooks(network, images, points),
        "captum": lambda: together.attribute(images),
        "captum-each": lambda: [one.attribute(images) for one in each],
    }


def by_hooks(network: nn.Module, images: Tensor, points: list[SitePoint]) -> list[Tensor]:
    """What one writes by hand: a hook on each module that clones what passes."""
    seen: list[Tensor] = []
    handles = []
    for point in points:
        module = network.get_submodule(point.module)
        if point.side == "input":
            handle = module.register_forward_pre_hook(
                lambda _module, inputs: seen.append(inputs[0].detach().clone())
            )
        else:
            handle = module.register_forward_hook(
                lambda _module, _inputs, output: seen.append(output.detach().clone())
            )
        handles.append(handle)
    network(images)
    for handle in handles:
        handle.remove()
    return seen


def by_nnsight(network: nn.Module, images: Tensor, points: list[SitePoint]) -> Callable[[], object]:
    """Copies of the six sites through a trace, of a network of its own, which it wraps for good."""
    from nnsight import NNsight

    traced = NNsight(copy.deepcopy(network))

    def trace() -> object:
        with traced.trace(images):
            seen = []
            for point in points:
                module = traced.get(point.module)
                tensor = module.input if point.side == "input" else module.output
                seen.append(tensor.clone())
            seen.save()
        return seen

    return trace


if __name__ == "__main__":
    main()
