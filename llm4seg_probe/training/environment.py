"""The making of a run: versions, machine, commit, wall time, peak memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llm4seg_probe.errors import TrainingError
from llm4seg_probe.reading.text import read_json_object

_PACKAGES = ("llm4seg-probe", "torch", "transformers", "lightning", "monai", "numpy", "scipy")


ENVIRONMENT = "environment.json"
_NEEDED = (
    *("python", "packages", "processor", "cores", "gpu", "commit"),
    *("wall_seconds", "peak_memory_mb"),
)


def environment() -> dict[str, Any]:
    """Versions, machine and commit as plain values."""
    import torch

    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": processor(),
        "kernels": kernels(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "commit": _commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def read_environment(run: Path) -> dict[str, Any]:
    """What a finished run's folder says of where it was made. Raises TrainingError."""
    path = run / ENVIRONMENT
    found = read_json_object(path, TrainingError)
    missing = [name for name in _NEEDED if name not in found]
    if missing or not isinstance(found.get("packages"), dict):
        raise TrainingError(
            f"{path}: lacks {', '.join(missing) or 'the versions of packages'}; delete the file, "
            "and the run is made again"
        )
    return found


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, in megabytes; NaN where unknown."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = [line.split(":", 1)[1].strip() for line in stream if "model name" in line]
        if names:
            return names[0]
    except OSError:
        pass
    return platform.processor() or platform.machine()


_KERNEL_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")


def kernels() -> str:
    """Instructions that torch computes with on the CPU, and what limits them by the environment.

    Other kernels round otherwise, which is in effect another seed.
    """
    import torch

    limits = [f"{name}={os.environ[name]}" for name in _KERNEL_LIMITS if os.environ.get(name)]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *limits])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
