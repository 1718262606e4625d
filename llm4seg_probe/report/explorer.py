"""The explorer of cases: which cases it shows, and their data."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import arm_style, in_order
from llm4seg_probe.drawing.table_rows import by_case, measured, on_test_split, one_kind_of_map
from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.probes.arrays import LEVELS, MapArrays
from llm4seg_probe.probes.maps.gallery_figure import COLOURS
from llm4seg_probe.randomness import address
from llm4seg_probe.report.results import Results

DOZEN = 12
ONE_FILE = 3_500_000
"""Most characters of maps and predictions in a page of one file; a folder's page has no limit."""
NAMED = "Named"
MEDIAN = "Median difference"
APART = "Where the arms differ most"
CHANCE = "Drawn at random"


@dataclass(frozen=True)
class Case:
    """One case of the explorer: its place in the arrays, its name, and why it is there."""

    place: int
    name: str
    why: str


def chosen_cases(results: Results, arrays: MapArrays, named: Sequence[str]) -> list[Case]:
    """The cases of one set of images, each once, in the order in which they are shown.

    Those named; the one on which the two conditions shown first differ by the median; a dozen on
    which any conditions differ most; a dozen drawn at random, which are the ones of lowest
    address, so that every page draws the same.
    """
    there = [str(name) for name in arrays.image_names]
    places = {name: place for place, name in enumerate(there)}
    by_chance = sorted(there, key=lambda name: address("explorer", name))[:DOZEN]
    groups = (
        (NAMED, [name for name in named if name in places]),
        (MEDIAN, _median(results, arrays, there)),
        (APART, _apart(results, arrays, there)[:DOZEN]),
        (CHANCE, by_chance),
    )
    found: dict[str, str] = {}
    for why, names in groups:
        for name in names:
            found.setdefault(name, why)
    return [Case(places[name], name, why) for name, why in found.items()]


def refuse_unknown_cases(results: Results, named: Sequence[str]) -> None:
    """Raise TableError for a case that no array file holds, with the nearest that there are."""
    there = [str(name) for arrays in results.galleries for name in arrays.image_names]
    for name in named:
        if name not in there:
            few = sorted(there, key=lambda other: address("explorer", other))
            near = unknown("case", name, dict.fromkeys(there)).partition(" Valid:")[0]
            raise TableError(
                f"{results.folder}: {near} The explorer can show {len(set(there))} cases, such as "
                f"{', '.join(few[:3])}"
                if there
                else f"{results.folder} holds no maps.npz, so the explorer has no cases to show"
            )


def shown_first(arms: Sequence[str]) -> tuple[str, str]:
    """The two conditions that the explorer opens with: the language model's arm and the CNN.

    >>> shown_first(["cnn", "llm", "mlp"]), shown_first(["mlp", "adapters"])
    (('llm', 'cnn'), ('adapters', 'mlp'))
    """
    return "llm" if "llm" in arms else arms[-1], "cnn" if "cnn" in arms else arms[0]


def _means(results: Results, arrays: MapArrays, there: Sequence[str]) -> pd.DataFrame | None:
    """Mean score over seeds of each stored case, by condition; None where there is none."""
    scores = results.tables.get("scores.csv")
    if scores is None:
        return None
    rows = on_test_split(scores)
    rows = rows[rows["run"].isin(set(arrays.prediction_run.tolist())) & rows["image"].isin(there)]
    return None if rows.empty else by_case(rows, results.main_score)


