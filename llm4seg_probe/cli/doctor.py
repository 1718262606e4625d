"""Check what is installed and works on this machine, and advise on what does not."""

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

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.storage import cache_folder

_WANTED_GB = 2.0


@dataclass(frozen=True)
class MachineCheck:
    """One thing that was looked at; ``advice`` is empty where there is nothing to do."""

    what: str
    state: str
    advice: str = ""


def examine() -> list[MachineCheck]:
    """Look at packages, devices, caches and sources; nothing is fetched or changed."""
    return [*_packages(), _nnunet(), _torchvision(), *_devices(), _cache(), *_sources(), _hub()]


def _packages() -> Iterator[MachineCheck]:
    yield MachineCheck("python", sys.version.split()[0])
    for text in requires("llm4seg-probe") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            yield MachineCheck(requirement.name, "missing", f"pip install '{requirement}'")
            continue
        fits = requirement.specifier.contains(installed, prereleases=True)
        yield MachineCheck(
            requirement.name, installed, "" if fits else f"pip install '{requirement}'"
        )


def _nnunet() -> MachineCheck:
    """nnU-Net is a pipeline beside ours; it takes the layer where it finds our trainers."""
    from llm4seg_probe.integrations.nnunet import installation

    found = installation.installed()
    if found is None:
        return MachineCheck(
            "nnunetv2", f"not installed, for your own nnU-Net: {installation.INSTALL}"
        )
    try:
        folder = installation.trainers_folder()
    except ConfigError as error:
        what, _, advice = str(error).rpartition(": ")
        return MachineCheck("nnunetv2", f"{found}: {what}", advice)
    pointed = os.environ.get(installation.POINTER, "").split(os.pathsep)
    if str(folder) in pointed:
        return MachineCheck("nnunetv2", f"{found}, finds the trainers (nnUNet_extTrainer)")
    return MachineCheck(
        "nnunetv2",
        f"{found}, does not look for the trainers: nnUNet_extTrainer does not name their folder",
        'export nnUNet_extTrainer="$(llm4seg-probe nnunet trainers)"',
    )


def _torchvision() -> MachineCheck:
    """Torchvision is not needed, but one that does not fit torch breaks what imports it."""
    if find_spec("nnunetv2") is not None:
        return MachineCheck("torchvision", "see nnunetv2, whose look-up of trainers imports it")
    if find_spec("torchvision") is None:
        return MachineCheck("torchvision", "not installed, not needed")
    tried = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True)
    if tried.returncode == 0:
        return MachineCheck("torchvision", f"{version('torchvision')}, not needed")
    return MachineCheck(
        "torchvision",
        f"{version('torchvision')} does not fit torch {version('torch')}, and takes lightning and "
        "transformers down with it",
        "pip uninstall torchvision",
    )


def _devices() -> Iterator[MachineCheck]:
    import torch

    from llm4seg_probe.study.engines.local import available_cores
    from llm4seg_probe.training.compute import keep_freed_memory

    yield MachineCheck("cores", f"{available_cores()} for this process")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield MachineCheck("gpu", ", ".join(names) or "none: runs use the processor")
    kept = keep_freed_memory()
    yield MachineCheck("freed memory kept", "yes" if kept else "no: not glibc; steps are slower")


def _cache() -> MachineCheck:
    folder = cache_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    state = f"{folder}, {free:.1f} GB free"
    if not os.access(existing, os.W_OK):
        return MachineCheck(
            "cache", f"{state}, not writable", "set LLM4SEG_PROBE_CACHE to another folder"
        )
    if free < _WANTED_GB:
        return MachineCheck("cache", state, f"free {_WANTED_GB:.0f} GB, or set LLM4SEG_PROBE_CACHE")
    return MachineCheck("cache", state)


def _sources() -> Iterator[MachineCheck]:
    from llm4seg_probe.data.datasets import catalogue
    from llm4seg_probe.llm.catalogue import list_sources

    for entry in catalogue():
        if entry.download_mb:
            later = f"fetched when first used: {entry.download_mb:.0f} MB"
            yield MachineCheck(f"data {entry.name}", "here" if entry.here else later)
    for source in list_sources():
        if source.cached:
            yield MachineCheck(f"llm {source.name}", "here")
        elif source.kind == "embedded":
            yield MachineCheck(f"llm {source.name}", "fetched when first used")


def _hub() -> MachineCheck:
    from huggingface_hub import get_token

    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return MachineCheck("hugging face", "offline (HF_HUB_OFFLINE=1): only what is cached")
    if get_token():
        return MachineCheck("hugging face", "logged in")
    return MachineCheck("hugging face", "not logged in: gated models need `hf auth login`")
