"""A folder of results as an analysis leaves it: five arms, five seeds, twenty smooth images.

The scores are made up; the comparisons and claims are computed from them, so that what the page
says of one table can be checked against another.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from scipy import stats

from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.randomness import address
from llm4seg_probe.tables import CLAIMS, COMPARISON, RUNS, SCORES, write_table

ARMS = ("cnn", "llm", "transformer", "random-frozen", "adapters")
SEEDS = (0, 1, 2, 3, 4)
SITES = ("before", "after")
MARGIN = 0.005
GAIN = {"cnn": 0.0, "llm": 0.012, "transformer": 0.009, "random-frozen": 0.007, "adapters": 0.002}
RANKS = {"cnn": 5.5, "llm": 7.5, "transformer": 5.3, "random-frozen": 6.4, "adapters": 5.9}
MAP_GAIN = {"cnn": 0.0, "llm": 0.08, "transformer": 0.09, "random-frozen": 0.05, "adapters": 0.02}


def settings() -> dict[str, object]:
    """Matplotlib's settings but the backend, which is chosen by looking at it."""
    return {name: value for name, value in dict.items(matplotlib.rcParams) if name != "backend"}


def draws(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(address("synthetic", *parts))


def cases(count: int, names: dict[int, str]) -> list[tuple[str, str]]:
    return [
        (names.get(i, f"case{1 + i % 5}/slice{10 + 3 * i:03d}"), f"case{1 + i % 5}")
        for i in range(count)
    ]


def run_name(arm: str, seed: int) -> str:
    return f"{arm}-seed{seed}"


def keys(arm: str, seed: int) -> dict[str, object]:
    return {"run": run_name(arm, seed), "dataset": "spine", "arm": arm, "seed": seed}


def score_rows(images: list[tuple[str, str]]) -> pd.DataFrame:
    rows = []
    for arm, seed in product(ARMS, SEEDS):
        run = draws("run", seed).normal(0, 0.008) + draws("arm", arm, seed).normal(0, 0.004)
        for place, (image, group) in enumerate(images):
            hard = draws("image", place).normal(0, 0.09)
            iou = 0.64 + GAIN[arm] + run + hard + draws(arm, seed, place).normal(0, 0.02)
            iou = float(np.clip(iou, 0.02, 0.97))
            for split, checkpoint in (("test", "best"), ("val", "best"), ("test", "last")):
                shift = {"test": 0.0, "val": 0.03}[split] - (0.01 if checkpoint == "last" else 0)
                value = iou + shift
                rows.append(
                    {
                        **keys(arm, seed),
                        "checkpoint": checkpoint,
                        "split": split,
                        "image": image,
                        "group": group,
                        "class": "foreground",
                        "iou": value,
                        "dice": 2 * value / (1 + value),
                        "precision": min(1.0, value + 0.1),
                        "recall": min(1.0, value + 0.15),
                        "hd95": 12 * (1 - value),
                        "nsd": value,
                        "area": 0.05,
                        "empty": "none",
                        "iou_reference": value,
                        "ece": 0.1 * (1 - value),
                        "brier": 0.2 * (1 - value),
                    }
                )
    return pd.DataFrame(rows)


def rank_rows(images: list[tuple[str, str]]) -> pd.DataFrame:
    rows = []
    for arm, seed, site in product(ARMS, SEEDS, SITES):
        here = site if arm != "cnn" else "after"
        centre = RANKS[arm] if here == "after" else 5.2 + 0.2 * ARMS.index(arm)
        shift = draws("rank", arm, seed, here).normal(0, 0.15)
        for null, base in (("", centre), ("shuffled", 14), ("untrained", 3.1), ("gaussian", 17)):
            for place, (image, group) in enumerate(images):
                noise = draws("rank", arm, seed, here, null, place)
                rank = base + shift + noise.gamma(4, 0.35) - 1.4
                rank = float(max(rank, 1.05))
                rows.append(
                    {
                        **keys(arm, seed),
                        "site": site,
                        "part": "all",
                        "null": null,
                        "image": image,
                        "group": group,
                        "tokens": 36,
                        "channels": 96,
                        "entropy": np.log(rank),
                        "effective_rank": rank,
                        "lsvr": 0.32 * np.log(rank) + 0.1 + noise.normal(0, 0.03),
                        "sigma1_share": 1 / rank,
                        "stable_rank": 1 + rank / 8,
                        "participation_ratio": 1 + rank / 6,
                        "largest_token_share": 0.08,
                    }
                )
    return pd.DataFrame(rows)


def map_rows(images: list[tuple[str, str]]) -> pd.DataFrame:
    rows = []
    for arm, seed, site, null in product(ARMS, SEEDS, SITES, ("", "other-image")):
        gain = MAP_GAIN[arm] if site == "after" else 0.0
        base = 0.12 if null else 0.28 + gain
        shift = draws("map", arm, seed, site if arm != "cnn" else "before").normal(0, 0.012)
        for place, (image, group) in enumerate(images):
            noise = draws("map", arm, seed, place, null).normal(0, 0.04)
            iou = float(np.clip(base + shift + noise, 0, 1))
            rows.append(
                {
                    **keys(arm, seed),
                    "site": site,
                    "class": "foreground",
                    "reduction": "mean_abs",
                    "threshold": "otsu",
                    "null": null,
                    "image": image,
                    "group": group,
                    "iou": iou,
                    "auroc": min(1.0, 0.5 + iou),
                    "contrast": 3 * iou,
                    "noise": 0.2 - 0.1 * iou,
                    "sharpness": 0.3 + iou,
                }
            )
    return pd.DataFrame(rows)


def compared(score: str, a: str, b: str, ours: pd.Series, theirs: pd.Series, margin: float) -> dict:
    """One row of comparison.csv from the means by seed of two conditions."""
    difference = ours - theirs
    test = stats.ttest_rel(ours, theirs) if difference.std() > 0 else None
    half = stats.t.ppf(0.975, 4) * difference.std() / np.sqrt(5)
    mean = difference.mean()
    p = float(test.pvalue) if test else float("nan")
    found = p < 0.05 and (mean > 0 or a == "random-frozen")
    needed = 2 + 8 * (difference.std() / margin) ** 2
    return {
        "dataset": "spine",
        "score": score,
        "a": a,
        "b": b,
        "n_seeds": 5,
        "n_cases": 20,
        "mean_a": ours.mean(),
        "mean_b": theirs.mean(),
        "sd_a": ours.std(),
        "sd_b": theirs.std(),
        "difference": mean,
        "sd_difference": difference.std(),
        "ci_low": mean - half,
        "ci_high": mean + half,
        "t": float(test.statistic) if test else float("nan"),
        "df": 4,
        "p_t": p,
        "p_exact": 0.0625 if (difference > 0).all() else 0.4375,
        "p_exact_floor": 0.0625,
        "p_adjusted": min(1.0, 2 * p),
        "boot_low": mean - 1.1 * half,
        "boot_high": mean + 1.1 * half,
        "case_low": mean - 0.5 * half,
        "case_high": mean + 0.5 * half,
        "margin": margin,
        "p_equivalence": 0.4,
        "smallest_detectable": 1.7 * half,
        "seeds_needed": float(np.ceil(needed)),
        "verdict": "supported" if found else "inconclusive",
    }


def comparison_rows(scores: pd.DataFrame, rank: pd.DataFrame, maps: pd.DataFrame) -> pd.DataFrame:
    chosen = scores[(scores["split"] == "test") & (scores["checkpoint"] == "best")]
    iou = chosen.groupby(["arm", "seed"])["iou"].mean()
    ranks = rank[(rank["null"] == "") & (rank["site"] == "after")]
    ranks = ranks.groupby(["arm", "seed"])["effective_rank"].mean()
    activation = maps[maps["null"] == ""].groupby(["arm", "site", "seed"])["iou"].mean()
    rows = [compared("iou", arm, "cnn", iou[arm], iou["cnn"], MARGIN) for arm in ARMS[1:]]
    rows += [compared("iou", "llm", arm, iou["llm"], iou[arm], MARGIN) for arm in ARMS[2:]]
    rows += [
        compared("effective_rank", "llm@after", f"{arm}@after", ranks["llm"], ranks[arm], 0.5)
        | {"table": "rank"}
        for arm in ("cnn", "transformer")
    ]
    rows += [
        compared(
            "iou",
            f"{arm}@after",
            f"{arm}@before",
            activation[arm]["after"],
            activation[arm]["before"],
            0.02,
        )
        | {"table": "maps"}
        for arm in ARMS
    ]
    return pd.DataFrame(rows)


CLAIM_ROWS = (
    ("boost", "the layer improves segmentation", "iou", "llm", "cnn"),
    ("pretraining", "it is the pre-training", "iou", "llm", "random-frozen"),
    ("parameters", "it is not the added parameters", "iou", "llm", "adapters"),
    ("maps", "the layer cleans the activation maps", "iou", "llm@after", "llm@before"),
    ("rank", "features get richer", "effective_rank", "llm@after", "cnn@after"),
)


STATED = [
    {
        "id": claim,
        "statement": statement,
        "table": {"effective_rank": "rank"}.get(score, "maps" if "@" in a else "scores"),
        "score": score,
        "where": {
            "boost": {"split": "test", "checkpoint": "best"},
            "maps": {"reduction": "mean_abs", "threshold": "otsu", "null": ""},
            "rank": {"part": "all", "null": ""},
        }[claim],
        "comparisons": [{"a": a, "b": b}],
        "margin": {"rank": 0.5, "maps": 0.02}.get(claim, MARGIN),
        "kind": "superiority",
    }
    for claim, statement, score, a, b in CLAIM_ROWS
    if claim in ("boost", "maps", "rank")
] + [
    {
        "id": "frozen",
        "statement": "freezing loses nothing",
        "where": {"split": "test", "checkpoint": "best"},
        "comparisons": [{"a": "llm", "b": "llm-trainable"}],
        "margin": MARGIN,
        "kind": "non-inferiority",
    }
]  # fmt: skip
"""Some of the claims as the analysis states them; the others have a verdict and no section."""


def claim_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    rows = []
    names = ["n_seeds", "difference", "ci_low", "ci_high", "p_adjusted", "verdict"]
    names += ["seeds_needed", "margin"]
    for claim, statement, score, a, b in CLAIM_ROWS:
        pair = (comparison["a"] == a) & (comparison["b"] == b)
        one = comparison[pair & (comparison["score"] == score)].iloc[0]
        found = f"{one['difference']:+.3g} over 5 seeds, p = {one['p_adjusted']:.2g}"
        table = "scores" if pd.isna(one["table"]) else one["table"]
        rows.append(
            {
                "claim": claim,
                "statement": statement,
                "measure": f"{score} of {table}.csv",
                "comparison": f"{a} > {b}",
                **one[names],
                "sentence": f"{one['verdict'].capitalize()}: {found}.",
                "in_advance": True,
            }
        )
    rows.append(
        {
            "claim": "frozen",
            "statement": "freezing loses nothing",
            "measure": "iou of scores.csv",
            "comparison": "llm not worse (>) than llm-trainable",
            "n_seeds": 0,
            "verdict": "not run",
            "margin": MARGIN,
            "sentence": "Not run: there is no arm llm-trainable.",
            "in_advance": True,
        }
    )
    columns = [*CLAIMS.columns, "margin", "in_advance", "sentence"]
    return pd.DataFrame(rows).reindex(columns=columns)


def run_rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": run_name(arm, seed),
            "dataset": "spine",
            "backbone": "cmunext",
            "arm": arm,
            "llm": "" if arm in ("cnn", "adapters") else "smollm2-135m",
            "layer": "" if arm in ("cnn", "adapters") else "15",
            "seed": seed,
            "wall_seconds": 15.2 + seed,
            "peak_memory_mb": 900.0,
        }
        for arm, seed in product(ARMS, SEEDS)
    )


