"""The local engine: tasks in worker processes on this machine, nothing lost when one dies."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Any

from llm4seg_probe import progress
from llm4seg_probe.errors import TrainingError, UserError
from llm4seg_probe.study.engines.base import Meter, Task, share_of_gpu

_PR_SET_PDEATHSIG = 1
GRACE = 3.0
"""Seconds that a worker has to end by itself."""


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class LocalEngine:
    """Worker processes on this machine, each with the threads of its task.

    A GPU is given as many as its memory holds, each with a core to itself.
    """

    workers: int | None = None
    """How many; None: as many as the cores carry, or as the GPUs hold."""

    def attempt(self, tasks: Sequence[Task], meter: Meter) -> dict[int, Exception]:
        """Do every task once, in this process if one worker is enough."""
        gpus = _gpus() if any(task.wants_gpu for task in tasks) else 0
        memory = gpu_memory_mb() if gpus else 0.0
        workers = self.workers or workers_for(tasks, gpus, memory)
        if workers == 1:
            return _here(tasks, meter)
        return _in_processes(tasks, min(workers, len(tasks)), gpus, meter)


def workers_for(tasks: Sequence[Task], gpus: int = 0, gpu_memory_mb: float = 0.0) -> int:
    """How many processes keep this machine busy.

    On each GPU as many as its memory holds of the largest task, one where a task does not say
    what it needs, and no more than there are cores; without a GPU as the cores carry.
    """
    if gpus:
        fitting = int(1 / max((share_of_gpu(task, gpu_memory_mb) for task in tasks), default=1.0))
        return min(len(tasks), max(gpus, min(gpus * fitting, available_cores())))
    threads = max((task.threads for task in tasks), default=1)
    return max(1, min(len(tasks), available_cores() // threads))


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def gpu_memory_mb() -> float:
    """Megabytes of the smallest GPU that this process sees."""
    import torch

    cards = range(torch.cuda.device_count())
    return min(torch.cuda.get_device_properties(card).total_memory for card in cards) / 1e6


def _here(tasks: Sequence[Task], meter: Meter) -> dict[int, Exception]:
    failures: dict[int, Exception] = {}
    for index, task in enumerate(tasks):
        meter.update()
        try:
            task.run()
        except (UserError, OSError) as error:
            failures[index] = error
    return failures


def _in_processes(
    tasks: Sequence[Task], workers: int, gpus: int, meter: Meter
) -> dict[int, Exception]:
    failures: dict[int, Exception] = {}
    context = multiprocessing.get_context("spawn")
    devices = context.SimpleQueue()
    for worker in range(workers if gpus else 0):
        devices.put(str(worker % gpus))
    begin = (_begin_worker, (devices if gpus else None,))
    with ProcessPoolExecutor(workers, context, *begin) as pool:
        try:
            waiting: dict[Future[None], int] = {
                pool.submit(task.run): index for index, task in enumerate(tasks)
            }
            while waiting:
                finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                meter.update()
                for future in finished:
                    index = waiting.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        failures[index] = TrainingError(
                            f"a worker process was killed, perhaps for memory ({error})"
                        )
                    elif isinstance(error, UserError | OSError):
                        failures[index] = error
                    elif error is not None:
                        raise error
        except BaseException:
            children = multiprocessing.active_children()
            pool.shutdown(wait=False, cancel_futures=True)
            _end(children)
            raise
    return failures


def _end(children: Sequence[BaseProcess]) -> None:
    """End workers, also in the middle of a training: Lightning keeps SIGTERM to itself there.

    It would only give up the run that it trains, and the worker would take the next one.
    """
    for child in children:
        child.terminate()
    until = time.monotonic() + GRACE
    for child in children:
        child.join(max(0.0, until - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()


def _begin_worker(devices: SimpleQueue[str] | None) -> None:
    """Leave Ctrl-C and the terminal to the parent, end when it is gone, and take one GPU."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.mute()
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()
    if sys.platform.startswith("linux"):
        libc: Any = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
