"""What the page's case browser needs, as plain values: small images, maps, masks and numbers."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.arrays import LEVELS, MapArrays
from llm4seg_probe.reporting.cases import Case, chosen_cases, refuse_unknown_cases
from llm4seg_probe.reporting.figures.gallery import COLOURS
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.reporting.style import arm_style, in_order
from llm4seg_probe.reporting.summaries import measured, on_test_split, one_kind_of_map

DIVERGING = "PuOr_r"
"""Colour map of differences: orange where the first is more, purple where the second is."""


def explorer_data(results: Results, named: Sequence[str] = ()) -> dict[str, Any] | None:
    """Everything that the case browser draws, ready for JSON; None without arrays.

    Images are bytes in base64, row by row; maps 16-bit numbers, low byte first, of which 65,535 is
    the map's most; masks and predictions lengths of runs, see :func:`run_lengths`. The numbers are
    those of ``scores.csv`` and ``maps.csv``, null where the table has no such row. named: cases
    that are shown whatever else is; raises TableError for one that is not there.
    """
    refuse_unknown_cases(results, named)
    if not results.galleries:
        return None
    names = _set_names(results)
    return {
        "colours": _colours(COLOURS),
        "diverging": _colours(DIVERGING),
        "planes": len(results.context.config.data.image_size) == 3,
        "sets": [
            _set(results, arrays, name, chosen_cases(results, arrays, named))
            for arrays, name in zip(results.galleries, names, strict=True)
        ],
    }


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
