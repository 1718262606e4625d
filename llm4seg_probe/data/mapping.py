"""Tensors that are too large for memory and used in parts: in files that are mapped into it."""

from __future__ import annotations

import tempfile

import torch
from torch import Tensor

from llm4seg_probe.storage import cache_folder


def on_disk(tensor: Tensor) -> Tensor:
    """The same values, read from disk where they are looked at.

    The file lies in the cache folder without a name, so that its space is free again with the
    tensor, or when the process ends in any way. Raises OSError where the disk is full.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="mapped-") as file:
        file.write(tensor.contiguous().flatten().numpy().data)
        file.flush()
        mapped = torch.from_file(file.name, size=tensor.numel(), dtype=tensor.dtype)
    return mapped.view(tensor.shape)
