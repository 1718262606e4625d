"""Give nnU-Net's batches addresses: the same for every number of workers, and after a stop.

nnU-Net seeds nothing, and its workers hand over whatever is ready first. Here batch ``i`` of a
training is drawn after all global generators were seeded with the address (seed, kind, rank, i),
by whichever process, and batches come in their order.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from llm4seg_probe.errors import TrainingError
from llm4seg_probe.randomness import address

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
WORKERS = "nnUNet_n_proc_DA"
"""nnU-Net's own variable for the number of processes that make batches."""


class AddressedBatches:
    """Make the batches ``start``, ``start + 1``, … of a loader of nnU-Net's.

    In one of several workers it makes every ``workers``-th, beginning with its own number.
    """

    def __init__(self, loader: Any, seed: int, kind: str, rank: int, start: int, workers: int = 1):
        self.loader = loader
        self.workers = workers
        self._address = (seed, "batch", kind, rank)
        self._next = start
        self._own_process = False

    def set_thread_id(self, number: int) -> None:
        """Become one of the workers; called in its process.

        It computes with one thread. A worker is forked from the training, and the threads of
        OpenMP that a matrix product would wait for stay behind there: it waited for ever.
        """
        self.loader.set_thread_id(number)
        die_with_the_parent()
        torch.set_num_threads(1)
        self._next += number
        self._own_process = True

    def __iter__(self) -> AddressedBatches:
        return self

    def __next__(self) -> Any:
        seed = address(*self._address, self._next)
        self._next += self.workers
        if self._own_process:
            _seed_all(seed)
            return next(self.loader)
        with _put_back(), _one_thread():  # as in a worker: the same bits
            _seed_all(seed)
            return next(self.loader)


def die_with_the_parent() -> None:
    """Have Linux end this process with the one that started it, however that ends.

    A training that is killed would otherwise leave its workers behind, which wait for room in
    their queues for ever.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def loaders_of(make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Take the loaders out of what nnU-Net's ``get_dataloaders`` gives, without its processes.

    It is called as if no process were allowed, so that none is started in vain.
    """
    before = os.environ.get(WORKERS)
    os.environ[WORKERS] = "0"
    try:
        made = make()
    finally:
        if before is None:
            del os.environ[WORKERS]
        else:
            os.environ[WORKERS] = before
    train, validation = (_inside(augmenter) for augmenter in made)
    for loader in (train, validation):
        without_stopwatch(getattr(loader, "transforms", None))
    return train, validation


def without_stopwatch(transform: Any) -> None:
    """Have a transform, and those inside it, choose no algorithm by how fast it happens to be.

    The blur of batchgeneratorsv2 times a Fourier transform against a convolution when it first
    meets a size, and their last bits differ: the machine's load would be in the batches.
    """
    if isinstance(transform, list | tuple):
        for each in transform:
            without_stopwatch(each)
    elif type(transform).__module__.startswith("batchgenerators"):
        if getattr(transform, "benchmark", None) is True:
            transform.benchmark = False
        for inner in vars(transform).values():
            without_stopwatch(inner)


def seeded_loader(
    loader: Any,
    seed: int,
    kind: str,
    rank: int,
    start: int,
    *,
    pin: bool = False,
    share: float = 1.0,
) -> Any:
    """Have nnU-Net's workers make a loader's batches from number ``start`` on, in order.

    ``share`` is that of the allowed processes. Without any, batches are made where they are
    used. Each has its seed, so the number of workers changes nothing.
    """
    from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
    from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
    from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

    allowed = get_allowed_n_proc_DA()
    if allowed == 0:
        return SingleThreadedAugmenter(AddressedBatches(loader, seed, kind, rank, start), None)
    workers = max(1, int(allowed * share))
    batches = AddressedBatches(loader, seed, kind, rank, start, workers)
    # Each worker is seeded anew at each batch; the seeds here only keep it from the clock's.
    return MultiThreadedAugmenter(
        batches, None, workers, num_cached_per_queue=2, seeds=[0] * workers, pin_memory=pin,
        wait_time=0.002,
    )  # fmt: skip


def _inside(augmenter: Any) -> Any:
    loader = getattr(augmenter, "data_loader", None)
    if loader is None or getattr(augmenter, "transform", None) is not None:
        raise TrainingError(
            f"get_dataloaders of this trainer gives a {type(augmenter).__name__}, whose batches "
            "cannot be seeded: with nnUNet_n_proc_DA=0 it has to give SingleThreadedAugmenter "
            "without a transform, as nnUNetTrainer does"
        )
    return loader


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 (nnU-Net's augmentation draws from it)
    torch.default_generator.manual_seed(seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _put_back() -> Iterator[None]:
    """Leave the global generators of this process as they were: the network may draw from them."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.random.set_rng_state(states[2])