def bump(size: int, y: float, x: float, width: float, height: float) -> np.ndarray:
    rows, columns = np.mgrid[0:size, 0:size] / (size - 1)
    return np.exp(-(((rows - y) / height) ** 2) - ((columns - x) / width) ** 2)


def write_arrays(path: Path, images: list[tuple[str, str]], size: int = 96, grid: int = 12) -> None:
    """maps.npz: a bright body with a darker spine, maps that are cleaner after the layer."""
    places = [(0.62 + 0.05 * np.sin(i), 0.5 + 0.06 * np.cos(2 * i)) for i in range(len(images))]
    pictures, masks = [], []
    for i, (y, x) in enumerate(places):
        body = bump(size, 0.5, 0.5, 0.42, 0.36) ** 0.5
        texture = draws("texture", i).normal(0, 0.04, (size, size))
        bone = bump(size, y, x, 0.11 + 0.01 * (i % 3), 0.09)
        pictures.append(np.clip(0.55 * body + 0.45 * bone + texture, 0, 1) * 255)
        masks.append(bone > 0.45)
    described = [(arm, seed, site) for arm in ARMS for seed in SEEDS for site in SITES]
    maps = []
    for arm, seed, site in described:
        clean = MAP_GAIN[arm] if site == "after" else 0.0
        for i, (y, x) in enumerate(places):
            noise = draws("activation", arm, seed, site if arm != "cnn" else "", i)
            ground = noise.uniform(0, 0.75 - 6 * clean, (grid, grid))
            value = bump(grid, y, x, 0.2, 0.18) + ground
            value = (value - value.min()) / (value.max() - value.min())
            maps.append(value.astype(np.float32))
    runs = [(arm, seed) for arm in ARMS for seed in SEEDS]
    predictions = [
        np.roll(mask, draws("roll", arm, seed, i).integers(-4, 5), axis=1)
        for arm, seed in runs
        for i, mask in enumerate(masks)
    ]
    count = len(images)
    np.savez_compressed(
        path,
        image_names=np.array([image for image, _ in images]),
        images=np.array(pictures).astype(np.uint8),
        masks=np.array(masks).astype(np.uint8),
        map_run=np.array([run_name(arm, seed) for arm, seed, _ in described]),
        map_arm=np.array([arm for arm, _, _ in described]),
        map_seed=np.array([seed for _, seed, _ in described]),
        map_site=np.array([site for _, _, site in described]),
        maps=np.array(maps).reshape(len(described), count, grid, grid),
        prediction_run=np.array([run_name(arm, seed) for arm, seed in runs]),
        prediction_arm=np.array([arm for arm, _ in runs]),
        prediction_seed=np.array([seed for _, seed in runs]),
        predictions=np.array(predictions).astype(np.uint8).reshape(len(runs), count, size, size),
    )


