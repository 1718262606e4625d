"""The identity of a decoder layer: source, number and the hash of its tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

Weights = Literal["pretrained", "random", "shuffled"]


@dataclass(frozen=True)
class LayerIdentity:
    """The record that a checkpoint holds in place of a frozen layer's weights.

    ``layers`` count from 1; ``depth`` is how many the source has. ``sha256`` is of the tensors
    as they were read or made, before any change of precision: for pre-trained weights it is the
    hash that ``llm4seg-probe llm show`` prints.
    """

    source: str
    layers: tuple[int, ...]
    weights: Weights
    architecture: str
    width: int
    depth: int
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or YAML."""
        return {**asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The identity from what :meth:`to_dict` gave."""
        return cls(**{**values, "layers": tuple(values["layers"])})


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the sorted names, with each tensor's dtype, shape and bytes.

    >>> a, b = torch.zeros(2), torch.ones(3)
    >>> sha256_of_tensors({"a": a, "b": b}) == sha256_of_tensors({"b": b, "a": a})
    True
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class HashedTensors:
    """Tensors of one layer, or of a norm, with the hash that :func:`sha256_of_tensors` gives."""

    tensors: dict[str, Tensor]
    sha256: str

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Self:
        """Hash the tensors."""
        return cls(tensors, sha256_of_tensors(tensors))


def joint_sha256(hashes: Sequence[str]) -> str:
    """Hash of several layers from theirs, in the order in which they run; one stays as it is."""
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
