"""What the page's case browser needs, as plain values: small images, maps, masks and numbers."""

from __future__ import annotations

import base64
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from llm4seg_probe.reporting.figures.gallery import COLOURS, SITES
from llm4seg_probe.reporting.results import MapArrays, Results
from llm4seg_probe.reporting.style import arm_style, in_order
from llm4seg_probe.reporting.summaries import measured, on_test_split, one_kind_of_map

LONGEST_SIDE = 128
"""Pixels of a thumbnail: enough to see the outline, small enough for a hundred runs."""


def explorer_data(results: Results) -> dict[str, Any] | None:
    """Everything that the case browser draws, ready for JSON; None without ``maps.npz``.

    Images and maps are bytes in base64, row by row; masks and predictions are bits. The numbers
    are those of ``scores.csv`` and ``maps.csv``, null where the table has no such row.
    """
    arrays = results.arrays
    if arrays is None:
        return None
    step = -(-max(arrays.images.shape[1:]) // LONGEST_SIDE)
    small = (slice(None), slice(None, None, step), slice(None, None, step))
    images, masks = arrays.images[small], arrays.masks[small]
    arms = in_order(arrays.map_arm)
    names = [str(name) for name in arrays.image_names]
    return {
        "cases": names,
        "size": list(images.shape[1:]),
        "grid": list(arrays.maps.shape[2:]),
        "arms": [{"name": str(arm), "label": arm_style(arm).label} for arm in arms],
        "seeds": sorted(int(seed) for seed in np.unique(arrays.map_seed)),
        "sites": list(SITES),
        "colours": _packed((matplotlib.colormaps[COLOURS](np.arange(256))[:, :3] * 255).round()),
        "images": [_packed(image) for image in images],
        "masks": [_bits(mask) for mask in masks],
        "maps": _maps(arrays),
        "predictions": {
            f"{arm}|{seed}": [_bits(prediction) for prediction in predictions[small]]
            for arm, seed, predictions in zip(
                arrays.prediction_arm,
                arrays.prediction_seed,
                arrays.predictions,
                strict=True,
            )
        },
        "iou": _numbers(results.tables.get("scores.csv"), names, by_site=False),
        "activation": _numbers(results.tables.get("maps.csv"), names, by_site=True),
    }


def _maps(arrays: MapArrays) -> dict[str, list[str]]:
    described = zip(arrays.map_arm, arrays.map_seed, arrays.map_site, arrays.maps, strict=True)
    return {
        f"{arm}|{seed}|{site}": [_packed(one.clip(0, 1) * 255) for one in maps]
        for arm, seed, site, maps in described
        if site in SITES
    }


def _numbers(
    table: pd.DataFrame | None, names: list[str], *, by_site: bool
) -> dict[str, list[float | None]]:
    if table is None:
        return {}
    rows = measured(one_kind_of_map(table)) if by_site else on_test_split(table)
    keys = ["arm", "seed", *(["site"] if by_site else [])]
    means = rows[rows["image"].isin(names)].groupby([*keys, "image"])["iou"].mean()
    wide = means.unstack("image").reindex(columns=names)
    return {
        "|".join(str(part) for part in key): [
            None if pd.isna(value) else round(float(value), 4) for value in values
        ]
        for key, values in zip(wide.index, wide.to_numpy(), strict=True)
    }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(np.uint8).tobytes()).decode()


def _bits(mask: np.ndarray) -> str:
    return base64.b64encode(np.packbits(mask.ravel() > 0).tobytes()).decode()
