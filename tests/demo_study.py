"""The demo's study, made up: five arms, five seeds, twenty smooth images, six claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import studies

from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.tables import CLAIMS, COMPARISON, RUNS, SCORES

MARGIN = 0.005
GAIN = {"cnn": 0.0, "llm": 0.02, "transformer": 0.015, "random-frozen": 0.012, "adapters": 0.002}
ARMS = tuple(GAIN)
RANKS = {
    "cnn@after": 5.5, "llm@before": 5.4, "llm@after": 7.5, "transformer@before": 5.6,
    "transformer@after": 5.3, "random-frozen@before": 5.8, "random-frozen@after": 6.4,
    "adapters@before": 6.0, "adapters@after": 5.9,
}  # fmt: skip
MAP_GAIN = {"llm": 0.08, "transformer": 0.09, "random-frozen": 0.05, "adapters": 0.02}
MAP_IOU = {"cnn@after": 0.28} | {
    f"{arm}@{site}": 0.28 + gain * (site == "after")
    for arm, gain in MAP_GAIN.items() for site in studies.SITES
}  # fmt: skip
ON_TEST = {"split": "test", "checkpoint": "best"}
ON_MAPS = {"reduction": "mean_abs", "threshold": "otsu", "null": ""}
ON_RANK = {"part": "all", "null": ""}

HOSTILE = {
    0: "<img src=x onerror=alert(1)>",
    1: "</script><script>alert(2)</script>",
    3: "costs $5$ & {{ 7 * 7 }}",
}
"""Names of some images, by their place, that a page must not take for its own text."""


def cases(names: dict[int, str] | None = None) -> list[tuple[str, str]]:
    """Twenty slices of ten people; some of them by other names, by their place."""
    return [
        ((names or {}).get(i, f"case{1 + i % 10}/slice{10 + 3 * i:03d}"), f"case{1 + i % 10}")
        for i in range(20)
    ]


def scores(images: studies.Cases) -> pd.DataFrame:
    """Test scores of both checkpoints, and higher ones of the validation."""
    drawn = studies.per_case(
        GAIN, cases=images, level=0.64, case_sd=0.09, seed_sd=0.008, run_sd=0.004, noise_sd=0.02
    )
    parts = (("test", "best", 0.0), ("val", "best", 0.03), ("test", "last", -0.01))
    return pd.concat(
        [
            studies.scores_table(drawn.assign(iou=drawn["iou"] + shift), split, checkpoint)
            for split, checkpoint, shift in parts
        ],
        ignore_index=True,
    )


def rank(images: studies.Cases) -> pd.DataFrame:
    """Effective ranks, and those of three nulls."""
    nulls = {"shuffled": 14.0, "untrained": 3.1, "gaussian": 17.0}
    return studies.rank_table(RANKS, nulls, cases=images)


def maps(images: studies.Cases) -> pd.DataFrame:
    """IoU of the maps, and of those of another image."""
    return studies.maps_table(MAP_IOU, {"other-image": 0.12}, cases=images)


def comparison(scores: pd.DataFrame, rank: pd.DataFrame, maps: pd.DataFrame) -> pd.DataFrame:
    """Arms with one another, after the layer, and after with before the layer."""
    at_site = {
        name: table.assign(arm=table["arm"] + "@" + table["site"]).drop(columns="site")
        for name, table in (("rank", rank), ("maps", maps))
    }
    ranked = [("llm@after", f"{arm}@after") for arm in ("cnn", "transformer")]
    mapped = [(f"{arm}@after", f"{arm}@before") for arm in ARMS]
    arms = [(arm, "cnn") for arm in ARMS[1:]] + [("llm", arm) for arm in ARMS[2:]]
    return pd.concat(
        [
            compare(scores, pairs=arms, where=ON_TEST, margin=MARGIN, bootstrap=200),
            compare(
                at_site["rank"], score="effective_rank", pairs=ranked, where=ON_RANK, margin=0.5,
                bootstrap=200, lower_is_better=False,
            ).assign(table="rank"),
            compare(
                at_site["maps"], pairs=mapped, where=ON_MAPS, margin=0.02, bootstrap=200
            ).assign(table="maps"),
        ],
        ignore_index=True,
    )  # fmt: skip


CLAIMED = (
    ("boost", "the layer improves segmentation", "iou", "llm", "cnn"),
    ("pretraining", "it is the pre-training", "iou", "llm", "random-frozen"),
    ("parameters", "it is not the added parameters", "iou", "llm", "adapters"),
    ("maps", "the layer cleans the activation maps", "iou", "llm@after", "llm@before"),
    ("rank", "features get richer", "effective_rank", "llm@after", "cnn@after"),
)
NOT_RUN = {
    "claim": "frozen", "statement": "freezing loses nothing", "measure": "iou of scores.csv",
    "comparison": "llm not worse (>) than llm-trainable", "n_seeds": 0, "verdict": "not run",
    "margin": MARGIN, "sentence": "Not run: there is no arm llm-trainable.", "in_advance": True,
}  # fmt: skip


def _stated(number: int, where: dict[str, str], **more: object) -> dict[str, object]:
    name, statement, _, a, b = CLAIMED[number]
    pair = {"id": name, "statement": statement, "comparisons": [{"a": a, "b": b}]}
    return {**pair, "where": where, "kind": "superiority", **more}


STATED = [
    _stated(0, ON_TEST, margin=MARGIN),
    _stated(3, ON_MAPS, margin=0.02, table="maps"),
    _stated(4, ON_RANK, margin=0.5, table="rank", score="effective_rank"),
    {
        "id": "frozen",
        "statement": "freezing loses nothing",
        "where": ON_TEST,
        "comparisons": [{"a": "llm", "b": "llm-trainable"}],
        "margin": MARGIN,
        "kind": "non-inferiority",
    },
]
"""Some of the claims as the analysis states them; the others have a verdict and no section."""


def claims(comparison: pd.DataFrame) -> pd.DataFrame:
    """Each claim with the row of the comparison that it is about; one was not run."""
    rows: list[dict[str, object]] = []
    taken = ["n_seeds", "difference", "ci_low", "ci_high", "p_adjusted", "verdict", "seeds_needed"]
    for name, statement, score, a, b in CLAIMED:
        pair = (comparison["a"] == a) & (comparison["b"] == b)
        one = comparison[pair & (comparison["score"] == score)].iloc[0]
        numbers = f"{one['difference']:+.3g} over 5 seeds, p = {one['p_adjusted']:.2g}"
        table = "scores" if pd.isna(one["table"]) else one["table"]
        rows.append(
            {
                "claim": name, "statement": statement, "measure": f"{score} of {table}.csv",
                "comparison": f"{a} > {b}", **one[[*taken, "margin"]],
                "sentence": f"{one['verdict'].capitalize()}: {numbers}.", "in_advance": True,
            }
        )  # fmt: skip
    columns = [*CLAIMS.columns, "margin", "in_advance", "sentence"]
    return pd.DataFrame([*rows, NOT_RUN]).reindex(columns=columns)


def write_demo(folder: Path, names: dict[int, str] | None = None) -> Path:
    """Write the whole folder; some of the images may have other names, by their place."""
    images = cases(names)
    runs = studies.runs_table(ARMS)
    scored, ranked, mapped = scores(images), rank(images), maps(images)
    compared = comparison(scored, ranked, mapped)
    tables = (
        *((runs, RUNS), (scored, SCORES), (ranked, RANK), (mapped, MAPS)),
        *((compared, COMPARISON), (claims(compared), CLAIMS)),
    )
    studies.write_folder(folder, tables, studies.description(claims=STATED, arms=list(ARMS)))
    arrays = studies.map_arrays(runs, [image for image, _ in images[:6]], gains=MAP_GAIN)
    np.savez_compressed(folder / "maps.npz", **arrays)  # type: ignore[arg-type]
    return folder
