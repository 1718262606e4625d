"""The tensors of a layer, read by name out of safetensors files, and their hash, its identity."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from safetensors import safe_open
from torch import Tensor

from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.sources import INDEX, SINGLE, Source
from llm4seg_probe.reading.bounds import as_error
from llm4seg_probe.reading.names import is_plain
from llm4seg_probe.reading.text import read_json_object

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


_PREFIXES = ("model.", "", "model.language_model.", "language_model.model.")
_PLAIN = (torch.float32, torch.bfloat16, torch.float16)
_HARMLESS = {"self_attn.rotary_emb.inv_freq"}


def read_config(source: Source) -> dict[str, Any]:
    """Contents of the source's ``config.json``. Raises SourceError when there is none."""
    path = source.file("config.json")
    if path is None:
        raise SourceError(
            f"{source.name} holds no config.json; a decoder layer comes from a folder in Hugging "
            "Face layout: config.json beside model.safetensors, or beside its shards and index"
        )
    return _read_json(path)


def layer_numbers(layers: Sequence[int], depth: int, source: str) -> tuple[int, ...]:
    """Layer numbers from 1; negative ones count from the end.

    Raises SourceError with the valid range when one is outside it.

    >>> layer_numbers((15, -1), 30, "smollm2-135m")
    (15, 30)
    """
    if not layers:
        raise SourceError(f"no layer is named. Choose 1 to {depth} of {source}")
    for layer in layers:
        if not 1 <= abs(layer) <= depth:
            raise SourceError(
                f"layer is {layer}, but {source} has {depth} layers. Choose 1 to {depth}, "
                f"or -{depth} to -1 (`llm4seg-probe llm show {source}`)"
            )
    return tuple(layer if layer > 0 else depth + 1 + layer for layer in layers)


@dataclass(frozen=True)
class StoredWeights:
    """Where each tensor of a model is kept: its name, and the file that holds it."""

    source: Source
    files: Mapping[str, str]
    prefix: str

    def layer(self, number: int, shapes: Mapping[str, torch.Size]) -> HashedTensors:
        """Tensors of one layer (from 1) by their names in it, in the dtype of the file.

        ``shapes`` is what the config makes of the layer. Raises SourceError when the files hold
        less, more or something else.
        """
        prefix = self._prefix_of(number)
        stored = {name.removeprefix(prefix) for name in self.files if name.startswith(prefix)}
        surplus = sorted(stored - set(shapes) - _HARMLESS)
        if surplus:
            raise SourceError(
                f"{self.source.name}: layer {number} also holds {', '.join(surplus)}, of which its "
                "config.json says nothing; the two do not belong together"
            )
        read = self._read(prefix, shapes)
        known = self.source.known_sha256(number)
        if known is not None and read.sha256 != known:
            raise SourceError(
                f"layer {number} of {self.source.name} is not what was once written to the cache: "
                f"the file is damaged. Delete {self.fetch(number)[0].parent} and start again"
            )
        return read

    def fetch(self, number: int) -> list[Path]:
        """Paths of the files that hold a layer, fetched if need be."""
        return [_shard(self.source, file, f"layer {number}") for file in self._files_of(number)]

    def is_here(self, number: int) -> bool:
        """Whether the files that hold a layer are on this machine."""
        return all(self.source.local(file) is not None for file in self._files_of(number))

    def final_norm(self, shapes: Mapping[str, torch.Size]) -> HashedTensors:
        """Tensors of the norm after the last layer."""
        return self._read(f"{self.prefix}norm.", shapes)

    def unembedding(self, shape: torch.Size, *, tied: bool) -> Tensor:
        """The matrix (words, width) from the final norm to the logits; tied: the embedding's."""
        name = f"{self.prefix}embed_tokens.weight"
        if not tied:
            heads = (stored for stored in self.files if stored.endswith("lm_head.weight"))
            name = next(heads, "lm_head.weight")
        return self._read("", {name: shape}).tensors[name]

    def _prefix_of(self, number: int) -> str:
        return f"{self.prefix}layers.{number - 1}."

    def _files_of(self, number: int) -> list[str]:
        prefix = self._prefix_of(number)
        return sorted({file for name, file in self.files.items() if name.startswith(prefix)})

    def _read(self, prefix: str, shapes: Mapping[str, torch.Size]) -> HashedTensors:
        by_file: dict[str, list[str]] = {}
        for name in shapes:
            full = prefix + name
            if full not in self.files:
                raise SourceError(f"{self.source.name} lacks the tensor {full}; fetch it again")
            by_file.setdefault(self.files[full], []).append(name)
        tensors: dict[str, Tensor] = {}
        for file, names in by_file.items():
            path = _shard(self.source, file, f"{prefix}{names[0]}")
            tensors |= _read_tensors(path, prefix, names)
        for name, tensor in tensors.items():
            self._check(prefix + name, tensor, shapes[name])
        return HashedTensors.of(tensors)

    def _check(self, name: str, tensor: Tensor, shape: torch.Size) -> None:
        if tensor.shape != shape:
            raise SourceError(
                f"{self.source.name}: {name} has the shape {list(tensor.shape)}, but its "
                f"config.json makes it {list(shape)}; the two do not belong together"
            )
        if tensor.dtype not in _PLAIN:
            raise SourceError(
                f"{self.source.name}: {name} is stored as {str(tensor.dtype).split('.')[1]}; give "
                "a model whose tensors are plain float32, bfloat16 or float16"
            )


def stored_weights(source: Source) -> StoredWeights:
    """Look up which file holds which tensor: in the index of the shards, or in the single file.

    Raises SourceError when there are no safetensors, or none of a decoder's layers in them.
    """
    index = source.file(INDEX)
    if index is not None:
        files = _read_json(index).get("weight_map")
        if not isinstance(files, dict) or not all(
            isinstance(file, str) and is_plain(file) and file.endswith(".safetensors")
            for file in files.values()
        ):
            raise SourceError(
                f"{index} names no tensors, or other files than .safetensors beside it "
                "(weight_map); fetch it again"
            )
    else:
        single = source.file(SINGLE)
        if single is None:
            raise SourceError(
                f"{source.name} holds no {SINGLE} and no {INDEX}. Pickled weights "
                "(pytorch_model.bin) are not opened; save the model as safetensors"
            )
        with _opened(single) as file:
            files = dict.fromkeys(file.keys(), SINGLE)
    for prefix in _PREFIXES:
        if any(re.match(rf"{re.escape(prefix)}layers\.\d+\.", name) for name in files):
            return StoredWeights(source, files, prefix)
    raise SourceError(f"{source.name} holds no tensors named model.layers.N; is it a decoder?")


def _shard(source: Source, file: str, content: str) -> Path:
    path = source.file(file)
    if path is None:
        raise SourceError(f"{source.name} lacks {file}, which holds {content}; fetch it again")
    return path


def _read_tensors(path: Path, prefix: str, names: Sequence[str]) -> dict[str, Tensor]:
    with as_error(path, SourceError, "is not what its index says"), _opened(path) as file:
        return {name: file.get_tensor(prefix + name) for name in names}


def _opened(path: Path) -> Any:
    with as_error(path, SourceError, "is not a whole safetensors file", "fetch it again"):
        # Not by mapping the file: that reads ahead, and every page of it would count as ours.
        return safe_open(path, framework="pt", backend="pread")


def _read_json(path: Path) -> dict[str, Any]:
    return read_json_object(path, SourceError)
