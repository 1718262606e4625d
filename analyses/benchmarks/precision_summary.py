"""Certainty per minute of settings of training, from the scores of ``precision.py``, means hidden.

    python analyses/benchmarks/precision_summary.py runs/precision --out reports/benchmarks

Settings are chosen as in a blinded trial: by how much seeds scatter and by what they cost, never by
which arm is better. So what is written holds no mean of an arm and no difference between arms:

- ``precision.csv``: a row per setting, way of scoring, images, arm and seed; ``deviation`` is the
  mean IoU over the images less the mean over the arm's seeds;
- ``precision_summary.csv``: a row per setting, way of scoring and images;
- ``precision_learning.csv``: of the plain CNN alone, by epoch, the gain in validation IoU over the
  epoch before (mean over seeds) and the SD over seeds.

Certainty is 1 / (SD² of the difference × minutes of the processor for a pair of runs). Intervals
are at 95 % and take differences as normal: of a certainty from chi-square, of the ratio of two
certainties on the same seeds from Pitman and Morgan's test for correlated variances (1939), with
minutes taken as known. Fewer than 15 seeds choose nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from math import atanh, nan, sqrt, tanh
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri, stdtrit

Vector = NDArray[np.float64]

KEYS = ["setting", "scored", "images"]
LEVEL = 0.95
ALL = "all"
PLAIN = "cnn"


@dataclass(frozen=True)
class Pairs:
    """Scores of two arms on the same seeds, and the minutes that a pair of runs takes."""

    a: pd.Series
    b: pd.Series
    minutes: float

    @property
    def differences(self) -> pd.Series:
        """By seed, in the order of the seeds."""
        return (self.a - self.b).dropna().sort_index()

    @property
    def certainty(self) -> float:
        """1 / (SD² of the differences × minutes)."""
        return float(1 / (self.differences.var() * self.minutes))

    def certainty_interval(self) -> tuple[float, float]:
        """Its interval: (n − 1) s² / σ² is chi-square with n − 1 degrees of freedom."""
        df = len(self.differences) - 1
        low, high = chdtri(df, (1 + LEVEL) / 2), chdtri(df, (1 - LEVEL) / 2)
        return self.certainty * low / df, self.certainty * high / df

    def correlation(self) -> tuple[float, float, float]:
        """Correlation of the arms over seeds, with its interval through Fisher's z."""
        both = pd.concat([self.a, self.b], axis=1).dropna()
        r = float(both.corr().iloc[0, 1])
        if len(both) < 4:
            return r, nan, nan
        reach = float(ndtri((1 + LEVEL) / 2)) / sqrt(len(both) - 3)
        return r, tanh(atanh(r) - reach), tanh(atanh(r) + reach)


def ratio_to(own: Pairs, reference: Pairs) -> tuple[float, float, float]:
    """Certainty of ``own`` over that of ``reference``, on the seeds that both have."""
    both = pd.concat([reference.differences, own.differences], axis=1).dropna().to_numpy(float)
    cost = reference.minutes / own.minutes
    ratio, low, high = variance_ratio(both[:, 0], both[:, 1])
    return ratio * cost, low * cost, high * cost


def variance_ratio(x: Vector, y: Vector) -> tuple[float, float, float]:
    """Variance of x over that of y, measured together, with its interval (Pitman, Morgan).

    x + λ y and x − λ y are uncorrelated where λ² is the true ratio; the interval holds every ratio
    for which a t test of their correlation would not say otherwise. Needs three pairs.

    >>> x = np.array([1.0, -1.0, 2.0, -2.0])
    >>> variance_ratio(x, x / 2)  # the same but for the scale: known exactly
    (4.0, 4.0, 4.0)
    """
    n = len(x)
    if n < 3:
        return nan, nan, nan
    ratio = float(np.var(x, ddof=1) / np.var(y, ddof=1))
    unexplained = max(1 - float(np.corrcoef(x, y)[0, 1]) ** 2, 0.0)
    if unexplained < 1e-12:
        return ratio, ratio, ratio
    middle = 1 + 2 * unexplained * float(stdtrit(n - 2, (1 + LEVEL) / 2)) ** 2 / (n - 2)
    reach = sqrt(middle**2 - 1)
    return ratio, ratio * (middle - reach), ratio * (middle + reach)


