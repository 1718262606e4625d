"""Check a device from end to end: numbers, bits, precisions, time and memory, within minutes.

Nothing is fetched or installed: the weights are made by a formula or drawn, and what has its files
in a checkout alone is skipped by name elsewhere. On a CPU everything is smaller.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from llm4seg_probe import progress
from llm4seg_probe.errors import first_line
from llm4seg_probe.models.devices import device_named, gpu_count
from llm4seg_probe.study.device_bench import Bench, Row, Skipped
from llm4seg_probe.study.device_measures import CHECKS
from llm4seg_probe.training.compute import computing
from llm4seg_probe.training.work import device_name

LIMIT_SECONDS = 480.0
"""After this no further check is begun; those that are left are named as skipped."""


@dataclass(frozen=True)
class DeviceReport:
    """What was found, and what was skipped and why."""

    device: str
    about: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    skipped: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def wrong(self) -> tuple[Row, ...]:
        """The numbers that are not as they should be."""
        return tuple(row for row in self.rows if row.good is False)

    @property
    def file_name(self) -> str:
        """A file name of the device's own."""
        return "".join(c if c.isalnum() else "-" for c in self.device).strip("-") + ".md"

    def markdown(self) -> str:
        """All of it as a page."""
        lines = [
            f"# {self.device}",
            "",
            "`make gpu-check`, or `llm4seg-probe doctor --device …`.",
            "",
        ]
        lines += [f"- {name}: {value}" for name, value in self.about]
        lines += ["", "| check | what | found | wanted | |", "| --- | --- | --- | --- | --- |"]
        marks = {True: "as wanted", False: "**not as wanted**", None: ""}
        for row in self.rows:
            cells = (row.check, row.what, row.value, row.wanted, marks[row.good])
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", "Skipped:" if self.skipped else "Nothing was skipped.", ""]
        lines += [f"- {name}: {why}" for name, why in self.skipped]
        lines += ["", f"It took {self.seconds:.0f} s."]
        return "\n".join(lines) + "\n"


def check_device(name: str, limit: float = LIMIT_SECONDS) -> DeviceReport:
    """Check a device, ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises ConfigError for one that this machine does not have.
    """
    device = device_named(name)
    began = time.monotonic()
    rows: list[Row] = []
    skipped: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as folder, _exact():
        bench = Bench(device, device.type == "cpu", Path(folder))
        for check, measure in CHECKS.items():
            if time.monotonic() - began > limit:
                skipped.append((check, f"{limit:.0f} s were over"))
                continue
            progress.say(f"{check} …")
            try:
                with computing(bench.config("cnn").compute):
                    rows += [_named(check, row) for row in measure(bench)]
            except Skipped as reason:
                skipped.append((check, str(reason)))
            except Exception as error:  # of whatever kind: the other checks are made all the same
                text = f"{type(error).__name__}: {first_line(error)}".replace("|", "/")
                rows.append(Row(check, "went wrong", text, "no error", good=False))
    seconds = time.monotonic() - began
    return DeviceReport(device_name(device), _about(device), tuple(rows), tuple(skipped), seconds)


def _named(check: str, row: Row) -> Row:
    return Row(check, row.what, row.value, row.wanted, row.good)


def _about(device: torch.device) -> tuple[tuple[str, str], ...]:
    found = [("torch", torch.__version__), ("python", platform.python_version())]
    found.append(("system", f"{platform.system()} {platform.machine()}"))
    if device.type == "cuda":
        of_card = torch.cuda.get_device_properties(device)
        found.append(("CUDA", str(torch.version.cuda)))
        found.append(("memory", f"{of_card.total_memory / 1e9:.1f} GB"))
        found.append(("cards", str(gpu_count())))
    else:
        found.append(("setting", "smaller than the published one, as on every CPU"))
    return tuple(found)


@contextmanager
def _exact() -> Iterator[None]:
    """Products and convolutions in float32 alone, without TF32, for as long as a block runs."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
