"""The Ray engine: the same tasks on an existing cluster, or on one that is started here.

The nodes of a cluster have to share the folder of the runs, and to have this package installed.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm4seg_probe import progress
from llm4seg_probe.errors import ConfigError, TrainingError, UserError, first_line
from llm4seg_probe.probes import registry
from llm4seg_probe.reading import bounds
from llm4seg_probe.study.engines.base import Meter, Task, share_of_gpu
from llm4seg_probe.study.engines.local import available_cores, gpu_memory_mb
from llm4seg_probe.training import loggers

_GIVEN = (bounds.VARIABLE, loggers.VARIABLE, registry.VARIABLE)
"""Environment variables with the bounds, loggers and probes that the user allowed."""
_LOOK = 0.5  # seconds between two looks at what is done
_PATIENCE = 10.0  # seconds that a cluster has to answer
_ANSWER = (
    120.0  # seconds that its GPUs have to say how large they are: a worker imports torch first
)
_SMALLEST_SHARE = 0.01  # of a GPU, in which Ray is asked for them


@dataclass(frozen=True)
class RayEngine:
    """Tasks as Ray places them: by threads, memory, and the part of a GPU that they fill."""

    address: str | None = None
    """Of a running cluster, such as ``auto`` or ``ray://host:10001``; None starts one here."""
    workers: int | None = None
    """Most tasks at a time; None: as many as the cluster has room for."""

    def attempt(self, tasks: Sequence[Task], meter: Meter) -> dict[int, Exception]:
        """Do every task once, wherever the cluster has room for it."""
        ray = _imported()
        with _connected(ray, self.address):
            gpu_mb = _smallest_gpu_mb(ray) if any(task.wants_gpu for task in tasks) else None
            queue = list(enumerate(tasks))
            running: dict[Any, int] = {}
            failures: dict[int, Exception] = {}
            try:
                while queue or running:
                    while queue and (self.workers is None or len(running) < self.workers):
                        index, task = queue.pop(0)
                        running[_submitted(ray, task, gpu_mb)] = index
                    done, _ = ray.wait(list(running), timeout=_LOOK)
                    meter.update()
                    for reference in done:
                        index = running.pop(reference)
                        error = _error_of(ray, reference)
                        if error is not None:
                            failures[index] = error
            except BaseException:
                for reference in running:
                    ray.cancel(reference, force=True)
                raise
        return failures


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "the engine 'ray' needs the package ray: pip install 'llm4seg-probe[ray]', or use "
            "--engine local"
        ) from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection of our own; one that the caller had already is used and left as it is."""
    if ray.is_initialized():
        yield
        return
    own = {"num_cpus": available_cores()} if address is None else {}
    try:
        _knock(address)
        ray.init(address, include_dashboard=False, log_to_driver=False, **own)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"no Ray cluster answers at {address}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise OSError where nobody listens: Ray itself would try for many minutes."""
    host, colon, port = (address or "").rpartition("//")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _smallest_gpu_mb(ray: Any) -> float | None:
    """Megabytes of the cluster's smallest GPU, 0 where a node does not say; None without any."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [
        node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("GPU", 0) > 0
    ]
    if not nodes:
        return None
    asked = [
        ray.remote(gpu_memory_mb)
        .options(
            num_cpus=0,
            num_gpus=_SMALLEST_SHARE,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote()
        for node in nodes
    ]
    try:
        return float(min(ray.get(asked, timeout=_ANSWER)))
    except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
        for reference in asked:
            ray.cancel(reference, force=True)
        progress.say(
            "The cluster's GPUs did not say how much memory they have, so each is given one run at "
            f"a time ({first_line(error)})."
        )
        return 0.0


def _submitted(ray: Any, task: Task, gpu_mb: float | None) -> Any:
    needs: dict[str, Any] = {"num_cpus": task.threads, "max_retries": 0}
    if task.memory_mb is not None:
        needs["memory"] = int(task.memory_mb * 2**20)
    if task.wants_gpu and gpu_mb is not None:
        share = share_of_gpu(task, gpu_mb)
        needs["num_gpus"] = math.ceil(share / _SMALLEST_SHARE) * _SMALLEST_SHARE
    given = {name: os.environ[name] for name in _GIVEN if name in os.environ}
    submit = ray.remote(_attempt).options(name=task.name, **needs)
    return submit.remote(task, str(Path.cwd()), given)


def _attempt(task: Task, folder: str, given: Mapping[str, str]) -> str | None:
    """Do a task in a worker of the cluster; what is wrong with it, in one line.

    Paths mean there what they mean here. given: what the user allowed, by environment variable; a
    worker on another machine has its own environment, and may have done another user's tasks.
    """
    progress.mute()
    os.chdir(folder)
    for name in _GIVEN:
        os.environ.pop(name, None)
    os.environ.update(given)
    try:
        task.run()
    except (UserError, OSError) as error:
        return str(error)
    return None


def _error_of(ray: Any, reference: Any) -> Exception | None:
    try:
        message = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:200]
        return TrainingError(f"its worker or its machine was lost ({reason})")
    return None if message is None else UserError(message)
