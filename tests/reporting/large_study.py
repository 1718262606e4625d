"""A study of the size that a page must bear: 100 runs of 20 conditions, 200 cases, 15 claims.

Comparisons and claims are judged by the functions that judge real ones. A second data set and a
probe's folder are there too, with hostile names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import studies
from omegaconf import OmegaConf

from llm4seg_probe.probes.field import FIELD
from llm4seg_probe.probes.maps import MAPS
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.tables import CLAIMS, COMPARISON, RUNS, SCORES, write_table

LAYERS = (1, 2, 3, 5, 10, 20, 25, 30)
ON_SPINE = {
    "cnn": 0.0, "llm": 0.012, "llm-trainable": 0.02, "transformer": 0.009, "adapters": -0.004,
    "random-frozen": 0.0, "shuffled-frozen": 0.0, "mlp": 0.0,
    **{f"llm[layer={layer}]": 0.012 for layer in LAYERS},
    "llm[attention=bidirectional]": 0.012, "cnn[<b>odd</b>=1]": 0.0,
}  # fmt: skip
ON_SHAPES = {"cnn[dataset=<i>shapes</i>]": 0.0, "llm[dataset=<i>shapes</i>]": 0.012}
CASES = {
    "spine": [(f"p{i % 12:02d}/slice{i:03d}", f"p{i % 12:02d}") for i in range(200)],
    "<i>shapes</i>": [(f"p{i % 12:02d}/slice{i:03d}", f"p{i % 12:02d}") for i in range(20)],
}
SIZE, GRID = 128, 16
WHERE = {"split": "test", "checkpoint": "best"}


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


def write_large_study(folder: Path) -> Path:
    """Write the whole folder."""
    runs = studies.runs_table([*ON_SPINE, *ON_SHAPES], **{"attention": "causal", "<b>odd</b>": "0"})
    spread = {"case_sd": 0.09, "seed_sd": 0.006, "run_sd": 0.003, "noise_sd": 0.03}
    scores = pd.concat(
        [
            studies.scores_table(studies.per_case(effects, cases=cases, seed=number, **spread))
            for number, (effects, cases) in enumerate(
                zip((ON_SPINE, ON_SHAPES), CASES.values(), strict=True)
            )
        ],
        ignore_index=True,
    )
    probed = CASES["spine"][::4]
    maps = studies.maps_table(_at_sites(0.3, 0.35), {"other-image": 0.15}, cases=probed)
    rank = studies.rank_table(_at_sites(7.0, 7.0), {"gaussian": 9.0}, cases=probed)
    tables = {"scores": scores, "rank": rank, "maps": maps, "runs": runs}
    comparison, claims = judge([Claim(**stated) for stated in STATED], tables, bootstrap=0)
    written = (
        *((runs, RUNS), (scores, SCORES), (rank, RANK), (maps, MAPS)),
        *((comparison, COMPARISON), (claims, CLAIMS)),
    )
    studies.write_folder(folder, written, _description())
    for number, (dataset, cases) in enumerate(CASES.items(), start=1):
        name = "maps.npz" if number == 1 else f"maps-{number}.npz"
        arrays = studies.map_arrays(
            runs[runs["dataset"] == dataset], [image for image, _ in cases], size=SIZE, grid=GRID,
            packed=True,
        )  # fmt: skip
        np.savez_compressed(folder / name, **arrays)  # type: ignore[arg-type]
    _write_probe(folder / "field", runs)
    return folder


def _at_sites(before: float, after: float) -> dict[str, float]:
    """Levels of all conditions on the spine, plus ten times their gain."""
    return {
        f"{condition}@{site}": level + 10 * gain
        for condition, gain in ON_SPINE.items()
        for site, level in (("before", before), ("after", after))
    }


def _description() -> dict[str, object]:
    first = dict(studies.description()["dataset"])  # type: ignore[call-overload]
    second = {**first, "name": "<i>shapes</i>", "caveats": ["Drawn by a <program>."]}
    arms = list(dict.fromkeys(condition.partition("[")[0] for condition in ON_SPINE))
    return studies.description(datasets=[first, second], claims=STATED, arms=arms)


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
