"""A training step through our code, against the published loop's way and against a bare loop.

    python analyses/benchmarks/training_step.py [--rounds 5] [--block 5] > training_step.csv

Arm ``llm`` (CMUNeXt and a SmolLM2 layer) on images of the embedded data, batch 8. Ways:

- ``published``: a plain loop as published: contiguous tensors, fp32, glibc's own allocator
  settings, no deterministic algorithms, batches in memory;
- ``bare``: the same loop with our settings: channels_last, freed memory kept, deterministic;
- ``ours``: SegmentationTask under lightning.Trainer as a run builds them, default settings, with
  the loader, the augmentation and the training scores of a run;
- ``ours-bf16``: the same with ``compute.precision: bf16``.

Network, optimiser and schedule are the same. The allocator is one for a process, so each way is a
process of its own that lives through all rounds. They take turns in blocks of steps, in one order
and then the reverse; the first block of each warms up and does not count.

``milliseconds`` is the median step, from the end of one to the end of the next; ``to_published``
and ``to_bare`` are medians over the rounds of the ratio of two blocks' medians, so that a stall of
the machine counts once. ``to_limit`` is the share of what a matrix product of 2048 x 2048 in fp32
reaches on these threads in the same round (above 1 is possible in bf16). ``waiting_share`` is the
share of the time between the end of one step and the beginning of the next: what the loader is
waited for (with ``--workers 0``, the default, reading from memory, augmentation and collation), and
what Lightning does in between. Idle and with the
defaults it takes about twenty minutes on two cores, most of them at 256 px.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import multiprocessing
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from published_loop import arranged_as, batches_in_memory, stepper
from torch.utils.flop_counter import FlopCounterMode

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import ImageDataset, Item, WholeImages
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.models.network import build_network
from llm4seg_probe.training.compute import computing, in_memory_format, memory_format
from llm4seg_probe.training.loop import trainer_of
from llm4seg_probe.training.task import SegmentationTask

WAYS = ("published", "bare", "ours", "ours-bf16")
WIDTHS = {"default": None, "narrow": (8, 16, 32, 64, 96)}
BATCH = 8
SIDE = 2048
IMAGES = 32
"""Different images that the steps go through again and again."""


@dataclass(frozen=True)
class Setting:
    """What is trained, and in how many blocks of how many steps."""

    size: int
    network: str
    threads: int
    augmentation: str
    workers: int
    blocks: int
    block: int

    @property
    def steps(self) -> int:
        """All steps of one way."""
        return self.blocks * self.block

    def config(self, precision: str = "fp32") -> Config:
        """A run of one epoch, which holds all the steps."""
        return Config.model_validate(
            {
                "arm": "llm",
                "data": {"image_size": (self.size, self.size), "augmentation": self.augmentation},
                "backbone": {"widths": WIDTHS[self.network]},
                "training": {"batch_size": BATCH, "epochs": 1, "workers": self.workers},
                "compute": {"threads": self.threads, "precision": precision, "device": "cpu"},
            }
        )


@dataclass(frozen=True)
class Block:
    """Seconds of each step of a block, and of the waiting before each."""

    steps: tuple[float, ...]
    waiting: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.steps)


def main() -> None:
    """Measure every setting, and print a CSV that grows as they are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 256])
    parser.add_argument("--networks", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--augmentation", default="reference")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--block", type=int, default=5)
    given = parser.parse_args()
    for number, (size, network, threads) in enumerate(
        itertools.product(given.sizes, given.networks, given.threads)
    ):
        blocks = given.rounds + 1  # the first warms up
        loading = (given.augmentation, given.workers)
        setting = Setting(size, network, threads, *loading, blocks, given.block)
        table = pd.DataFrame(rows(setting, *taken_in_turns(setting), operations_of(setting)))
        table.to_csv(sys.stdout, index=False, header=number == 0)
        sys.stdout.flush()


def operations_of(setting: Setting) -> int:
    """Floating-point operations of a training step, forward and backward."""
    config = setting.config()
    step = stepper(build_network(config), config, 1)
    with FlopCounterMode(display=False) as counter:
        step(*batches_in_memory(config, BATCH)[0])
    return int(counter.get_total_flops())


def speed_of_a_product(threads: int) -> float:
    """Operations per second that a matrix product reaches, the best of five."""
    torch.set_num_threads(threads)
    matrix = torch.randn(SIDE, SIDE)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return 2 * SIDE**3 / min(seconds)


