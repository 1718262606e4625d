"""Randomness with an address: a seed is a pure function of what it is for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def address(*parts: int | str) -> int:
    """Seed in [0, 2**63) for one use of randomness, such as ``address(seed, "adapters")``.

    Equal parts give equal seeds on every machine; different parts give unrelated ones.

    >>> address(0, "cnn") == address(0, "cnn"), address(0, "cnn") == address(1, "cnn")
    (True, False)
    """
    text = json.dumps(parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """CPU generator seeded with :func:`address` of the parts."""
    import torch

    return torch.Generator().manual_seed(address(*parts))


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Run a block under the global torch seed of an address, and put the global state back.

    For code that draws from the global generator only, such as the initialisers of
    ``torch.nn`` modules.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that resets the generators of GPUs, too, which are not put back.
        torch.default_generator.manual_seed(address(*parts))
        yield
