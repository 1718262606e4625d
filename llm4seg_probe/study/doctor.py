"""What is installed and works on this machine, and what to do about what does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from packaging.requirements import Requirement

from llm4seg_probe.storage import cache_folder

_WANTED_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``advice`` is empty where there is nothing to do."""

    what: str
    state: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at packages, devices, caches and sources; nothing is fetched or changed."""
    return [*_packages(), _torchvision(), *_devices(), _cache(), *_sources(), _hub()]


def _packages() -> Iterator[Finding]:
    yield Finding("python", sys.version.split()[0])
    for text in requires("llm4seg-probe") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "missing", f"pip install '{requirement}'")
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        yield Finding(requirement.name, found, "" if fits else f"pip install '{requirement}'")


def _torchvision() -> Finding:
    """Torchvision is not needed, but one that does not fit torch breaks what imports it."""
    if find_spec("torchvision") is None:
        return Finding("torchvision", "not installed, not needed")
    tried = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True)
    if tried.returncode == 0:
        return Finding("torchvision", f"{version('torchvision')}, not needed")
    return Finding(
        "torchvision",
        f"{version('torchvision')} does not fit torch {version('torch')}, and takes lightning and "
        "transformers down with it",
        "pip uninstall torchvision",
    )


def _devices() -> Iterator[Finding]:
    import torch

    from llm4seg_probe.sweeps.local import available_cores
    from llm4seg_probe.training.compute import keep_freed_memory

    yield Finding("cores", f"{available_cores()} for this process")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield Finding("gpu", ", ".join(names) or "none: runs use the processor")
    kept = keep_freed_memory()
    yield Finding("freed memory kept", "yes" if kept else "no: not glibc; steps are slower")


def _cache() -> Finding:
    folder = cache_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    state = f"{folder}, {free:.1f} GB free"
    if not os.access(existing, os.W_OK):
        return Finding(
            "cache", f"{state}, not writable", "set LLM4SEG_PROBE_CACHE to another folder"
        )
    if free < _WANTED_GB:
        return Finding("cache", state, f"free {_WANTED_GB:.0f} GB, or set LLM4SEG_PROBE_CACHE")
    return Finding("cache", state)


def _sources() -> Iterator[Finding]:
    from llm4seg_probe.data.catalogue import catalogue
    from llm4seg_probe.llm.catalogue import list_sources

    for entry in catalogue():
        if entry.download_mb:
            later = f"fetched when first used: {entry.download_mb:.0f} MB"
            yield Finding(f"data {entry.name}", "here" if entry.here else later)
    for source in list_sources():
        if source.cached:
            yield Finding(f"llm {source.name}", "here")
        elif source.kind == "embedded":
            yield Finding(f"llm {source.name}", "fetched when first used")


def _hub() -> Finding:
    from huggingface_hub import get_token

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Finding("hugging face", "offline (HF_HUB_OFFLINE=1): only what is cached")
    if get_token():
        return Finding("hugging face", "logged in")
    return Finding("hugging face", "not logged in: gated models need `hf auth login`")
