"""A training in several processes, on one machine or more: they are started, watched and ended.

Each process is ``python -m llm4seg_probe.training.rank``, so that it does not matter what started
the training. On several machines the same command is given on each, with NODE_RANK (0, 1, …),
MASTER_ADDR and MASTER_PORT in its environment, and the run folder on a disk that all of them see.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from llm4seg_probe import errors
from llm4seg_probe.config import ComputeConfig
from llm4seg_probe.errors import ConfigError, TrainingError, UserError

_OF_THE_MACHINES = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE, _LOOK = 5.0, 0.1
"""Seconds that the other processes have when one has failed, and between two looks at them."""


def node_rank(compute: ComputeConfig) -> int:
    """Which of the machines this is, from 0.

    Raises ConfigError where there are several and the environment does not say.
    """
    if compute.nodes == 1:
        return 0
    missing = [name for name in _OF_THE_MACHINES if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"compute.nodes is {compute.nodes}, but {', '.join(missing)} is not set: give the same "
            "command on each machine, with NODE_RANK (0, 1, …), MASTER_ADDR and MASTER_PORT of the "
            "first machine in its environment"
        )
    return int(os.environ["NODE_RANK"])


def in_processes(compute: ComputeConfig, job: Mapping[str, Any]) -> None:
    """Do a job in ``compute.devices`` processes of this machine, and wait for all of them.

    ``job`` are the plain values that :mod:`llm4seg_probe.training.rank` reads. When one process
    fails the others are ended; its error is raised here: a UserError as it was, TrainingError for
    whatever else. No process outlives this one.
    """
    where = _environment(compute)
    ranks: list[subprocess.Popen[str]] = []
    try:
        for rank in range(compute.devices):
            ranks.append(_start({**where, "LOCAL_RANK": str(rank)}, job))
        while not all(process.poll() == 0 for process in ranks):
            if any(process.poll() for process in ranks):
                raise _failure(ranks)
            time.sleep(_LOOK)
    finally:
        for process in ranks:
            _end(process)


def _environment(compute: ComputeConfig) -> dict[str, str]:
    own = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    if compute.nodes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        own |= {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**os.environ, **own}


def _start(environment: dict[str, str], job: Mapping[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "llm4seg_probe.training.rank"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdin is not None
    # The pipe stays open: a process ends itself when it breaks, which is when this one is gone.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.close()


def _failure(ranks: Sequence[subprocess.Popen[str]]) -> UserError:
    """Why they failed: what one of them says, else how it ended."""
    # The first to end may have failed only because it had lost another one: wait a little.
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and any(process.poll() is None for process in ranks):
        time.sleep(_LOOK)
    codes = [process.poll() for process in ranks]
    for process in ranks:
        process.kill()
    answers = [answer for process in ranks if (answer := _answer(process))]
    for answer in answers:
        kind = getattr(errors, answer["error"], None)
        if kind is not None:
            return kind(answer["message"])
    for rank, code in enumerate(codes):
        if code is not None and code < 0:
            return TrainingError(
                f"process {rank} of {len(ranks)} was ended by {signal.Signals(-code).name}, "
                "perhaps for want of memory; what was saved before is kept: go on with --resume"
            )
    said = answers[0]["message"] if answers else "it did not say why"
    return TrainingError(
        f"one of {len(ranks)} processes failed: {said}. What was saved before is kept"
    )


def _answer(process: subprocess.Popen[str]) -> dict[str, str] | None:
    """What a process that has ended said last, if it was about an error."""
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    return json.loads(lines[-1]) if lines else None
