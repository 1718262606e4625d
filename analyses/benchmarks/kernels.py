"""The demo under several kernels of one processor: how far rounding alone moves its answer.

Other kernels, thread counts and memory formats round differently, and training amplifies that: each
variant is another draw, as another processor is. Every variant makes the same runs (same seeds, and
the same configuration but for what names it), and is judged alone. Printed are, per claim, the
difference, interval and verdict of each variant, the spread between variants beside the spread
between seeds, and how many pairs of variants decide oppositely or decide against open.

    python analyses/benchmarks/kernels.py --out runs/kernels > reports/benchmarks/kernels.csv

Started again, it makes only what is missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from llm4seg_probe.training.environment import processor

VARIANTS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "native": ({}, ()),
    "avx2": ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, ()),
    "sse41": ({"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}, ()),
    "two-threads": ({}, ("base.compute.threads=2",)),
    "contiguous": ({}, ("base.compute.memory_format=contiguous",)),
}
"""Variables of the environment, and fields of the analysis, by variant."""
DECIDED = ("supported", "contradicted", "equivalent")


def make(name: str, analysis: Path, out: Path, arms: str, seeds: int, workers: int) -> None:
    """Make and judge the runs of one variant."""
    variables, fields = VARIANTS[name]
    chosen = [f"factors.arm=[{arms}]", f"factors.seed={list(range(seeds))}", *fields]
    command = [
        *(sys.executable, "-m", "llm4seg_probe", "sweep", str(analysis), "--out", str(out / name)),
        *("--workers", str(workers)),
        *(word for field in chosen for word in ("--set", field)),
    ]
    subprocess.run(command, check=True, env={**os.environ, **variables}, stdout=sys.stderr)


def differences(scores: pd.DataFrame, a: str, b: str) -> pd.Series:
    """Mean test IoU of arm a less that of arm b, by seed."""
    rows = scores[(scores["split"] == "test") & (scores["checkpoint"] == "best")]
    means = rows.groupby(["arm", "seed"])["iou"].mean()
    return means[a] - means[b]


def rows_of(out: Path, variants: list[str]) -> pd.DataFrame:
    """One row per claim and variant, and one per claim that sums them up."""
    rows = []
    claims = {name: pd.read_csv(out / name / "claims.csv").set_index("claim") for name in variants}
    scores = {name: pd.read_csv(out / name / "scores.csv") for name in variants}
    for claim in claims[variants[0]].index:
        found = {name: claims[name].loc[claim] for name in variants}
        judged = {name: row for name, row in found.items() if row["verdict"] != "not run"}
        for name, row in judged.items():
            rows.append(
                {"claim": claim, "variant": name, "difference": row["difference"],
                 "ci_low": row["ci_low"], "ci_high": row["ci_high"], "verdict": row["verdict"]}
            )  # fmt: skip
        first = next(iter(found.values()))
        if len(judged) < 2 or not str(first["measure"]).startswith("iou of scores.csv"):
            continue
        a, _, b = str(first["decided_by"]).partition(" against ")
        table = pd.DataFrame({name: differences(scores[name], a, b) for name in judged})
        pairs = list(combinations([row["verdict"] for row in judged.values()], 2))
        opposite = sum({"supported", "contradicted"} == set(pair) for pair in pairs)
        half = sum((one in DECIDED) != (two in DECIDED) for one, two in pairs)
        rows.append(
            {"claim": claim, "variant": "all", "difference": table.to_numpy().mean(),
             "sd_between_variants_of_a_seed": float(np.sqrt(table.var(axis=1, ddof=1).mean())),
             "sd_between_seeds_of_a_variant": float(np.sqrt(table.var(axis=0, ddof=1).mean())),
             "sd_of_the_variants_means": float(table.mean().std(ddof=1)),
             "opposite_pairs": opposite, "decided_against_open_pairs": half, "pairs": len(pairs)}
        )  # fmt: skip
    return pd.DataFrame(rows).assign(processor=processor())


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--analysis", type=Path, default=Path("analyses/demo.yaml"))
    parser.add_argument("--arms", default="cnn,random-frozen,llm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    given = parser.parse_args()
    for name in given.variants:
        make(name, given.analysis, given.out, given.arms, given.seeds, given.workers)
    rows_of(given.out, given.variants).to_csv(sys.stdout, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