def taken_in_turns(setting: Setting) -> tuple[dict[str, list[Block]], list[float]]:
    """The blocks of each way, round by round, without the first, and the limit in each round."""
    context = multiprocessing.get_context("spawn")
    blocks: dict[str, list[Block]] = {way: [] for way in WAYS}
    with contextlib.ExitStack() as stack:
        ends = {}
        for way in WAYS:
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(way, setting, theirs))
            process.start()
            stack.callback(process.join)
            theirs.close()
            ends[way] = stack.enter_context(ours)
        limits = []
        for turn in range(setting.blocks):
            if turn:
                limits.append(speed_of_a_product(setting.threads))
            for way in WAYS if turn % 2 else reversed(WAYS):
                ends[way].send("go")
                block = ends[way].recv()
                if turn:
                    blocks[way].append(block)
    return blocks, limits


def rows(
    setting: Setting, blocks: dict[str, list[Block]], limits: Sequence[float], operations: int
) -> list[dict[str, Any]]:
    """One row per way."""
    return [
        {
            "image_size": setting.size,
            "network": setting.network,
            "threads": setting.threads,
            "way": way,
            "milliseconds": 1000 * statistics.median(step for block in own for step in block.steps),
            "to_published": ratio(own, blocks["published"]),
            "to_bare": ratio(own, blocks["bare"]),
            "to_limit": statistics.median(
                operations / block.median / limit for block, limit in zip(own, limits, strict=True)
            ),
            "waiting_share": share_of_waiting(own),
            "steps": sum(len(block.steps) for block in own),
        }
        for way, own in blocks.items()
    ]


def ratio(own: Sequence[Block], other: Sequence[Block]) -> float:
    """Median over the rounds of the ratio of two ways' medians."""
    return statistics.median(a.median / b.median for a, b in zip(own, other, strict=True))


def share_of_waiting(blocks: Sequence[Block]) -> float:
    """Share of a way's time that passes between its steps."""
    return sum(sum(block.waiting) for block in blocks) / sum(sum(block.steps) for block in blocks)


def work(way: str, setting: Setting, turns: Connection) -> None:
    """One way in a process of its own: a block of steps each time that it is its turn."""
    config = setting.config("bf16" if way == "ours-bf16" else "fp32")
    if way == "published":
        torch.set_num_threads(setting.threads)
        plainly(setting, config, turns, torch.contiguous_format)
        return
    with computing(config.compute):
        if way == "bare":
            plainly(setting, config, turns, memory_format(config))
        else:
            through_lightning(setting, config, turns)


def plainly(
    setting: Setting, config: Config, turns: Connection, layout: torch.memory_format
) -> None:
    """Blocks of a plain loop over batches in memory."""
    network = build_network(config).to(memory_format=layout)
    step = stepper(network, config, setting.steps)
    pairs = itertools.cycle(arranged_as(batches_in_memory(config, IMAGES), layout))
    for _ in range(setting.blocks):
        turns.recv()
        taken = []
        for _ in range(setting.block):
            start = time.perf_counter()
            step(*next(pairs))
            taken.append(time.perf_counter() - start)
        turns.send(Block(tuple(taken), (0.0,) * setting.block))


def through_lightning(setting: Setting, config: Config, turns: Connection) -> None:
    """Blocks of one epoch of a run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    collection = open_collection(config.data.name, classes=config.data.classes)
    split = split_of(collection, config.data)
    task = SegmentationTask(
        config,
        in_memory_format(build_network(config), config),
        Repeated(collection, split.train[:IMAGES], config, length=setting.steps * BATCH),
        WholeImages(collection, split.val[:1], config.data),
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer_of(config, Path(scratch), [Turns(turns, setting)]).fit(task)


class Repeated(ImageDataset):
    """Training images, augmented, again and again: an epoch of any length."""

    def __init__(
        self, collection: Any, ids: tuple[str, ...], config: Config, *, length: int
    ) -> None:
        super().__init__(collection, ids, config.data, augment_seed=config.seed)
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Item:
        return super().__getitem__(index % len(self.samples))


class Turns(lightning.Callback):
    """Takes the times of an epoch's steps, and waits for its turn between blocks."""

    def __init__(self, turns: Connection, setting: Setting) -> None:
        self._turns = turns
        self._setting = setting
        self._last = 0.0
        self._blocks = 0
        self._steps: list[float] = []
        self._waiting: list[float] = []

    def on_train_start(self, *args: Any) -> None:
        """Wait for the first turn."""
        self._wait()

    def on_train_batch_start(self, *args: Any) -> None:
        """Note how long the step was waited for."""
        self._waiting.append(time.perf_counter() - self._last)

    def on_train_batch_end(self, *args: Any) -> None:
        """Note how long it took; after a block report, and wait for the next turn."""
        now = time.perf_counter()
        self._steps.append(now - self._last)
        self._last = now
        if len(self._steps) == self._setting.block:
            self._turns.send(Block(tuple(self._steps), tuple(self._waiting)))
            self._steps, self._waiting = [], []
            self._blocks += 1
            if self._blocks < self._setting.blocks:
                self._wait()

    def _wait(self) -> None:
        self._turns.recv()
        self._last = time.perf_counter()


if __name__ == "__main__":
    main()
