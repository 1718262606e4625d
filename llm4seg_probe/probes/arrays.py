"""The arrays behind the explorer: how they are stored small, and what they are when read.

A file holds the images of one set of runs that saw the same ones: ``maps.npz``, and ``maps-2.npz``
and so on where a study has several such sets (other data, another split).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llm4seg_probe.errors import DataError, TableError
from llm4seg_probe.reading.arrays import read_npz
from llm4seg_probe.reading.bounds import as_error
from llm4seg_probe.reading.names import is_own, own_files
from llm4seg_probe.storage import atomically

NAME = "maps.npz"
LONGEST_SIDE = 128
"""Pixels of a thumbnail: enough to see what is there, small enough for a hundred runs."""
LEVELS = 65535
"""Steps of a stored map from its least to its most."""

_MAP_KEYS = ("map_run", "map_arm", "map_seed", "map_site")
_PREDICTION_KEYS = ("prediction_run", "prediction_arm", "prediction_seed")
_STORED = (
    *("image_names", "images", "masks"),
    *(*_MAP_KEYS, "map_levels"),
    *(*_PREDICTION_KEYS, "prediction_bits"),
)
_KINDS: dict[str, tuple[str, int]] = {
    "image_names": ("U", 1),
    "images": ("bu", 3),
    "masks": ("biu", 3),
    **dict.fromkeys(("map_run", "map_arm", "map_site"), ("U", 1)),
    **dict.fromkeys(("prediction_run", "prediction_arm"), ("U", 1)),
    **dict.fromkeys(("map_seed", "prediction_seed"), ("iu", 1)),
    "map_levels": ("uf", 4),
    "prediction_bits": ("biu", 4),
}
"""Kinds of type, and axes, of each stored array, in its present form or its earlier one."""
_EARLIER = {"map_levels": "maps", "prediction_bits": "predictions"}


@dataclass(frozen=True)
class MapArrays:
    """Images, masks, activation maps and predictions of some test images.

    images: (I, h', w') uint8 thumbnails; masks: (I, H, W) uint8; maps: (M, I, h, w) float32 in
    [0, 1], NaN nowhere; prediction_bits: (P, I, H, ceil(W / 8)) uint8, the foreground of each
    prediction as :func:`numpy.packbits` packs its rows.
    """

    image_names: np.ndarray
    images: np.ndarray
    masks: np.ndarray
    map_run: np.ndarray
    map_arm: np.ndarray
    map_seed: np.ndarray
    map_site: np.ndarray
    maps: np.ndarray
    prediction_run: np.ndarray
    prediction_arm: np.ndarray
    prediction_seed: np.ndarray
    prediction_bits: np.ndarray

    @property
    def first_seed(self) -> int:
        """The lowest seed: which one is shown when nobody chooses."""
        return int(self.map_seed.min())

    def told_apart(self, conditions: Mapping[str, str]) -> MapArrays:
        """The same arrays with the arm of each run as the tables name it, by the run's name."""
        return replace(self, **with_conditions(_of_runs(vars(self)), conditions))

    def at_base(self, most: int) -> MapArrays:
        """Without the maps of conditions that deviate, where there are more than so many."""
        kept = np.array(["[" not in arm for arm in self.map_arm.tolist()], dtype=bool)
        if len(set(self.map_arm.tolist())) <= most or not kept.any():
            return self
        return replace(self, **{name: getattr(self, name)[kept] for name in ("maps", *_MAP_KEYS)})

    def map_place(self, arm: str, seed: int, site: str) -> int | None:
        """Which of the maps is this arm's, seed's and site's; None when there is none."""
        return _first((self.map_arm == arm) & (self.map_seed == seed) & (self.map_site == site))

    def prediction_place(self, arm: str, seed: int) -> int | None:
        """Which of the predictions is this arm's and seed's; None when there is none."""
        return _first((self.prediction_arm == arm) & (self.prediction_seed == seed))

    def prediction(self, place: int, image: int) -> np.ndarray:
        """The foreground of one prediction of one image: (H, W), boolean."""
        width = self.masks.shape[2]
        bits: np.ndarray = np.unpackbits(self.prediction_bits[place, image], axis=-1, count=width)
        return bits.astype(bool)


