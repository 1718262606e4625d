"""Strangers' tables for the tests: written as text, read by the commands as a user would."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import studies
from scipy import stats
from typer.testing import CliRunner

import llm4seg_probe as lp
from llm4seg_probe.cli.app import app

UNET = [0.741, 0.821, 0.797, 0.811, 0.803]
OURS = [0.750, 0.829, 0.807, 0.820, 0.812]
"""Five paired seeds of two arms."""


@dataclass(frozen=True)
class Told:
    """What a command printed, its exit code, and the rows that it wrote."""

    code: int
    text: str
    rows: pd.DataFrame
    page: str

    @property
    def row(self) -> pd.Series:
        assert len(self.rows) == 1, self.text
        return self.rows.iloc[0]


def tell(folder: Path, command: str, table: str | Path | list[Path], *options: object) -> Told:
    """Run ``compare``, ``plan`` or ``audit`` on a table, given as text or as paths."""
    if isinstance(table, str):
        path = folder / "table.csv"
        path.write_text(table, encoding="utf-8")
        paths = [path]
    else:
        paths = table if isinstance(table, list) else [table]
    if command == "compare" and "--bootstrap" not in options:
        options = (*options, "--bootstrap", "0")
    out = folder / f"out{len(list(folder.iterdir()))}"
    result = CliRunner().invoke(
        app, [command, *map(str, paths), *map(str, options), "--out", str(out)]
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    written = out / {"compare": "comparison.csv", "plan": "plan.csv", "audit": "audit.csv"}[command]
    rows = pd.read_csv(written, keep_default_na=True) if written.is_file() else pd.DataFrame()
    page = out / "index.html"
    return Told(
        result.exit_code, " ".join(result.output.split()), rows,
        page.read_text(encoding="utf-8") if page.is_file() else "",
    )  # fmt: skip


def per_seed_csv(
    a=tuple(OURS), b=tuple(UNET), *, header="method,seed,dice", names=("ours", "unet"), form="{}"
) -> str:
    """A CSV with a row per arm and seed."""
    rows = [
        f"{name},{seed},{form.format(value)}"
        for name, values in zip(names[::-1], (b, a), strict=True)
        for seed, value in enumerate(values)
    ]
    return "\n".join([header, *rows]) + "\n"


def per_case(seed=0, seeds=5, cases=12, effect=0.02, **columns) -> pd.DataFrame:
    """Scores of two arms, seeds and cases; further columns are constants or functions of a row."""
    names = [(f"p{case:02d}", "") for case in range(cases)]
    spread = {"case_sd": 0.03, "run_sd": 0.004, "noise_sd": 0.005}
    drawn = studies.per_case(
        {"unet": 0.0, "ours": effect}, seeds, names, seed=seed, score="dice", level=0.75, **spread
    )
    rows = drawn[["arm", "seed", "image"]].set_axis(["method", "seed", "case"], axis=1)
    for name, make in columns.items():
        rows[name] = rows.apply(make, axis=1) if callable(make) else make
    return rows.assign(dice=drawn["dice"].round(5))


def wide(*names: str) -> tuple[str, str, str]:
    """A table with a column of numbers for each name."""
    return (
        ",".join(["method", *names]),
        ",".join(["unet", *map(str, UNET[: len(names)])]),
        ",".join(["ours", *map(str, OURS[: len(names)])]),
    )


def compared(path: Path, **options: object) -> tuple[dict, list[str], list[str]]:
    """The only row of a comparison with ``unet``, and the doubts and notes beside it."""
    result = lp.compare(path, baseline="unet", **options)
    (row,) = result.table.to_dict("records")
    return (
        row,
        [one.what for one in result.findings if one.level == "doubt"],
        [one.what for one in result.findings if one.level == "note"],
    )


def paired_t(table: pd.DataFrame, score="dice", a="ours", b="unet") -> tuple[float, float]:
    """Mean difference of run means and p of scipy's paired t-test."""
    means = table.groupby(["method", "seed"])[score].mean()
    test = stats.ttest_rel(means[a], means[b])
    return float((means[a] - means[b]).mean()), float(test.pvalue)


def corrected_t(differences, share=0.2) -> float:
    """p of the corrected resampled t-test, by hand."""
    d = np.asarray(differences, float)
    error = np.sqrt((1 / len(d) + share / (1 - share)) * d.var(ddof=1))
    return float(2 * stats.t.sf(abs(d.mean() / error), len(d) - 1))


def summary(path: Path, cases: dict[str, dict[str, float]], version=2) -> Path:
    """A summary.json of nnU-Net: Dice by case and label."""
    path.mkdir(parents=True, exist_ok=True)
    if version == 1:
        every = [
            {
                "0": {"Dice": 0.99},
                **{label: {"Dice": value} for label, value in labels.items()},
                "reference": f"/gt/{case}.nii.gz", "test": "t",
            }
            for case, labels in cases.items()
        ]  # fmt: skip
        content: dict = {"results": {"all": every}}
    else:
        content = {
            "metric_per_case": [
                {
                    "metrics": {label: {"Dice": value, "TP": 1} for label, value in labels.items()},
                    "prediction_file": f"/pred/{case}.nii.gz",
                    "reference_file": f"/gt/{case}.nii.gz",
                }
                for case, labels in cases.items()
            ]
        }
    (path / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    return path / "summary.json"
