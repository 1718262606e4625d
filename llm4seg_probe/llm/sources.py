"""Sources of decoder layers: an embedded model, a local folder, the Hugging Face Hub.

Each gives the files of a folder in Hugging Face layout by name, and fetches one only when it is
asked for: what wants a config gets a config, what wants a layer also gets the shard that holds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llm4seg_probe.errors import SourceError, unknown
from llm4seg_probe.llm.embedded import EMBEDDED
from llm4seg_probe.reading.bounds import as_error
from llm4seg_probe.reading.names import is_plain, shown


@dataclass(frozen=True)
class HubRepository:
    """A Hub id such as ``meta-llama/Llama-3.2-1B``.

    What is cached is used as it is, without asking the Hub whether there is something newer: the
    same layer tomorrow, and with no network.
    """

    name: str

    def file(self, name: str) -> Path | None:
        """Path of one file in the cache, downloaded if need be; None where the model has none.

        Raises SourceError when the model is gated or unknown, or the Hub out of reach.
        """
        from huggingface_hub import (
            get_hf_file_metadata,
            hf_hub_download,
            hf_hub_url,
            try_to_load_from_cache,
        )
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )

        with as_error(self.name, SourceError, "no name that the Hub could have"):
            known = try_to_load_from_cache(self.name, name)
        if known is not None:
            return Path(known) if isinstance(known, str) else None
        try:
            with suppress(HfHubHTTPError):
                # Is anybody there? The download by itself would try for half a minute.
                get_hf_file_metadata(hf_hub_url(self.name, name))
            return Path(hf_hub_download(self.name, name))
        except GatedRepoError as error:
            raise SourceError(
                f"{self.name} is gated: accept its licence at https://huggingface.co/{self.name}, "
                "then log in with `hf auth login` (or set HF_TOKEN)"
            ) from error
        except RepositoryNotFoundError as error:
            raise SourceError(
                f"the Hub has no model {self.name}, or it is private: check the spelling, or log "
                "in with `hf auth login`"
            ) from error
        except EntryNotFoundError as error:
            if not isinstance(error, LocalEntryNotFoundError):
                return None
            raise SourceError(self._unreachable(name, error)) from error
        except Exception as error:  # The Hub's HTTP library, and its errors, change by version.
            raise SourceError(self._unreachable(name, error)) from error

    def _unreachable(self, name: str, error: Exception) -> str:
        reason = " ".join(str(error).split())
        return (
            f"{self.name}: {name} is not in the cache and could not be fetched ({reason}). Is "
            "there a network, and HF_HUB_OFFLINE unset? smollm2-135m needs no Hub"
        )

    def local(self, name: str) -> Path | None:
        """Path of one file if it is in the cache."""
        from huggingface_hub import try_to_load_from_cache

        with as_error(self.name, SourceError, "no name that the Hub could have"):
            path = try_to_load_from_cache(self.name, name)
        return Path(path) if isinstance(path, str) else None

    def known_sha256(self, layer: int) -> str | None:
        """None: the Hub has hashes of files, not of layers."""
        return None


SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def _folder(name: str) -> Path | None:
    """The folder of this name, None where there is none; ``~nobody`` and NUL are none."""
    try:
        path = Path(name).expanduser()
        return path if path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        return None


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
        folder = _folder(self.name)
        if folder is None or not is_plain(name):
            return None
        path = folder / name
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


_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
_ODD = re.compile(r"--|\.\.|[.-]\Z|[.-]/|\.git\Z")  # what the Hub's own rules leave out
_LONGEST = 96


_LOCAL: ContextVar[bool] = ContextVar("nothing is fetched", default=False)


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Open sources in a block without asking the Hub: what a file names is here, or refused."""
    token = _LOCAL.set(True)
    try:
        yield
    finally:
        _LOCAL.reset(token)


def open_source(name: str) -> Source:
    """The source that a name means: embedded, else a folder that exists, else a Hub id.

    Nothing is fetched yet. Raises SourceError for a name that is none of the three, and for a Hub
    id of which nothing is here where :func:`nothing_fetched` holds.
    """
    source = _meant(name)
    if not (_LOCAL.get() and isinstance(source, HubRepository)):
        return source
    if source.local("config.json") is None:
        raise SourceError(
            f"{shown(name)} is not on this machine, and opening a checkpoint fetches nothing: "
            f"bring it here with `llm4seg-probe llm fetch {shown(name)}`, if you want that"
        )
    return Here(source)


def _meant(name: str) -> Source:
    if name in EMBEDDED:
        return EMBEDDED[name]
    if _folder(name) is not None:
        return Folder(name)
    if len(name) <= _LONGEST and _HUB_ID.fullmatch(name) and not _ODD.search(name):
        return HubRepository(name)
    name = shown(name)
    if "/" in name or name.startswith((".", "~")):
        raise SourceError(f"no such folder: {name}")
    raise SourceError(
        f"{unknown('source', name, EMBEDDED)}. Or give a folder in Hugging Face layout, or a Hub "
        "id such as org/name"
    )