def _of_runs(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the arrays that say of which run and arm others are."""
    return {name: array for name, array in arrays.items() if name.endswith(("_run", "_arm"))}


def with_conditions(
    arrays: Mapping[str, np.ndarray], conditions: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The arrays with the arm of each run as the tables name it, by the run's name.

    Every ``…_arm`` follows its ``…_run``; a run without a condition keeps its arm.
    """
    found = dict(arrays)
    for name in arrays:
        kind = name.removesuffix("_arm")
        if kind != name and f"{kind}_run" in arrays:
            pairs = zip(arrays[f"{kind}_run"].tolist(), arrays[name].tolist(), strict=True)
            found[name] = np.array([conditions.get(run, arm) for run, arm in pairs])
    return found


SHARED = ("image_names", "images", "masks", "queries", "query_tokens")
"""Arrays of the images, which are the same for every run that saw them."""


def merged(of_runs: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of several runs as one set: what is of the images once, the rest in a row.

    Raises DataError when the runs do not show the same images, or not on grids of one size.
    """
    first = of_runs[0]
    for other in of_runs[1:]:
        alike = np.array_equal(first.get("image_names", 0), other.get("image_names", 0))
        if not alike or any(
            first[name].shape[1:] != other[name].shape[1:] for name in first if name not in SHARED
        ):
            raise DataError(
                f"runs {_run_name(first)} and {_run_name(other)} have different test images or "
                "sizes of images or grids, so their maps cannot stand side by side; give runs of "
                "one split and image size, or --data"
            )
    shared = {name: first[name] for name in SHARED if name in first}
    others = [name for name in first if name not in SHARED]
    return shared | {name: np.concatenate([each[name] for each in of_runs]) for name in others}


def _run_name(arrays: Mapping[str, np.ndarray]) -> str:
    return next((str(runs[0]) for name, runs in arrays.items() if name.endswith("_run")), "?")


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Write arrays, plain types only, to one file."""
    with atomically(path) as partial:
        np.savez_compressed(partial, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a file; nothing in it is unpickled."""
    return read_npz(path, TableError)


def packed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A gallery as it is stored: thumbnails, maps in 65,535 steps, predictions as bits.

    arrays: as :func:`probing.gallery.gallery_arrays` makes them, or packed already.
    """
    found = dict(arrays)
    if "maps" in found:
        levels = np.nan_to_num(found.pop("maps")).clip(0, 1) * LEVELS
        found["map_levels"] = levels.round().astype(np.uint16)
    if "predictions" in found:
        found["prediction_bits"] = np.packbits(found.pop("predictions") > 0, axis=-1)
    step = max(1, -(-max(found["images"].shape[1:]) // LONGEST_SIDE))
    found["images"] = found["images"][:, ::step, ::step]
    return found


def read_map_arrays(path: Path) -> MapArrays | None:
    """Arrays of one file, or None where there is no such file or no map in it.

    Files of the earlier form, with ``maps`` as numbers and ``predictions`` as labels, are read
    too. Raises TableError when an array is missing, or the sizes do not fit each other.
    """
    if not path.exists():
        return None
    stored = read_npz(path, TableError)
    for wanted in _STORED:
        name = _stored_as(wanted, stored)
        if name not in stored:
            raise TableError(f"{path}: {name} is not in it; it needs {', '.join(_STORED)}")
        _refuse_kind(stored[name], wanted, path)
    with as_error(path, TableError, "is not a readable array file"):
        arrays = map_arrays(stored)
        _refuse_misfit(arrays, path)
    return arrays if len(arrays.images) and len(arrays.maps) else None


def map_arrays(stored: Mapping[str, np.ndarray]) -> MapArrays:
    """The arrays of a gallery as they are stored, now or earlier. Raises KeyError for one missing.

    stored: may hold further ones.
    """
    names = [_stored_as(name, stored) for name in _STORED]
    found = packed({name: stored[name] for name in names})
    maps = (found.pop("map_levels") / np.float32(LEVELS)).astype(np.float32)
    return MapArrays(**found, maps=maps)


def _stored_as(name: str, stored: Mapping[str, np.ndarray]) -> str:
    """The name under which an array is stored: its own, or its earlier one."""
    return name if name in stored else _EARLIER.get(name, name)


def array_files(folder: Path) -> list[Path]:
    """The array files of a folder of results, ``maps.npz`` first; links are passed over."""

    def number(path: Path) -> int:
        found = re.fullmatch(r"maps-(\d+)\.npz", path.name)
        return int(found[1]) if found else 0

    others = [path for path in own_files(folder, "maps-*.npz") if number(path)]
    first = folder / NAME
    return [first, *sorted(others, key=number)] if is_own(first, folder) else []


def _first(chosen: np.ndarray) -> int | None:
    places = np.flatnonzero(chosen)
    return int(places[0]) if places.size else None


def _refuse_kind(array: np.ndarray, name: str, path: Path) -> None:
    """Raise TableError for an array of another kind or number of axes than its name says."""
    kinds, axes = _KINDS[name]
    if array.dtype.kind not in kinds or array.ndim != axes:
        raise TableError(
            f"{path}: {name} holds {array.ndim} axes of type {array.dtype}; {axes} axes of "
            f"{'text' if kinds == 'U' else 'numbers'} are expected"
        )


def _refuse_misfit(arrays: MapArrays, path: Path) -> None:
    """Raise TableError for an array whose shape does not fit the images, maps or predictions."""
    masks = arrays.masks.shape
    expected = {
        "image_names": masks[:1],
        "images": (*masks[:1], *arrays.images.shape[1:]),
        "maps": (*arrays.maps.shape[:1], *masks[:1], *arrays.maps.shape[2:]),
        "prediction_bits": (
            *arrays.prediction_bits.shape[:1],
            *masks[:2],
            *(-(-width // 8) for width in masks[2:]),
        ),
    }
    expected |= dict.fromkeys(_MAP_KEYS, arrays.maps.shape[:1])
    expected |= dict.fromkeys(_PREDICTION_KEYS, arrays.prediction_bits.shape[:1])
    for name, fits in expected.items():
        seen = getattr(arrays, name).shape
        if seen != fits:
            raise TableError(f"{path}: {name} has shape {seen}, but {fits} fits the others")
