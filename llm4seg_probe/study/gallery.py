"""The arrays behind the galleries: the same images for every run, their maps one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llm4seg_probe.errors import DataError
from llm4seg_probe.reporting.arrays import NAME, array_files, packed
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


def by_images(galleries: Sequence[Arrays]) -> list[list[Arrays]]:
    """The galleries in sets whose images, sizes and grids are the same, in order of appearance."""
    found: dict[tuple[object, ...], list[Arrays]] = {}
    for arrays in galleries:
        shapes = (arrays["masks"].shape[1:], arrays["map_levels"].shape[2:])
        key = (tuple(arrays["image_names"].tolist()), arrays["masks"].tobytes(), *shapes)
        found.setdefault(key, []).append(arrays)
    return list(found.values())


def write_gallery(galleries: Sequence[Arrays], out: Path) -> Path:
    """Write the merged galleries, small as :func:`packed` makes them: ``maps.npz``.

    Runs that saw other images (other data, another split) have files of their own, ``maps-2.npz``
    and so on; files of an earlier time are removed. Returns the path of the first.
    """
    sets = by_images([packed(arrays) for arrays in galleries])
    paths = [out / NAME, *(out / f"maps-{number}.npz" for number in range(2, len(sets) + 1))]
    for path, of_set in zip(paths, sets, strict=True):
        with atomically(path) as partial:
            np.savez_compressed(partial, allow_pickle=False, **merged(of_set))
    for stale in set(array_files(out)) - set(paths):
        stale.unlink()
    return paths[0]


def read_gallery(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a gallery; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
