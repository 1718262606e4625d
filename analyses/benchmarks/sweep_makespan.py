"""The makespan of a sweep, against the same runs one after another as published-style loops.

    python analyses/benchmarks/sweep_makespan.py [--runs 20] [--steps 100] [--threads 2]
        [--workers 1] [--order ABBA] > sweep_makespan.csv

Runs of the arms ``cnn`` and ``llm`` (SmolLM2), seed by seed, on the embedded data at 96 px, batch
8, with as many whole epochs as come nearest to the steps. Ways, each leg a process of its own, in
the order sweep, published, published, sweep (``ABBA``), so that what the machine does slowly is
shared:

- ``sweep`` (A): planned and made on the local engine as the command ``sweep`` makes runs, from the
  start of Python to the last run's scores: loader, augmentation, validation after each epoch,
  checkpoints, scores of validation and test images;
- ``published`` (B): one process that trains the same networks one after another in a plain loop
  (contiguous tensors, fp32, glibc's own allocator settings, a thread for each core), on batches in
  memory: training alone, nothing validated, scored or written.

``makespan_seconds`` is from the start to the end of the process. ``runs_seconds`` is the sum of
what the runs themselves took: of a sweep ``wall_seconds`` of each (network, data, training,
validation and scores), of the loops their training steps. ``added_share`` is the rest as a share,
1 - runs_seconds / (makespan × workers): start of workers, imports, bookkeeping, waiting for the
last run. Imports that a run would do on its way are done before it, so that they count as such.
``to_published`` is the makespan over the mean makespan of the published legs; ``to_loops``, the
stricter one, over the mean of their training steps alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.config import Config
from llm4seg_probe.study.runs import PlannedRun, make, plan

ARMS = ("cnn", "llm")
WAYS = {"A": "sweep", "B": "published"}
BATCH = 8
SIZE = 96
WIDTHS = {"default": None, "narrow": (8, 16, 32, 64, 96)}
ON_THE_WAY = ("llm4seg_probe.training.train", "transformers.models.llama.modeling_llama")
"""What a run imports once it has begun."""


def main() -> None:
    """Run the legs in their order, and print a CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--network", choices=WIDTHS, default="default")
    parser.add_argument("--threads", type=int, default=2, help="of each run of the sweep")
    parser.add_argument("--workers", type=int, help="default: as many as the cores carry")
    parser.add_argument("--order", default="ABBA", help="of the legs: A the sweep, B the loops")
    parser.add_argument("--leg", choices=WAYS.values(), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.leg:
        print(json.dumps(sweep(given) if given.leg == "sweep" else published(given)))
        return
    legs = [leg(WAYS[letter]) for letter in given.order]
    table = pd.DataFrame(legs)
    yardstick = table[table["way"] == "published"]
    table["added_share"] = 1 - table["runs_seconds"] / (
        table["makespan_seconds"] * table["workers"]
    )
    table["to_published"] = table["makespan_seconds"] / yardstick["makespan_seconds"].mean()
    table["to_loops"] = table["makespan_seconds"] / yardstick["runs_seconds"].mean()
    table.to_csv(sys.stdout, index=False)


def leg(way: str) -> dict[str, Any]:
    """One leg in a fresh process, with the time from its start to its end."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *sys.argv, "--leg", way], check=True, stdout=subprocess.PIPE, text=True
    )
    makespan = time.perf_counter() - start
    return {"way": way, "makespan_seconds": makespan, **json.loads(done.stdout)}


def configs(given: argparse.Namespace) -> tuple[list[Config], int]:
    """The runs' configurations, and the steps of each."""
    from llm4seg_probe.data.datasets import open_collection
    from llm4seg_probe.data.splits import split_of

    base = Config.model_validate(
        {
            "data": {"image_size": (SIZE, SIZE)},
            "backbone": {"widths": WIDTHS[given.network]},
            "training": {"batch_size": BATCH},
            "compute": {"threads": given.threads, "device": "cpu"},
        }
    )
    collection = open_collection(base.data.name, classes=base.data.classes)
    per_epoch = -(-len(split_of(collection, base.data).train) // BATCH)
    epochs = max(1, round(given.steps / per_epoch))
    training = base.training.model_copy(update={"epochs": epochs})
    found = [
        base.model_copy(
            update={"arm": ARMS[run % len(ARMS)], "seed": run // len(ARMS), "training": training}
        )
        for run in range(given.runs)
    ]
    return found, epochs * per_epoch


@dataclass(frozen=True)
class Made:
    """A run of the sweep, as an engine takes it: trained and scored, not probed."""

    planned: PlannedRun
    memory_mb: float | None = None
    wants_gpu: bool = False
    gpu_memory_mb: float | None = None

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return self.planned.path.name

    @property
    def threads(self) -> int:
        """CPU threads, as configured."""
        return self.planned.config.compute.threads

    @property
    def share_done(self) -> float:
        """How far the run has come, from 0 to 1."""
        return self.planned.share_done

    def run(self) -> None:
        """Import what it needs, and make it."""
        for module in ON_THE_WAY:
            importlib.import_module(module)
        make(self.planned)


def sweep(given: argparse.Namespace) -> dict[str, Any]:
    """All runs on the local engine."""
    from llm4seg_probe.study.engines.base import carry_out
    from llm4seg_probe.study.engines.local import LocalEngine, workers_for
    from llm4seg_probe.study.runs import fetched
    from llm4seg_probe.training import run_folder

    wanted, steps = configs(given)
    with tempfile.TemporaryDirectory() as scratch:
        tasks = [Made(run) for run in plan(wanted, fetched(wanted), Path(scratch))]
        workers = given.workers or workers_for(tasks)
        carry_out(tasks, LocalEngine(workers), "Runs")
        walls = [
            json.loads((task.planned.path / run_folder.ENVIRONMENT).read_text(encoding="utf-8"))
            for task in tasks
        ]
    return {
        "runs": len(tasks),
        "steps": steps,
        "workers": workers,
        "threads": given.threads,
        "runs_seconds": sum(each["wall_seconds"] for each in walls),
    }


def published(given: argparse.Namespace) -> dict[str, Any]:
    """All runs in this process, one after another."""
    import torch
    from published_loop import batches_in_memory, stepper

    from llm4seg_probe.models.network import build_network
    from llm4seg_probe.study.engines.local import available_cores

    torch.set_num_threads(available_cores())
    wanted, steps = configs(given)
    pairs = batches_in_memory(wanted[0])
    seconds = 0.0
    for config in wanted:
        step = stepper(build_network(config), config, steps)
        start = time.perf_counter()
        for number in range(steps):
            step(*pairs[number % len(pairs)])
        seconds += time.perf_counter() - start
    return {
        "runs": len(wanted),
        "steps": steps,
        "workers": 1,
        "threads": torch.get_num_threads(),
        "runs_seconds": seconds,
    }


if __name__ == "__main__":
    main()
