"""A study of the size that a page must bear: 100 runs of 20 conditions, 200 cases, 15 claims.

The scores are made up; comparisons and claims are judged from them by the functions that judge
real ones. A second data set and two probes' folders are there too, with hostile names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from synthetic_results import description, draws

from llm4seg_probe.probes.field import FIELD
from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.tables import CLAIMS, COMPARISON, RUNS, SCORES, write_table

SEEDS = (0, 1, 2, 3, 4)
LAYERS = (1, 2, 3, 5, 10, 20, 25, 30)
CONDITIONS = (
    *((arm, "", "spine") for arm in ("cnn", "llm", "llm-trainable", "transformer", "adapters")),
    *((arm, "", "spine") for arm in ("random-frozen", "shuffled-frozen", "mlp")),
    *(("llm", f"layer={layer}", "spine") for layer in LAYERS),
    ("llm", "attention=bidirectional", "spine"),
    ("cnn", "<b>odd</b>=1", "spine"),
    ("cnn", "dataset=<i>shapes</i>", "<i>shapes</i>"),
    ("llm", "dataset=<i>shapes</i>", "<i>shapes</i>"),
)
CASES = {"spine": 200, "<i>shapes</i>": 20}
SIZE, GRID = 128, 16
WHERE = {"split": "test", "checkpoint": "best"}
GAINS = {"llm": 0.012, "transformer": 0.009, "adapters": -0.004, "llm-trainable": 0.02}


def _claim(name: str, a: str, b: str, **more: object) -> dict[str, object]:
    pairs = [{"a": a, "b": each} for each in b.split(" and ")]
    usual = {"where": WHERE, "comparisons": pairs, "margin": 0.005}
    return {"id": name, "statement": f"{name} holds", **usual, **more}


STATED = [
    _claim("boost", "llm", "cnn", family="primary"),
    _claim("pretraining", "llm", "transformer and random-frozen", family="primary"),
    _claim("frozen", "llm", "llm-trainable", kind="non-inferiority"),
    _claim("parameters", "llm", "adapters and mlp"),
    _claim("confounds", "llm", "llm[attention=bidirectional]", kind="equivalence"),
    _claim("semantics", "llm - cnn", "llm[dataset=<i>shapes</i>] - cnn[dataset=<i>shapes</i>]"),
    _claim("shapes", "llm[dataset=<i>shapes</i>]", "cnn[dataset=<i>shapes</i>]"),
    _claim("lora", "llm-lora", "llm"),
    _claim("depth", "mean(llm[layer=3], llm[layer=20])", "mean(llm[layer=1], llm[layer=2])"),
    _claim("deepest", "llm[layer=30]", "llm[layer=25]", in_advance=False),
    _claim("shuffled", "llm", "shuffled-frozen"),
    _claim("late", "llm[layer=10]", "llm[layer=5]"),
    _claim("trained", "llm-trainable", "transformer", statement="<u>Trained</u> is & better"),
    _claim(
        "maps", "llm@after", "llm@before", table="maps", margin=0.02,
        where={"reduction": "mean_abs", "threshold": "otsu", "null": ""},
    ),
    _claim(
        "rank", "llm@after", "cnn@after", table="rank", score="effective_rank", margin=0.5,
        where={"part": "all", "null": ""},
    ),
]  # fmt: skip


def write_study(folder: Path) -> Path:
    """Write the whole folder."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = _runs()
    real = runs[runs["dataset"] == "spine"]
    scores, maps, rank = _scores(runs), _maps(real), _rank(real)
    found = {"scores": scores, "rank": rank, "maps": maps, "runs": runs}
    comparison, claims = judge([Claim(**stated) for stated in STATED], found, bootstrap=0)
    for frame, schema in (
        *((runs, RUNS), (scores, SCORES), (rank, RANK), (maps, MAPS)),
        *((comparison, COMPARISON), (claims, CLAIMS)),
    ):
        write_table(frame, folder / schema.name, schema)
    for number, dataset in enumerate(CASES, start=1):
        name = "maps.npz" if number == 1 else f"maps-{number}.npz"
        np.savez_compressed(folder / name, **_arrays(runs[runs["dataset"] == dataset], dataset))
    _write_probe(folder / "field", runs)
    OmegaConf.save(OmegaConf.create(_description()), folder / "analysis.yaml")
    return folder


def _description() -> dict[str, object]:
    usual = description()
    first = dict(usual["dataset"])  # type: ignore[call-overload]
    second = {**first, "name": "<i>shapes</i>", "caveats": ["Drawn by a <program>."]}
    arms = list(dict.fromkeys(arm for arm, _, _ in CONDITIONS))
    return {**usual, "datasets": [first, second], "claims": STATED, "arms": arms}


