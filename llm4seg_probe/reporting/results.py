"""A folder of results as read once: what was run, the tables that are there, the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from llm4seg_probe.config import read_yaml, validated
from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting.summaries import compared, told_apart
from llm4seg_probe.tables import CLAIMS, COMPARISON, MAPS, RANK, RUNS, SCORES, read_table

TABLES = (RUNS, SCORES, RANK, MAPS, COMPARISON, CLAIMS)


class Described(BaseModel):
    """Part of ``analysis.yaml`` that the report needs; what else stands there is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DatasetContext(Described):
    """The data as the report names them."""

    name: str
    description: str = ""
    licence: str = ""
    split: str = ""
    caveats: tuple[str, ...] = Field(
        (), description="sentences about the split that are said on every report"
    )
    counts: dict[str, int] = Field(
        default={}, description="what was counted, in words, such as 'cases' or 'test slices'"
    )


class ReportContext(Described):
    """What the tables do not say: the question, the scale, the machine, what it all rests on."""

    name: str
    title: str
    question: str
    rests_on: str = Field(description="what a reader must know before believing a verdict")
    command: str = ""
    size: str = ""
    dataset: DatasetContext
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    scale: dict[str, str | int | float] = Field(
        default={}, description="model, image size, steps and the like, in words"
    )
    machine: dict[str, str | int | float] = Field(
        default={}, description="processor, memory, versions and the like, in words"
    )


@dataclass(frozen=True)
class MapArrays:
    """Contents of ``maps.npz``: images, masks, activation maps and predictions of some test images.

    images, masks: (I, H, W) uint8; maps: (M, I, h, w) float32 in [0, 1]; predictions:
    (P, I, H, W) uint8.
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
    predictions: np.ndarray

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

    def map_place(self, arm: str, seed: int, site: str) -> int | None:
        """Which of the maps is this arm's, seed's and site's; None when there is none."""
        return _first((self.map_arm == arm) & (self.map_seed == seed) & (self.map_site == site))

    def prediction_place(self, arm: str, seed: int) -> int | None:
        """Which of the predictions is this arm's and seed's; None when there is none."""
        return _first((self.prediction_arm == arm) & (self.prediction_seed == seed))


def _first(chosen: np.ndarray) -> int | None:
    places = np.flatnonzero(chosen)
    return int(places[0]) if places.size else None


@dataclass(frozen=True)
class Results:
    """A folder of results. A table or array file that is not there, or is empty, was not run."""

    folder: Path
    context: ReportContext
    tables: dict[str, pd.DataFrame]
    arrays: MapArrays | None

    @property
    def main_score(self) -> str:
        """The segmentation score that was compared first; IoU where none was."""
        comparison = self.tables.get("comparison.csv")
        if comparison is None:
            return "iou"
        rows = compared(comparison, "scores")
        return "iou" if rows.empty else str(rows["score"].iloc[0])

    def has(self, name: str) -> bool:
        """Whether a file of this name was there and held something."""
        return self.arrays is not None if name == "maps.npz" else name in self.tables


def read_results(folder: Path) -> Results:
    """Read a folder of results.

    Raises ConfigError when ``analysis.yaml`` is missing or lacks a field, TableError when a table
    or ``maps.npz`` is there but cannot be read.
    """
    folder = Path(folder)
    description = folder / "analysis.yaml"
    context = validated(read_yaml(description), ReportContext, str(description))
    tables = {}
    for schema in TABLES:
        if (folder / schema.name).exists():
            table = read_table(folder / schema.name, schema)
            if not table.empty:
                tables[schema.name] = table
    conditions: dict[str, str] = {}
    for name in ("scores.csv", "rank.csv", "maps.csv"):
        if name in tables:
            tables[name] = told_apart(tables[name], tables.get("runs.csv"))
            conditions |= dict(zip(tables[name]["run"], tables[name]["arm"], strict=True))
    arrays = read_map_arrays(folder / "maps.npz")
    return Results(folder, context, tables, arrays and arrays.told_apart(conditions))


def read_map_arrays(path: Path) -> MapArrays | None:
    """Arrays of ``maps.npz``, or None where there is no such file or no map in it.

    Raises TableError when an array is missing, or the sizes do not fit each other.
    """
    if not path.exists():
        return None
    fields = MapArrays.__dataclass_fields__
    try:
        # Opened here, because numpy leaves a file open that turns out to be no archive.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays = MapArrays(**{name: stored[name] for name in fields})
    except KeyError as error:
        raise TableError(f"{path}: {error.args[0]}; it needs {', '.join(fields)}") from error
    except (OSError, ValueError, BadZipFile) as error:
        raise TableError(f"{path} is not a readable array file: {error}") from error
    _refuse_misfit(arrays, path)
    return arrays if len(arrays.images) and len(arrays.maps) else None


def _refuse_misfit(arrays: MapArrays, path: Path) -> None:
    """Raise TableError for an array whose shape does not fit the images, maps or predictions."""
    images = arrays.images.shape
    expected = {"image_names": images[:1], "masks": images}
    for name in ("map_run", "map_arm", "map_seed", "map_site"):
        expected[name] = arrays.maps.shape[:1]
    for name in ("prediction_run", "prediction_arm", "prediction_seed"):
        expected[name] = arrays.predictions.shape[:1]
    expected["maps"] = (*arrays.maps.shape[:1], *images[:1], *arrays.maps.shape[2:])
    expected["predictions"] = (*arrays.predictions.shape[:1], *images)
    for name, fits in expected.items():
        seen = getattr(arrays, name).shape
        if seen != fits:
            raise TableError(f"{path}: {name} has shape {seen}, but {fits} fits the others")
