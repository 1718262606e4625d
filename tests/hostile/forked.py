"""A command in a process of its own, forked from this one: what it says, takes and writes."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from corpus import FAMILIES, Materials

MOST_MEMORY_MB = 2000
_IMPORTS_MB = 600  # what a command takes before it has opened anything
MOST_SECONDS = 60.0
_WAITS = 20  # times the seconds of computing that a process may take on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    family: str
    seed: int
    command: list[str]
    code: int
    seconds: float
    memory_mb: float
    said: str
    strange: tuple[str, ...]
    """Files that the command wrote where none belongs."""

    @property
    def fault(self) -> str:
        """What is wrong with it; empty where the input was accepted or refused in one line."""
        if self.code in (-1, -signal.SIGXCPU, -signal.SIGKILL):
            return f"hangs: more than {MOST_SECONDS:g} s of computing"
        if self.code < 0:
            return f"killed by signal {-self.code}"
        if "Traceback" in self.said or "internal (" in self.said:
            return "internal error"
        if self.code not in (0, 2):
            return f"exit {self.code}"
        if self.memory_mb > MOST_MEMORY_MB:
            return f"{self.memory_mb:.0f} MB"
        if self.strange:
            return f"wrote {', '.join(self.strange)}"
        errors = [line for line in self.said.splitlines() if line.startswith("Error:")]
        if self.code == 2 and len(errors) != 1 and self.command[1] != "check":
            return f"{len(errors)} lines of error"
        if any(not (c.isprintable() or c in "\n\t\r") for c in self.said):
            return "control characters on the terminal"
        return ""


def prepare() -> None:
    """Import what the commands need, once, before processes are forked."""
    import SimpleITK  # noqa: F401
    import torch

    import llm4seg_probe.cli
    import llm4seg_probe.data.prepare.build
    import llm4seg_probe.data.quality
    import llm4seg_probe.probes.rank.table
    import llm4seg_probe.probes.result
    import llm4seg_probe.probes.similarity.table
    import llm4seg_probe.report.report
    import llm4seg_probe.statistics.audit
    import llm4seg_probe.statistics.compare
    import llm4seg_probe.study.forecast
    import llm4seg_probe.study.pipeline
    import llm4seg_probe.training.predict
    import llm4seg_probe.training.scoring
    import llm4seg_probe.training.train  # noqa: F401

    torch.set_num_threads(1)


def outcome(source: Materials, family: str, seed: int, folder: Path) -> Outcome:
    """Make the input of a family and seed in a folder, and run its command on it."""
    folder.mkdir(parents=True)
    place, out = folder / "case", folder / "out"
    place.mkdir()
    draw = random.Random(f"{family} {seed}")
    command = FAMILIES[family](source, place, draw)
    command = [str(out) if part == "OUT" else part for part in command]
    before = _files(folder)
    code, seconds, memory, said = run(command, folder)
    written = _files(folder) - before - {"said"}
    strange = tuple(
        sorted(
            name
            for name in written
            if not name.startswith(("out/", "home/", "case/run/", "case/.run.lock"))
        )
    )
    found = Outcome(family, seed, command, code, seconds, memory, said, strange)
    if not found.fault:
        shutil.rmtree(folder)
    return found


def run(command: list[str], folder: Path) -> tuple[int, float, float, str]:
    """Exit code (-1 for too long, negative for a signal), seconds, megabytes, and what it said."""
    said = folder / "said"
    started = time.monotonic()
    # A forked process begins with the pages of this one, whatever earlier tests have left in it:
    # what counts is by how much it grows.
    inherited = _resident_mb()
    child = os.fork()
    if child == 0:
        _be_the_command(command, folder, said)
    code = None
    while code is None:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
        elif time.monotonic() - started > _WAITS * MOST_SECONDS:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            code = -1
        else:
            time.sleep(0.005)
    # Computing, and not waiting: how busy the machine is says nothing about an input.
    seconds = usage.ru_utime + usage.ru_stime
    memory = _IMPORTS_MB + max(0.0, usage.ru_maxrss / 1e3 - inherited)
    return code, seconds, memory, said.read_text(errors="replace")


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024 / 1e3  # as ru_maxrss counts


def _be_the_command(command: list[str], folder: Path, said: Path) -> None:
    code = 99
    try:
        (folder / "home").mkdir()
        os.environ |= {"HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}
        os.environ["HF_HOME"] = str(folder / "home" / "hf")
        os.chdir(folder / "home")
        limit = 24 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(MOST_SECONDS), int(MOST_SECONDS) + 5))
        stream = os.open(said, os.O_CREAT | os.O_WRONLY)
        for target in (1, 2):
            os.dup2(stream, target)
        sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
        from llm4seg_probe.cli.app import app

        try:
            app(command, standalone_mode=True)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
            code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
