"""Studies that nobody trained: their tables, arrays and folders, drawn from levels that are given.

A level is the mean of a score by condition, in the notation of the analyses: ``llm``,
``llm[layer=3]``, ``llm@after``. Around it lie effects of the cases, seeds and runs, and noise; the
same arguments give the same numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.randomness import address
from llm4seg_probe.tables import RUNS, SCORES, Schema, conform, write_table

Cases = Sequence[tuple[str, str]]
Levels = Mapping[str, float]
NOTHING: Levels = {}
SITES = ("before", "after")
NO_LAYER = ("cnn", "adapters", "mlp")
"""Arms without a layer of a language model."""
MADE: dict[str, object] = {
    "python": "3.11", "packages": {"torch": "2"}, "processor": "two cores", "cores": 2,
    "gpu": None, "commit": None, "wall_seconds": 1.0, "peak_memory_mb": 1.0,
}  # fmt: skip
"""What a run notes of its making, in ``environment.json``."""


# -- Rows ------------------------------------------------------------------------------------------


def run_keys(condition: str, seed: int, dataset: str = "spine") -> dict[str, object]:
    """The columns that identify a run of a condition, whose data set it may name itself."""
    arm = condition.partition("@")[0].partition("[")[0]
    named = _deviations(condition).get("dataset", dataset)
    run = f"{condition.partition('@')[0]}-{seed}"
    return {"run": run, "dataset": named, "arm": arm, "seed": seed}


def _deviations(condition: str) -> dict[str, str]:
    inside = condition.partition("@")[0].partition("[")[2].removesuffix("]")
    return dict(item.split("=") for item in inside.split(",") if item)


def filled(rows: pd.DataFrame | Iterable[Mapping[str, object]], schema: Schema) -> pd.DataFrame:
    """A table of the schema from rows that hold some of its columns; the others are empty."""
    frame = pd.DataFrame(rows)
    empty = {"text": "", "integer": 1, "number": np.nan}
    missing = {name: empty[kind] for name, kind in schema.columns.items() if name not in frame}
    return conform(frame.assign(**missing), schema)


def per_seed(**arms: Sequence[float]) -> pd.DataFrame:
    """One row per arm and seed: ``per_seed(cnn=[0.6, 0.7], llm=[0.7, 0.8])``."""
    return pd.DataFrame(
        {"arm": arm.replace("_", "-"), "seed": seed, "iou": value}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    )


def per_case(
    effects: Levels = {"cnn": 0.0, "llm": 0.01},  # noqa: B006 (read only)
    seeds: int = 5,
    cases: int | Cases = 24,
    per_group: int = 2,
    seed: int = 0,
    score: str = "iou",
    *,
    level: float = 0.6,
    case_sd: float = 0.05,
    seed_sd: float = 0.0,
    run_sd: float = 0.005,
    noise_sd: float = 0.01,
    **fixed: object,
) -> pd.DataFrame:
    """One row per condition, seed and case, with scores around ``level`` plus the effect.

    Cases are names with their patients, or a number of them, ``per_group`` of each patient. Each
    has an effect of its own on all runs, each seed one on all conditions. Conditions at a site
    (``llm@after``) have it in a column. ``fixed`` are further columns.
    """
    named = cases
    if isinstance(named, int):
        named = [(f"image{case}", f"patient{case // per_group}") for case in range(named)]
    draw = np.random.default_rng(seed)
    of_case = draw.normal(0, case_sd, len(named))
    of_run = {key: draw.normal(0, run_sd) for key in product(effects, range(seeds))}
    of_seed = np.random.default_rng([seed, 1]).normal(0, seed_sd, seeds)
    rows = []
    for (condition, effect), number in product(effects.items(), range(seeds)):
        keys = run_keys(condition, number)
        site = condition.partition("@")[2]
        more = {"site": site, **fixed} if site else fixed
        mean = level + effect + of_seed[number]
        for (image, group), shift in zip(named, of_case, strict=True):
            value = mean + shift + of_run[condition, number] + draw.normal(0, noise_sd)
            rows.append({**keys, "image": image, "group": group, **more, score: value})
    return pd.DataFrame(rows)


def at_sites(levels: Levels, **design: object) -> pd.DataFrame:
    """As :func:`per_case`; an arm that is given after the layer alone is the same before it."""
    found = per_case(levels, **{"level": 0.0, **design})  # type: ignore[arg-type]
    after = found["site"] == "after"
    alone = after & ~found["run"].isin(found.loc[~after, "run"])
    return pd.concat([found[alone].assign(site="before"), found], ignore_index=True)


def changed_scores(
    arms: Levels,
    changes: Mapping[str, Mapping[tuple[str, str], float]],
    columns: tuple[str, str],
    unchanged: tuple[str, str],
    seeds: int = 4,
    groups: int = 12,
) -> pd.DataFrame:
    """Scores of networks that were changed, by what the columns name; seeds differ a bit.

    Two images per group, two classes. A change shifts all scores of its arm; ``unchanged`` is the
    network as it is.
    """
    draw = np.random.default_rng(0)
    rows = []
    for (arm, level), seed, image, part in product(
        arms.items(), range(seeds), range(2 * groups), ("bone", "disc")
    ):
        base = level + 0.01 * draw.normal()
        for made, change in {unchanged: 0.0, **changes[arm]}.items():
            iou = base + change * (1 + 0.1 * seed)
            rows.append(
                {**run_keys(arm, seed, "made"), **dict(zip(columns, made, strict=True)),
                 "image": f"i{image}", "group": f"g{image // 2}", "class": part, "iou": iou,
                 "dice": iou, "iou_change": iou - base, "dice_change": iou - base}
            )  # fmt: skip
    return pd.DataFrame(rows)


# -- Tables ----------------------------------------------------------------------------------------


def runs_table(conditions: Iterable[str], seeds: int = 5, **base: str) -> pd.DataFrame:
    """``runs.csv`` of conditions; ``base`` are settings that some deviate from, as columns."""
    conditions = list(conditions)
    rows = []
    for condition, seed in product(conditions, range(seeds)):
        keys, deviations = run_keys(condition, seed), _deviations(condition)
        has_layer = keys["arm"] not in NO_LAYER
        layer = deviations.get("layer", "15") if has_layer else ""
        made = {"wall_seconds": 15.2 + seed, "peak_memory_mb": 900.0}
        row = {**keys, "backbone": "cmunext", "llm": "smollm2-135m" if has_layer else "", **made}
        row |= {"layer": layer, **{name: deviations.get(name, base[name]) for name in base}}
        if any(map(_deviations, conditions)):
            row["deviation"] = ",".join(f"{key}={value}" for key, value in deviations.items())
        rows.append(row)
    return filled(rows, RUNS)


def scores_table(rows: pd.DataFrame, split: str = "test", checkpoint: str = "best") -> pd.DataFrame:
    """``scores.csv`` whose other scores follow from the IoU of the rows."""
    iou = rows["iou"].clip(0.02, 0.97)
    return filled(
        rows.assign(
            **{"class": "foreground"}, split=split, checkpoint=checkpoint, empty="none", area=0.05,
            iou=iou, dice=2 * iou / (1 + iou), precision=(iou + 0.1).clip(upper=1),
            recall=(iou + 0.15).clip(upper=1), hd95=12 * (1 - iou), nsd=iou, iou_reference=iou,
            ece=0.1 * (1 - iou), brier=0.2 * (1 - iou),
        ),
        SCORES,
    )  # fmt: skip


def _beside_nulls(levels: Levels, nulls: Levels, design: Mapping[str, object]) -> pd.DataFrame:
    parts = [at_sites(levels, **design).assign(null="")]
    for number, (null, level) in enumerate(nulls.items(), start=1):
        flat = dict.fromkeys(levels, level)
        parts.append(at_sites(flat, **{**design, "seed": number}).assign(null=null))
    return pd.concat(parts, ignore_index=True)


def rank_table(levels: Levels, nulls: Levels = NOTHING, **design: object) -> pd.DataFrame:
    """``rank.csv``: effective rank by condition at a site, and by null the same for all of them."""
    usual = {"case_sd": 0.4, "run_sd": 0.15, "noise_sd": 0.6, "score": "effective_rank"}
    rows = _beside_nulls(levels, nulls, {**usual, **design})
    rank = rows["effective_rank"].clip(lower=1.05)
    return filled(
        rows.assign(
            part="all", tokens=36, channels=96, entropy=np.log(rank), effective_rank=rank,
            lsvr=0.32 * np.log(rank) + 0.1, sigma1_share=1 / rank, stable_rank=1 + rank / 8,
            participation_ratio=1 + rank / 6, largest_token_share=0.08,
        ),
        RANK,
    )  # fmt: skip


def maps_table(levels: Levels, nulls: Levels = NOTHING, **design: object) -> pd.DataFrame:
    """``maps.csv``: IoU of the map by condition at a site, and by null the same for all of them."""
    usual = {"case_sd": 0.02, "run_sd": 0.012, "noise_sd": 0.04}
    rows = _beside_nulls(levels, nulls, {**usual, **design})
    iou = rows["iou"].clip(0, 1)
    return filled(
        rows.assign(
            **{"class": "foreground"}, reduction="mean_abs", threshold="otsu", iou=iou,
            auroc=(0.5 + iou).clip(upper=1), contrast=3 * iou, noise=0.2 - 0.1 * iou,
            sharpness=0.3 + iou,
        ),
        MAPS,
    )  # fmt: skip


# -- Arrays ----------------------------------------------------------------------------------------


def draws(*parts: int | str) -> np.random.Generator:
    """A generator of its own for what the parts name."""
    return np.random.default_rng(address("made up", *parts))


def _bump(size: int, y: float, x: float, width: float, height: float) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size] / (size - 1)
    return np.exp(-(((rows - y) / height) ** 2) - ((columns - x) / width) ** 2)


def map_arrays(
    runs: pd.DataFrame, images: Collection[str], *, size: int = 96, grid: int = 12,
    gains: Levels = NOTHING, packed: bool = False,
) -> dict[str, np.ndarray]:  # fmt: skip
    """``maps.npz``: a bright body with a brighter bone, and maps, cleaner after the layer by gain.

    ``packed`` as :mod:`llm4seg_probe.probes.arrays` writes them now; without, as it did at first.
    """
    count = len(images)
    centres = [(0.62 + 0.05 * np.sin(i), 0.5 + 0.06 * np.cos(2 * i)) for i in range(count)]
    body = 0.55 * _bump(size, 0.5, 0.5, 0.42, 0.36) ** 0.5
    bones = np.array(
        [_bump(size, y, x, 0.11 + 0.01 * (i % 3), 0.09) for i, (y, x) in enumerate(centres)]
    )
    pictures = body + 0.45 * bones + draws("texture").normal(0, 0.04, bones.shape)
    masks = bones > 0.45
    clean = np.array([_bump(grid, y, x, 0.2, 0.18) for y, x in centres])
    at = [(row.run, row.arm, row.seed, site) for row in runs.itertuples() for site in SITES]
    maps = []
    for run, arm, _, site in at:
        noise = draws("maps", run, "" if arm == "cnn" else site)
        ceiling = 0.75 - 6 * (gains.get(arm, 0.0) if site == "after" else 0.0)
        drawn = clean + noise.uniform(0, ceiling, clean.shape)
        low = drawn.min(axis=(1, 2), keepdims=True)
        high = drawn.max(axis=(1, 2), keepdims=True)
        maps.append(((drawn - low) / (high - low)).astype(np.float32))
    predicted = []
    for run in runs["run"]:
        shifts = draws("predictions", run).integers(-4, 5, count)
        pairs = zip(masks, shifts, strict=True)
        moved = np.array([np.roll(mask, shift, axis=1) for mask, shift in pairs])
        predicted.append(np.packbits(moved, axis=-1) if packed else moved.astype(np.uint8))
    names = [np.array(values) for values in zip(*at, strict=True)]
    stacked = np.array(maps).reshape(len(at), count, grid, grid)
    return {
        "image_names": np.array(list(images)),
        "images": (np.clip(pictures, 0, 1) * 255).astype(np.uint8),
        "masks": masks.astype(np.uint8),
        **dict(zip(("map_run", "map_arm", "map_seed", "map_site"), names, strict=True)),
        "map_levels" if packed else "maps": (
            np.round(stacked * 65535).astype(np.uint16) if packed else stacked
        ),
        "prediction_run": runs["run"].to_numpy(str),
        "prediction_arm": runs["arm"].to_numpy(str),
        "prediction_seed": runs["seed"].to_numpy(int),
        "prediction_bits" if packed else "predictions": np.array(predicted),
    }


# -- Folders ---------------------------------------------------------------------------------------


def description(**changes: object) -> dict[str, object]:
    """``analysis.yaml``: what a study says of itself, but for the fields given."""
    return {
        "name": "demo",
        "title": "A frozen language-model layer in a segmentation network",
        "question": "Does a frozen language-model layer improve segmentation beyond the noise of "
        "seeds, and is it the pre-training?",
        "rests_on": "One layer of a language model of 135 million parameters, slices of 96 pixels, "
        "six people: enough to run every step for real, far too little to judge the paper.",
        "command": "llm4seg-probe demo",
        "size": "quick",
        "dataset": {
            "name": "spine",
            "description": "axial CT and MR slices with vertebra masks",
            "licence": "MIT and Apache-2.0",
            "split": "blocks",
            "caveats": ["The same people are on both sides: nothing here speaks of new patients."],
            "counts": {"cases": 6, "training slices": 150, "test slices": 20},
        },
        "seeds": [0, 1, 2, 3, 4],
        "scale": {
            "network": "CMUNeXt 8-16-32-64-96",
            "layer": "SmolLM2-135M, layer 15 of 30",
            "image size": "96 × 96 pixels",
            "training": "12 epochs of 19 steps, batch 8",
        },
        "machine": {"processor": "2 cores", "memory": "8 GB", "torch": "2.13.0"},
        "base": {"arm": "llm"},
        **changes,
    }


def write_folder(
    folder: Path, tables: Iterable[tuple[pd.DataFrame, Schema]], described: Mapping[str, object]
) -> Path:
    """Write the tables and the description of a study, as ``sweep`` leaves them."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame, schema in tables:
        write_table(frame, folder / schema.name, schema)
    OmegaConf.save(OmegaConf.create(dict(described)), folder / "analysis.yaml")
    return folder
