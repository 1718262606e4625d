"""Agreement of seeds: means with intervals, and the correlation of their weights."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from llm4seg_probe.arms import ARMS
from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import arm_style
from llm4seg_probe.probes.mixture import AGREEMENT, MIXTURE, SEEDS
from llm4seg_probe.randomness import address

DRAWS = 1999
"""Exchanges of the layers that the null of the correlation is made of."""
_ALIKE = 1e-6


def derived(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """``mixture-seeds.csv`` and ``mixture-agreement.csv`` from ``mixture.csv``."""
    table = by_mixture(tables[MIXTURE.name])
    return {SEEDS.name: over_seeds(table), AGREEMENT.name: agreement(table)}


def by_mixture(table: pd.DataFrame) -> pd.DataFrame:
    """The table with conditions for arms: ``llm-mix[mixture=3+9+15]`` where mixtures differ.

    And ``mix_weights=uniform`` of one whose weights are not learned.
    """
    plain = table["arm"].astype(str).str.partition("[")[0]
    several = table.groupby(plain)["layers"].transform("nunique") > 1
    names = []
    for arm, layers, learned, many in zip(
        plain, table["layers"], table["learned"], several, strict=True
    ):
        field = "mixture" if arm in ARMS and ARMS[arm].mixed else "layer"
        parts = ["mix_weights=uniform"] if learned == "no" else []
        parts += [f"{field}={layers}"] if many else []
        names.append(f"{arm}[{','.join(parts)}]" if parts else arm)
    return table.assign(arm=names)


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds with its 95 % t interval, of each layer's weight or the gate's opening.

    By epoch, and at the stored checkpoint, whose epoch differs between seeds and is empty.
    """
    rows = table[table["checkpoint"] != "last"]
    rows = rows.assign(epoch=rows["epoch"].where(rows["checkpoint"] == ""))
    keys = [*SEEDS.keys]
    found = []
    for what in ("weight", "gate"):
        there = rows.dropna(subset=[what])
        for names, values in there.groupby(keys, sort=False, dropna=False)[what]:
            known = dict(zip(keys, names, strict=True))
            found.append({**known, "what": what, **_interval(values.to_numpy(dtype=float))})
    return pd.DataFrame(found, columns=list(SEEDS.columns))


def _interval(values: np.ndarray) -> dict[str, float | int]:
    mean, count = float(values.mean()), len(values)
    reach = np.nan
    if count > 1:
        error = values.std(ddof=1) / np.sqrt(count)
        reach = float(stats.t.ppf(0.975, count - 1) * error)
    return {"n_seeds": count, "mean": mean, "ci_low": mean - reach, "ci_high": mean + reach}


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Whether seeds give the same layers weight: a row for each data set and mixture.

    ``correlation`` is the mean of Pearson's over all pairs of seeds, of their weights at the stored
    checkpoint over the layers. Its null exchanges the layers in each seed; ``null_low`` and
    ``null_high`` hold 95 % of it, ``p`` is the share that reaches the correlation. Empty for
    weights that are all alike, for one seed, and for fewer than three layers.
    """
    rows = table[(table["checkpoint"] == "best") & (table["layer"] != "")]
    together = table[(table["checkpoint"] == "best") & (table["layer"] == "")]
    found = []
    for (dataset, arm), of_arm in rows.groupby(["dataset", "arm"], sort=False):
        weights = of_arm.pivot(index="seed", columns="layer", values="weight").to_numpy(dtype=float)
        spread = together[(together["dataset"] == dataset) & (together["arm"] == arm)]
        found.append(
            {
                "dataset": dataset,
                "arm": arm,
                "layers": of_arm["layers"].iloc[0],
                "n_seeds": len(weights),
                "effective_layers": spread["effective_layers"].mean(),
                **_agreement(weights, (dataset, arm)),
            }
        )
    return pd.DataFrame(found).reindex(columns=list(AGREEMENT.columns))


def _agreement(weights: np.ndarray, name: tuple[Hashable, ...]) -> dict[str, float]:
    """Mean correlation of the rows (seeds by layers), and where it stands in its null."""
    seeds, layers = weights.shape
    if seeds < 2 or layers < 3 or (weights.std(1) < _ALIKE).any():
        return {}
    draw = np.random.default_rng(address("mixture", "agreement", *map(str, name)))
    observed = mean_correlation(weights)
    null = np.array([mean_correlation(draw.permuted(weights, axis=1)) for _ in range(DRAWS)])
    low, high = np.quantile(null, [0.025, 0.975])
    reached = (1 + (null >= observed - 1e-12).sum()) / (1 + DRAWS)
    return {
        "correlation": observed, "null_low": float(low), "null_high": float(high),
        "p": float(reached),
    }  # fmt: skip


def mean_correlation(weights: np.ndarray) -> float:
    """Mean of Pearson's correlation over all pairs of rows.

    >>> round(mean_correlation(np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 2.0, 1.0]])), 3)
    -0.333
    """
    of_pairs = np.corrcoef(weights)[np.triu_indices(len(weights), 1)]
    return float(of_pairs.mean())


def summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The stored checkpoint of each run: how spread, how deep, how open, and what goes on."""
    table = tables[MIXTURE.name]
    rows = table[(table["checkpoint"] == "best") & (table["layer"] == "")]
    columns = ["arm", "seed", "layers", "effective_layers", "depth", "gate", "added"]
    return rows[columns].reset_index(drop=True)


def sentences(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Whether seeds agree on the layers, and how far gates are open."""
    for row in _records(tables[AGREEMENT.name]):
        if pd.isna(row["correlation"]):
            continue
        agree = (
            "agree on the layers" if row["p"] < 0.05 else "cannot be told to agree on the layers"
        )
        yield (
            f"{arm_style(row['arm']).label}: {row['n_seeds']} seeds {agree}: mean correlation of "
            f"their weights {labels.number(row['correlation'], 2, signed=True)} (p "
            f"{labels.p_value(row['p'])}; 95 % of the exchanged ones "
            f"{labels.number(row['null_low'], 2, signed=True)} to "
            f"{labels.number(row['null_high'], 2, signed=True)})."
        )
    seeds = tables[SEEDS.name]
    for row in _records(seeds[(seeds["what"] == "gate") & (seeds["checkpoint"] == "best")]):
        within = ""
        if not pd.isna(row["ci_low"]):
            within = (
                f" (95 % interval {labels.number(row['ci_low'], 3, signed=True)} to "
                f"{labels.number(row['ci_high'], 3, signed=True)})"
            )
        count = f"{row['n_seeds']} seed{'s' if row['n_seeds'] > 1 else ''}"
        yield (
            f"{arm_style(row['arm']).label}: the gate stands at "
            f"{labels.number(row['mean'], 3, signed=True)}{within} over {count}."
        )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.to_numpy(dtype=object)]
