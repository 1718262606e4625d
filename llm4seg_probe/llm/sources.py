"""Sources of decoder layers: an embedded model, a local folder, the Hugging Face Hub.

Each gives the files of a folder in Hugging Face layout by name, and fetches one only when it is
asked for: what wants a config gets a config, what wants a layer also gets the shard that holds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llm4seg_probe.errors import SourceError, unknown
from llm4seg_probe.llm.embedded import EMBEDDED
from llm4seg_probe.llm.hub import HubRepository

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Source(Protocol):
    """Files in Hugging Face layout, by name."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def file(self, name: str) -> Path | None:
        """Path of one file, fetched if need be; None where the source has no such file."""

    def local(self, name: str) -> Path | None:
        """Path of one file if it is on this machine; nothing is fetched."""

    def known_sha256(self, layer: int) -> str | None:
        """Hash that a layer (from 1) must have, where that was written down."""


@dataclass(frozen=True)
class Folder:
    """A local folder."""

    name: str

    def file(self, name: str) -> Path | None:
        """Path of a file in the folder, or None."""
        path = Path(self.name).expanduser() / name
        return path if path.is_file() else None

    def local(self, name: str) -> Path | None:
        """The same: all of it is here."""
        return self.file(name)

    def known_sha256(self, layer: int) -> str | None:
        """None: nobody wrote it down."""
        return None


@dataclass(frozen=True)
class Here:
    """What is on this machine already of another source."""

    source: Source

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    def file(self, name: str) -> Path | None:
        """Path of one file if it is on this machine."""
        return self.source.local(name)

    def local(self, name: str) -> Path | None:
        """The same."""
        return self.source.local(name)

    def known_sha256(self, layer: int) -> str | None:
        """What the source knows."""
        return self.source.known_sha256(layer)


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def open_source(name: str) -> Source:
    """The source that a name means: embedded, else a folder that exists, else a Hub id.

    Nothing is fetched yet. Raises SourceError for a name that is none of the three.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]
    if Path(name).expanduser().is_dir():
        return Folder(name)
    if _HUB_ID.fullmatch(name):
        return HubRepository(name)
    if "/" in name or name.startswith((".", "~")):
        raise SourceError(f"no such folder: {name}")
    raise SourceError(
        f"{unknown('source', name, EMBEDDED)}. Or give a folder in Hugging Face layout, or a Hub "
        "id such as org/name"
    )
