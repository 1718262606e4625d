"""Speed of the statistics on large tables: reports/statistics/speed.csv.

    python analyses/benchmarks/statistics_speed.py

CPU seconds of one core: the crossed bootstrap against a plain loop over resamples (interleaved,
medians of five), an audit of a file of 100,000 rows with its page, and the verdicts on all shipped
claims from tables of the size of a whole study (five seeds, made-up scores).
"""

from __future__ import annotations

import itertools
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import pandas as pd

from llm4seg_probe.statistics import bootstrap
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.study.analysis import load_analysis, shipped
from llm4seg_probe.study.anybody import audit_tables
from llm4seg_probe.study.runs import deviations

OUT = Path(__file__).resolve().parents[2] / "reports" / "statistics" / "speed.csv"
SEEDS, CASES, RESAMPLES = 5, 500, 10_000
IMAGES = 90


def main() -> None:
    """Measure, print and write the table."""
    random = np.random.default_rng(0)
    rows = [*_bootstrap(random), _audit(random), _verdicts(random)]
    table = pd.DataFrame(rows, columns=["what", "cpu_seconds", "peak_memory_mb"])
    print(table.to_string(index=False))
    table.to_csv(OUT, index=False, float_format="%.3f")


def _bootstrap(random: np.random.Generator) -> list[tuple[str, float, float]]:
    difference = random.normal(0.01, 0.05, (SEEDS, CASES))
    data = bootstrap.totals(difference, np.arange(CASES))

    def loop() -> list[float]:
        draw = np.random.default_rng(0)
        return [
            difference[draw.integers(0, SEEDS, SEEDS)][:, draw.integers(0, CASES, CASES)].mean()
            for _ in range(RESAMPLES)
        ]

    ours, theirs = [], []
    for _ in range(5):
        ours.append(_seconds(lambda: bootstrap.resample([data], RESAMPLES, 0)))
        theirs.append(_seconds(loop))
    size = f"{RESAMPLES} resamples, {SEEDS} seeds x {CASES} cases"
    return [
        (f"crossed bootstrap, {size}", statistics.median(ours), _peak()),
        (f"the same as a plain loop, {size}", statistics.median(theirs), _peak()),
    ]


def _audit(random: np.random.Generator) -> tuple[str, float, float]:
    keys = list(itertools.product("abcde", range(SEEDS), range(4000)))
    table = pd.DataFrame(keys, columns=["Method", "run", "case"])
    table["patient"] = table["case"] // 8
    table["Dice"] = np.clip(0.8 + random.normal(0, 0.05, len(table)), 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "theirs.csv"
        table.sample(frac=1, random_state=0).to_csv(path, index=False)
        took = _seconds(lambda: audit_tables([path], Path(folder) / "audit"))
    return f"audit with its page, {len(table)} rows", took, _peak()


def _verdicts(random: np.random.Generator) -> tuple[str, float, float]:
    analysis = load_analysis(shipped("answer")).at("small")
    configs = analysis.configs()
    runs = pd.DataFrame(
        {
            "run": [f"run{n}" for n in range(len(configs))],
            "dataset": [config.data.name for config in configs],
            "arm": [config.arm for config in configs],
            "seed": [config.seed for config in configs],
            "deviation": deviations(configs, analysis.base_config()),
        }
    )
    settings = runs["deviation"].str.findall(r"([\w.]+)=([^,]*)").map(dict)
    for name in sorted({name for each in settings for name in each} - set(runs.columns)):
        runs[name] = settings.map(lambda each, name=name: each.get(name, "usual"))
    images = pd.DataFrame({"image": [f"image{n:03d}" for n in range(IMAGES)]})
    images["group"] = "case" + (images.index // 15).astype(str)

    def measured(**levels: list[str]) -> pd.DataFrame:
        table = runs[["run", "dataset", "arm", "seed"]].merge(images, how="cross")
        for name, values in levels.items():
            table = table.merge(pd.DataFrame({name: values}), how="cross")
        return table.astype(dict.fromkeys(levels, "str"))

    scores = measured(checkpoint=["best", "last"], split=["val", "test"])
    rank = measured(site=["before", "after"], part=["all"], null=["", "shuffled", "gaussian"])
    maps = measured(
        site=["before", "after"], reduction=["mean_abs", "l2"], threshold=["otsu"],
        null=["", "other-image"],
    )  # fmt: skip
    for table, name in ((scores, "iou"), (rank, "effective_rank"), (maps, "iou")):
        table[name] = random.uniform(0.4, 0.8, len(table))
    curves = runs[["run", "dataset", "arm", "seed"]].merge(
        pd.DataFrame({"epoch": range(5)}), how="cross"
    )
    curves["val_iou"], curves["iou_gap"] = random.uniform(0.4, 0.8, (2, len(curves)))
    found = {"runs": runs, "scores": scores, "rank": rank, "maps": maps, "curves": curves}
    took = _seconds(lambda: judge(analysis.claims, found))
    size = f"{len(analysis.claims)} claims, {len(runs)} runs, {len(scores) + len(rank) + len(maps)}"
    return f"all verdicts: {size} rows", took, _peak()


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
