"""Files of a model on the Hugging Face Hub, fetched one by one into the Hub's own cache."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm4seg_probe.errors import SourceError


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

        found = try_to_load_from_cache(self.name, name)
        return Path(found) if isinstance(found, str) else None

    def known_sha256(self, layer: int) -> str | None:
        """None: the Hub has hashes of files, not of layers."""
        return None
