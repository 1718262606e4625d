"""A folder of results small enough to know what must come out: plain numbers, no training."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from llm4seg_probe import tables
from llm4seg_probe.probes.maps import MAPS as MAPS_SCHEMA
from llm4seg_probe.probes.rank import RANK as RANK_SCHEMA

SEEDS = (0, 1, 2, 3)
IMAGES = ("a", "b")
IOU = {"cnn": 0.50, "llm": 0.60, "llm[layer=1]": 0.40, "llm-trainable": 0.60}
"""Mean test IoU of each condition; seeds lie around it, the same for all but for 0.001."""
RANK = {("cnn", "after"): 5.0, ("llm", "before"): 4.0, ("llm", "after"): 3.0}
MAP_IOU = {("cnn", "after"): 0.3, ("llm", "before"): 0.2, ("llm", "after"): 0.3}


def _wobble(condition: str, seed: int) -> float:
    own = np.random.default_rng([seed, *condition.encode()]).normal(0, 0.001)
    return 0.01 * seed + float(own)


def _keys(condition: str, seed: int) -> dict[str, object]:
    arm = condition.partition("[")[0]
    run = f"{arm}-{seed}-{'1' if '[' in condition else '0'}"
    return {"run": run, "dataset": "toys", "arm": arm, "seed": seed}


def _filled(rows: list[dict[str, object]], schema: tables.Schema) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    for name, kind in schema.columns.items():
        if name not in frame:
            frame[name] = {"text": "", "integer": 1, "number": np.nan}[kind]
    return frame


def _runs(iou: Mapping[str, float]) -> pd.DataFrame:
    rows = []
    for condition, seed in product(iou, SEEDS):
        deviation = condition.partition("[")[2].rstrip("]")
        layer = "" if condition == "cnn" else deviation.removeprefix("layer=") or "3"
        rows.append({**_keys(condition, seed), "layer": layer, "deviation": deviation})
    return _filled(rows, tables.RUNS)


def _scores(iou: Mapping[str, float]) -> pd.DataFrame:
    rows = [
        {**_keys(condition, seed), "checkpoint": "best", "split": "test", "image": image,
         "group": image, "class": "foreground", "iou": level + _wobble(condition, seed) + shift}
        for (condition, level), seed in product(iou.items(), SEEDS)
        for image, shift in zip(IMAGES, (-0.1, 0.1), strict=True)
    ]  # fmt: skip
    return _filled(rows, tables.SCORES)


def _of_sites(
    levels: Mapping[tuple[str, str], float], schema: tables.Schema, score: str, **fixed: str
) -> pd.DataFrame:
    rows = [
        {**_keys(arm, seed), "site": site, **fixed, "null": "", "image": image, "group": image,
         score: level + _wobble(arm + site, seed)}
        for ((arm, site), level), seed, image in product(levels.items(), SEEDS, IMAGES)
    ]  # fmt: skip
    return _filled(rows, schema)


def write_small_results(
    folder: Path, *, size: str = "small", iou: Mapping[str, float] = IOU
) -> Path:
    """Write ``analysis.yaml`` and the tables; conditions and their mean IoU can be chosen."""
    folder.mkdir(parents=True)
    maps = {"class": "foreground", "reduction": "mean_abs", "threshold": "otsu"}
    for frame, schema in (
        (_runs(iou), tables.RUNS),
        (_scores(iou), tables.SCORES),
        (_of_sites(RANK, RANK_SCHEMA, "effective_rank", part="all"), RANK_SCHEMA),
        (_of_sites(MAP_IOU, MAPS_SCHEMA, "iou", **maps), MAPS_SCHEMA),
    ):
        tables.write_table(frame, folder / schema.name, schema)
    context = {
        "name": folder.name, "title": f"Title of {folder.name}", "question": "Is it so?",
        "rests_on": "Made-up numbers.", "size": size, "dataset": {"name": "toys"},
        "arms": sorted({condition.partition("[")[0] for condition in iou}), "seeds": list(SEEDS),
    }  # fmt: skip
    OmegaConf.save(OmegaConf.create(context), folder / "analysis.yaml")
    return folder