def _runs() -> pd.DataFrame:
    rows = []
    for arm, deviation, dataset in CONDITIONS:
        for seed in SEEDS:
            values = dict(item.split("=") for item in deviation.split(",") if item)
            layer = "" if arm in ("cnn", "adapters", "mlp") else values.get("layer", "15")
            name = f"{arm}-{deviation}-{seed}"
            rows.append(
                {
                    "run": name, "dataset": dataset, "backbone": "cmunext", "arm": arm, "llm": "",
                    "layer": layer, "seed": seed, "deviation": deviation, "wall_seconds": 60.0,
                    "peak_memory_mb": 900.0, "attention": values.get("attention", "causal"),
                    "<b>odd</b>": values.get("<b>odd</b>", "0"),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def names_of(dataset: str) -> list[str]:
    """The cases of a data set."""
    return [f"p{i % 12:02d}/slice{i:03d}" for i in range(CASES[dataset])]


def _crossed(runs: pd.DataFrame, sites: tuple[str, ...] = ("",), each: int = 1) -> pd.DataFrame:
    """One row per run, site and case (or each so manieth), with a value between 0 and 1."""
    parts = []
    for row in runs.itertuples():
        names = names_of(row.dataset)[::each]
        hard = draws("hard", row.dataset).normal(0, 0.09, len(names))
        level = GAINS.get(row.arm, 0.0) + draws("seed", row.dataset, row.seed).normal(0, 0.006)
        level += draws("run", row.run).normal(0, 0.003)
        for site in sites:
            noise = draws("case", row.run, site).normal(0, 0.03, len(names))
            parts.append(
                pd.DataFrame(
                    {
                        "run": row.run, "dataset": row.dataset, "arm": row.arm, "seed": row.seed,
                        "site": site, "image": names, "group": [name[:3] for name in names],
                        "value": (0.6 + level + hard + noise).clip(0.02, 0.97),
                    }
                )
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _scores(runs: pd.DataFrame) -> pd.DataFrame:
    rows = _crossed(runs)
    value = rows.pop("value")
    measured = ["iou", "dice", "precision", "recall", "hd95", "nsd", "iou_reference"]
    return rows.drop(columns="site").assign(
        **{"checkpoint": "best", "split": "test", "class": "foreground", "empty": "none"},
        area=0.05, **dict.fromkeys(measured, value), **dict.fromkeys(["ece", "brier"], 0.05),
    )  # fmt: skip


def _maps(runs: pd.DataFrame) -> pd.DataFrame:
    rows = _crossed(runs, ("before", "after"), 4)
    value = rows.pop("value") - 0.3 + 0.05 * (rows["site"] == "after")
    ours = rows.assign(
        **{"class": "foreground", "reduction": "mean_abs", "threshold": "otsu", "null": ""},
        **dict.fromkeys(["iou", "auroc", "contrast", "noise", "sharpness"], value),
    )
    null = ours[ours["image"].str.endswith("0")].assign(null="other-image")
    return pd.concat([ours, null.assign(iou=null["iou"] / 2)], ignore_index=True)


def _rank(runs: pd.DataFrame) -> pd.DataFrame:
    rows = _crossed(runs, ("before", "after"), 4)
    value = 4 + 5 * rows.pop("value")
    measured = RANK.values
    ours = rows.assign(part="all", null="", **dict.fromkeys(measured, value))
    ours = ours.assign(tokens=256, channels=96)
    null = ours[ours["image"].str.endswith("0")].assign(null="gaussian")
    return pd.concat([ours, null], ignore_index=True)


def _arrays(runs: pd.DataFrame, dataset: str) -> dict[str, np.ndarray]:
    names, draw = names_of(dataset), draws("arrays", dataset)
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    centres = draw.uniform(0.35, 0.65, (len(names), 2))
    far = [np.hypot(rows - y, columns - x) for y, x in centres]
    noise = draw.normal(0, 8, (len(names), SIZE, SIZE))
    images = np.clip(150 * np.exp(-4 * np.array(far)) + 40 + noise, 0, 255).astype(np.uint8)
    described = [(row, site) for row in runs.itertuples() for site in ("before", "after")]
    shape = (len(described), len(names), GRID, GRID)
    edges = [draws("radius", row.run).uniform(0.13, 0.17, len(names)) for row in runs.itertuples()]
    return {
        "image_names": np.array(names),
        "images": images,
        "masks": (np.array(far) < 0.15).astype(np.uint8),
        "map_run": np.array([row.run for row, _ in described]),
        "map_arm": np.array([row.arm for row, _ in described]),
        "map_seed": np.array([row.seed for row, _ in described]),
        "map_site": np.array([site for _, site in described]),
        "map_levels": draw.integers(0, 65536, shape, dtype=np.uint16),
        "prediction_run": runs["run"].to_numpy(str),
        "prediction_arm": runs["arm"].to_numpy(str),
        "prediction_seed": runs["seed"].to_numpy(),
        "prediction_bits": np.stack(
            [np.packbits(np.array(far) < edge[:, None, None], axis=-1) for edge in edges]
        ),
    }


def _write_probe(folder: Path, runs: pd.DataFrame) -> None:
    """A probe's folder: its table, a figure, and an about.yaml that does not mean well."""
    few = runs[(runs["deviation"] == "") & runs["arm"].isin(["cnn", "llm"])]
    rows = few[["run", "dataset", "arm", "seed"]].assign(
        site="logits", wrt="input", layer="on", null="", image="all", group="",
        mass=1.0, radius_50=12.5, radius_90=30.0, before=0.5, after=0.5, asymmetry=0.0,
    )  # fmt: skip
    write_table(rows, folder / FIELD.name, FIELD)
    about = {
        "title": "field <img src=x onerror=alert(3)>",
        "summary": "from how far the <input> moves the centre",
        "shows": "It shows <script>alert(4)</script> & no more.",
        "command": "llm4seg-probe field --ckpt 'RUNS/*/run.pt' <x>",
        "runs": few["run"].tolist(),
    }
    OmegaConf.save(OmegaConf.create(about), folder / "about.yaml")
    (folder / "figures").mkdir()
    text = '<text y="15">12.5</text>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 20">{text}</svg>'
    for kind in ("svg", "pdf", "png"):
        (folder / "figures" / f"field.{kind}").write_text(svg)
