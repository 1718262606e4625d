"""Train in several processes: start them, watch them, and be one of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm4seg_probe import errors, progress
from llm4seg_probe.config import ComputeConfig, Config
from llm4seg_probe.errors import ConfigError, TrainingError, UserError


def main() -> int:
    """Train as the line on standard input says; the exit status."""
    # Ctrl-C reaches all processes of a terminal; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if os.environ["LOCAL_RANK"] != "0" or os.environ["NODE_RANK"] != "0":
        progress.mute()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            train_share(job)
    except UserError as error:
        return _say(type(error).__name__, str(error))
    except Exception as error:
        traceback.print_exc()
        return _say("", f"{type(error).__name__}: {error}")
    return 0


def job_of(config: Config, split: dict[str, Any], out: Path, **options: bool) -> dict[str, Any]:
    """The arguments of :func:`train_share` as plain values."""
    values = config.model_dump(mode="json")
    return {"config": values, "split": split, "out": str(out.resolve()), **options}


def train_share(job: dict[str, Any]) -> None:
    """Do this process's part of a training. Raises UserErrors."""
    from llm4seg_probe.data.datasets import open_collection
    from llm4seg_probe.data.splits import Split
    from llm4seg_probe.models.network import build_network
    from llm4seg_probe.training.compute import computing, failures_named, in_memory_format
    from llm4seg_probe.training.loop import fit_network

    config = Config.model_validate(job["config"])
    with computing(config.compute), failures_named(config):
        fit_network(
            config,
            in_memory_format(build_network(config), config),
            open_collection(config.data.name, classes=config.data.classes),
            Split.from_dict(job["split"]),
            Path(job["out"]),
            resume=job["resume"],
            embed_layer=job["embed_layer"],
        )


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _say(error: str, message: str) -> int:
    print(json.dumps({"error": error, "message": " ".join(message.split())}), flush=True)
    return 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Not sys.exit, which would wait for the thread that reads standard input.
    os._exit(status)


_OF_THE_MACHINES = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_PATIENCE, _LOOK = 5.0, 0.1
"""Seconds that the other processes have when one has failed, and between two looks at them."""


def node_rank(compute: ComputeConfig) -> int:
    """The number of this machine among several, from 0.

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

    ``job`` are the plain values that a process reads. When one process
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
    command = [sys.executable, "-P", "-m", "llm4seg_probe.training.distributed"]
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
