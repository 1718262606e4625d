"""What recording costs: against hand-written hooks, captum, nnsight, and not recording at all.

    python analyses/benchmarks/recorder.py [--repeats 40] [--nnsight PYTHON] > recorder.csv

CMUNeXt of the published widths with a decoder layer, one image batch at 96 px, in evaluation mode.
Ways, which take turns pass by pass:

- ``plain``: a forward pass, nothing recorded;
- ``record``: ``lp.record`` of six sites; ``record-booster``: of ``before`` and ``after`` alone;
- ``hooks``: hand-written hooks that clone the same six sites;
- ``captum``: ``LayerActivation`` of the six modules in one call; ``captum-each``: called per site.

nnsight pulls packages that do not go with this environment: with ``--nnsight`` the interpreter of
another one is named, in which torch, nnsight and this package are installed, and the script runs
``plain``, ``hooks`` and ``nnsight`` there, in its own turns. Ratios are of medians, to ``plain``
and to ``hooks``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor, nn

import llm4seg_probe as lp
from llm4seg_probe.config import Config
from llm4seg_probe.models.network import build_network
from llm4seg_probe.models.sites import SitePoint, sites_of
from llm4seg_probe.training.compute import arranged, keep_freed_memory, memory_format

SITES = ("encoder.1", "encoder.3", "before", "after", "decoder.3", "decoder.1")
BATCH = 8


def main() -> None:
    """Measure, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--nnsight", metavar="PYTHON")
    parser.add_argument("--inside-nnsight", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_freed_memory()
    config = Config.model_validate({"data": {"image_size": (96, 96)}})
    network = arranged(build_network(config), config).eval()
    images = torch.randn(BATCH, 1, 96, 96).to(memory_format=memory_format(config))
    ways = in_nnsight(network, images) if arguments.inside_nnsight else here(network, images)
    table = measured(ways, arguments.repeats)
    table.to_csv(sys.stdout, index=False)
    if arguments.nnsight:
        sys.stdout.flush()
        command = [arguments.nnsight, __file__, "--inside-nnsight"]
        subprocess.run([*command, "--repeats", str(arguments.repeats)], check=True)


def measured(ways: dict[str, Callable[[], object]], repeats: int) -> pd.DataFrame:
    """Median milliseconds of each way, the ways taking turns, and the ratios."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with torch.no_grad():
        for turn in range(repeats + 3):
            for way, run in ways.items():
                start = time.perf_counter()
                run()
                if turn >= 3:
                    seconds[way].append(time.perf_counter() - start)
    median = {way: statistics.median(values) for way, values in seconds.items()}
    rows = [
        {
            "way": way,
            "milliseconds": 1000 * median[way],
            "to_plain": median[way] / median["plain"],
            "to_hooks": median[way] / median["hooks"],
            "threads": torch.get_num_threads(),
        }
        for way in ways
    ]
    return pd.DataFrame(rows)


def here(network: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """The ways that need no other environment."""
    from captum.attr import LayerActivation

    points = [sites_of(network)[site] for site in SITES]
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


def in_nnsight(network: nn.Module, images: Tensor) -> dict[str, Callable[[], object]]:
    """The same six sites through nnsight, beside a plain pass and hooks in its environment."""
    from nnsight import NNsight

    points = [sites_of(network)[site] for site in SITES]
    traced = NNsight(network)

    def trace() -> object:
        saved = []
        with traced.trace(images):
            for point in points:
                module = traced.get(point.module)
                saved.append((module.input if point.side == "input" else module.output).save())
        return saved

    return {
        "plain": lambda: network(images),
        "hooks": lambda: by_hooks(network, images, points),
        "nnsight": trace,
    }


if __name__ == "__main__":
    main()