def pairs_of(scores: pd.DataFrame, a: str, b: str) -> dict[tuple[str, ...], Pairs]:
    """Pairs by setting, way of scoring and images, over the seeds that both arms have."""
    found = {}
    for keys, rows in scores.groupby(KEYS, sort=False):
        table = rows.pivot(index="seed", columns="arm", values="iou")
        if not {a, b} <= set(table):
            continue
        table = table[[a, b]].dropna()
        if len(table) >= 3:
            paired = rows[rows["seed"].isin(table.index) & rows["arm"].isin([a, b])]
            minutes = float(paired.groupby("arm")["seconds"].mean().sum()) / 60
            found[keys] = Pairs(table[a], table[b], minutes)
    return found


def summarised(scores: pd.DataFrame, a: str = "llm", b: str = PLAIN) -> pd.DataFrame:
    """Spread and cost of each setting and way of scoring; ratios are to the first of its images."""
    rows: list[dict[str, Any]] = []
    references: dict[str, Pairs] = {}
    for (setting, scored, images), pairs in pairs_of(scores, a, b).items():
        reference = references.setdefault(images, pairs)
        r, r_low, r_high = pairs.correlation()
        low, high = pairs.certainty_interval()
        to, to_low, to_high = ratio_to(pairs, reference)
        rows.append(
            {
                "setting": setting,
                "scored": scored,
                "images": images,
                "a": a,
                "b": b,
                "n_seeds": len(pairs.differences),
                "sd_a": pairs.a.std(),
                "sd_b": pairs.b.std(),
                "sd_difference": pairs.differences.std(),
                "r": r,
                "r_low": r_low,
                "r_high": r_high,
                "minutes": pairs.minutes,
                "certainty": pairs.certainty,
                "certainty_low": low,
                "certainty_high": high,
                "to_first": to,
                "to_first_low": to_low,
                "to_first_high": to_high,
            }
        )
    return pd.DataFrame(rows)


def blinded(scores: pd.DataFrame) -> pd.DataFrame:
    """Each score less the mean over its arm's seeds: spreads can be checked, effects not seen."""
    own_mean = scores.groupby([*KEYS, "arm"])["iou"].transform("mean")
    table = scores.assign(deviation=scores["iou"] - own_mean)
    return table[[*KEYS, "arm", "seed", "deviation", "seconds"]]


def learning(curves: pd.DataFrame) -> pd.DataFrame:
    """What each epoch gains for the plain CNN, beside the SD over its seeds."""
    own = curves[curves["arm"] == PLAIN].sort_values("epoch")
    steps = own.assign(gain=own.groupby(["setting", "scored", "seed"])["val_iou"].diff())
    grouped = steps.groupby(["setting", "scored", "epoch"], sort=False)
    return grouped.agg(
        n_seeds=("seed", "nunique"), gain=("gain", "mean"), sd_seeds=("val_iou", "std")
    ).reset_index()


def main() -> None:
    """Write the three tables and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path, help="the folder that precision.py wrote to")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks"))
    parser.add_argument("--arms", nargs=2, default=["llm", PLAIN])
    parser.add_argument("--images", nargs="+", default=[ALL, "ct-2"], help="all, or a person's")
    given = parser.parse_args()
    scores = pd.read_csv(given.scores / "scores.csv")
    scores = scores[scores["images"].isin(given.images)]
    summary = summarised(scores, *given.arms)
    curves = pd.read_csv(given.scores / "curves.csv")
    # A training that was stopped between its two tables has been made again.
    curves = curves.drop_duplicates(["setting", "scored", "arm", "seed", "epoch"], keep="last")
    for name, table in {
        "precision": blinded(scores),
        "precision_summary": summary,
        "precision_learning": learning(curves),
    }.items():
        table.round(5).to_csv(given.out / f"{name}.csv", index=False)
    print(summary.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