def _median(results: Results, arrays: MapArrays, there: Sequence[str]) -> list[str]:
    """Name of the case with the median difference between the two conditions shown first."""
    means = _means(results, arrays, there)
    if means is None:
        return []
    one, other = shown_first(in_order(arrays.prediction_arm.tolist()))
    if one not in means or other not in means:
        return []
    ordered = (means[one] - means[other]).dropna().sort_values(kind="stable")
    return [str(ordered.index[len(ordered) // 2][0])] if len(ordered) else []


def _apart(results: Results, arrays: MapArrays, there: Sequence[str]) -> list[str]:
    """Names of the cases, the largest difference between the means of two conditions first."""
    means = _means(results, arrays, there)
    if means is None:
        return []
    spread: pd.Series = means.max(axis=1) - means.min(axis=1)
    ordered = spread[spread > 0].sort_values(ascending=False, kind="stable")
    return [str(image) for image, _ in ordered.index]


DIVERGING = "PuOr_r"
"""Colour map of differences: orange where the first is more, purple where the second is."""


def explorer_data(
    results: Results, named: Sequence[str] = (), most: float = inf
) -> dict[str, Any] | None:
    """Everything that the case browser draws, ready for JSON; None without arrays.

    Images are bytes in base64, row by row; maps 16-bit numbers, low byte first, of which 65,535 is
    the map's most; masks and predictions lengths of runs, see :func:`run_lengths`. The numbers are
    those of ``scores.csv`` and ``maps.csv``, null where the table has no such row. named: cases
    that are shown whatever else is; raises TableError for one that is not there. most: characters
    of maps and predictions; where those of all seeds are more, only the first seeds that fit are
    there, one at least, and ``left_out`` counts the others.
    """
    refuse_unknown_cases(results, named)
    if not results.galleries:
        return None
    names = _set_names(results)
    sets = [
        _set(results, arrays, name, chosen_cases(results, arrays, named))
        for arrays, name in zip(results.galleries, names, strict=True)
    ]
    seeds = sorted({seed for images in sets for seed in images["seeds"]})
    kept = _seeds_that_fit(sets, seeds, most)
    return {
        "colours": _colours(COLOURS),
        "diverging": _colours(DIVERGING),
        "planes": len(results.context.config.data.image_size) == 3,
        "sets": sets if kept == seeds else [_of_seeds(images, kept) for images in sets],
        "left_out": len(seeds) - len(kept),
    }


_BY_SEED = ("maps", "predictions", "iou", "activation")
"""What of a set of images is there for each condition and seed, by ``condition|seed``."""


def _seed_of(key: str) -> int:
    return int(key.split("|")[1])


def _seeds_that_fit(
    sets: Sequence[Mapping[str, Any]], seeds: Sequence[int], most: float
) -> list[int]:
    """The first seeds whose maps and predictions have no more characters than these."""
    each: Counter[int] = Counter()
    for images in sets:
        for kind in ("maps", "predictions"):
            for key, texts in images[kind].items():
                each[_seed_of(key)] += sum(map(len, texts))
    taken = accumulate(each[seed] for seed in seeds)
    count = sum(length <= most for length in taken)
    return list(seeds[: max(1, count)])


def _of_seeds(images: dict[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """A set of images with the maps, predictions and numbers of some seeds."""
    parts = {
        kind: {key: value for key, value in images[kind].items() if _seed_of(key) in seeds}
        for kind in _BY_SEED
    }
    return {**images, **parts, "seeds": [seed for seed in images["seeds"] if seed in seeds]}


def run_lengths(mask: np.ndarray) -> bytes:
    """A mask as lengths of runs of equal pixels, row by row, those of background first.

    Each length is written in sevens of bits, the low ones first; the high bit of a byte says that
    the length goes on.

    >>> list(run_lengths(np.array([[0, 0, 1], [1, 1, 0]]))), list(run_lengths(np.ones((1, 300))))
    ([2, 3, 1], [0, 172, 2])
    """
    flat = (np.asarray(mask) > 0).ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    bounds = [0, *([0] if flat.size and flat[0] else []), *ends.tolist(), flat.size]
    found = bytearray()
    for length in np.diff(bounds).tolist():
        while length > 127:
            found.append(length & 127 | 128)
            length >>= 7
        found.append(length)
    return bytes(found)


def _set(results: Results, arrays: MapArrays, name: str, cases: Sequence[Case]) -> dict[str, Any]:
    places = [case.place for case in cases]
    images = [case.name for case in cases]
    arms = in_order([*arrays.prediction_arm.tolist(), *arrays.map_arm.tolist()])
    sites = list(dict.fromkeys(arrays.map_site.tolist()))
    runs = set(arrays.prediction_run.tolist()) | set(arrays.map_run.tolist())
    return {
        "name": name,
        "cases": [{"name": case.name, "why": case.why} for case in cases],
        "size": list(arrays.masks.shape[1:]),
        "thumbnail": list(arrays.images.shape[1:]),
        "grid": list(arrays.maps.shape[2:]),
        "arms": [{"name": arm, "label": arm_style(arm).label} for arm in arms],
        "pair": list(shown_first(arms)),
        "seeds": sorted({int(seed) for seed in [*arrays.map_seed, *arrays.prediction_seed]}),
        "sites": [{"name": site, "label": labels.site(site)} for site in sites],
        "images": [_base64(arrays.images[place].tobytes()) for place in places],
        "masks": [_base64(run_lengths(arrays.masks[place])) for place in places],
        "maps": {
            f"{arm}|{seed}|{site}": [_levels(maps[place]) for place in places]
            for arm, seed, site, maps in zip(
                arrays.map_arm, arrays.map_seed, arrays.map_site, arrays.maps, strict=True
            )
        },
        "predictions": {
            f"{arm}|{seed}": [
                _base64(run_lengths(arrays.prediction(row, place))) for place in places
            ]
            for row, (arm, seed) in enumerate(
                zip(arrays.prediction_arm, arrays.prediction_seed, strict=True)
            )
        },
        "iou": _numbers(results.tables.get("scores.csv"), runs, images, by_site=False),
        "activation": _numbers(results.tables.get("maps.csv"), runs, images, by_site=True),
    }


def _set_names(results: Results) -> list[str]:
    """The data set of each set of images, with what all its runs share where that is not enough."""
    datasets = [
        results.dataset_of.get(str(arrays.map_run[0]), results.context.dataset.name)
        for arrays in results.galleries
    ]
    count = Counter(datasets)
    seen: Counter[str] = Counter()
    names = []
    for dataset, arrays in zip(datasets, results.galleries, strict=True):
        seen[dataset] += 1
        apart = _shared_deviation(arrays) or f"set {seen[dataset]}"
        names.append(
            dataset if count[dataset] == 1 or seen[dataset] == 1 else f"{dataset}, {apart}"
        )
    return names


def _shared_deviation(arrays: MapArrays) -> str:
    each = [
        set(str(arm).partition("[")[2].rstrip("]").split(",")) for arm in np.unique(arrays.map_arm)
    ]
    shared = sorted(set.intersection(*each) - {""})
    return ", ".join(text.replace("=", " ") for text in shared)


def _numbers(
    table: pd.DataFrame | None, runs: set[str], names: Sequence[str], *, by_site: bool
) -> dict[str, list[float | None]]:
    if table is None:
        return {}
    rows = measured(one_kind_of_map(table)) if by_site else on_test_split(table)
    rows = rows[rows["run"].isin(runs) & rows["image"].isin(names)]
    keys = ["arm", "seed", *(["site"] if by_site else [])]
    means = rows.groupby([*keys, "image"])["iou"].mean()
    wide = means.unstack("image").reindex(columns=list(names))
    return {
        "|".join(str(part) for part in key): [
            None if pd.isna(value) else round(float(value), 4) for value in values
        ]
        for key, values in zip(wide.index, wide.to_numpy(), strict=True)
    }


def _colours(name: str) -> str:
    table = matplotlib.colormaps[name](np.arange(256))[:, :3]
    return _base64((table * 255).round().astype(np.uint8).tobytes())


def _levels(values: np.ndarray) -> str:
    return _base64((values * np.float64(LEVELS)).round().astype("<u2").tobytes())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
