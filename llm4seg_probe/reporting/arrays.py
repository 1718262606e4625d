"""The arrays behind the explorer: how they are stored small, and what they are when read.

A file holds the images of one set of runs that saw the same ones: ``maps.npz``, and ``maps-2.npz``
and so on where a study has several such sets (other data, another split).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from llm4seg_probe.errors import TableError

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

        def renamed(runs: np.ndarray, arms: np.ndarray) -> np.ndarray:
            pairs = zip(runs.tolist(), arms.tolist(), strict=True)
            return np.array([conditions.get(run, arm) for run, arm in pairs])

        return replace(
            self,
            map_arm=renamed(self.map_run, self.map_arm),
            prediction_arm=renamed(self.prediction_run, self.prediction_arm),
        )

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
    try:
        # Opened here, because numpy leaves a file open that turns out to be no archive.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            names = [name if name in stored.files else _EARLIER.get(name, name) for name in _STORED]
            found = packed({name: stored[name] for name in names})
    except KeyError as error:
        raise TableError(f"{path}: {error.args[0]}; it needs {', '.join(_STORED)}") from error
    except (OSError, ValueError, BadZipFile) as error:
        raise TableError(f"{path} is not a readable array file: {error}") from error
    maps = (found.pop("map_levels") / np.float32(LEVELS)).astype(np.float32)
    arrays = MapArrays(**found, maps=maps)
    _refuse_misfit(arrays, path)
    return arrays if len(arrays.images) and len(arrays.maps) else None


def array_files(folder: Path) -> list[Path]:
    """The array files of a folder of results, ``maps.npz`` first."""

    def number(path: Path) -> int:
        found = re.fullmatch(r"maps-(\d+)\.npz", path.name)
        return int(found[1]) if found else 0

    others = [path for path in folder.glob("maps-*.npz") if number(path)]
    return [folder / NAME, *sorted(others, key=number)] if (folder / NAME).exists() else []


def _first(chosen: np.ndarray) -> int | None:
    places = np.flatnonzero(chosen)
    return int(places[0]) if places.size else None


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