def description(**changes: object) -> dict[str, object]:
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
        "arms": list(ARMS),
        "seeds": list(SEEDS),
        "scale": {
            "network": "CMUNeXt 8-16-32-64-96",
            "layer": "SmolLM2-135M, layer 15 of 30",
            "image size": "96 × 96 pixels",
            "training": "12 epochs of 19 steps, batch 8",
        },
        "machine": {"processor": "2 cores", "memory": "8 GB", "torch": "2.13.0"},
        "base": {"arm": "llm"},
        "claims": STATED,
        **changes,
    }


def write_results(folder: Path, names: dict[int, str] | None = None, **changes: object) -> Path:
    """Write the whole folder. names: other names for some of the images, by their place."""
    folder.mkdir(parents=True, exist_ok=True)
    images = cases(20, names or {})
    scores, rank, maps = score_rows(images), rank_rows(images), map_rows(images)
    comparison = comparison_rows(scores, rank, maps)
    tables = (
        (run_rows(), RUNS),
        (scores, SCORES),
        (rank, RANK),
        (maps, MAPS),
        (comparison, COMPARISON),
        (claim_rows(comparison), CLAIMS),
    )
    for frame, schema in tables:
        write_table(frame, folder / schema.name, schema)
    write_arrays(folder / "maps.npz", images[:6])
    OmegaConf.save(OmegaConf.create(description(**changes)), folder / "analysis.yaml")
    return folder
