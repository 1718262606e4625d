"""The arrays behind the galleries: the same images for every run, their maps one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llm4seg_probe.errors import DataError
from llm4seg_probe.storage import atomically

Arrays = Mapping[str, np.ndarray]

_SHARED = ("image_names", "images", "masks")


def merged(galleries: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """One gallery out of those of several runs.

    Raises DataError when the runs do not show the same images.
    """
    first = galleries[0]
    for other in galleries[1:]:
        if not np.array_equal(first["image_names"], other["image_names"]):
            raise DataError(
                "the runs have different test images, so their maps cannot stand side by side; "
                "give runs of one split, or --data"
            )
    joined = {name: first[name] for name in _SHARED}
    for name in first:
        if name not in _SHARED:
            joined[name] = np.concatenate([arrays[name] for arrays in galleries])
    return joined


def write_gallery(galleries: Sequence[Arrays], out: Path) -> Path:
    """Write the merged gallery as ``maps.npz``."""
    target = out / "maps.npz"
    with atomically(target) as partial:
        np.savez_compressed(partial, allow_pickle=False, **merged(galleries))
    return target


def read_gallery(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a gallery; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
