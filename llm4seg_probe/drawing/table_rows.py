"""The little arithmetic between a table and what is drawn: rows chosen, means by seed.

No test and no interval comes from here: those stand in ``comparison.csv`` and ``claims.csv``,
and the means are taken by the same function that they were computed with.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from llm4seg_probe.arms import by_condition
from llm4seg_probe.drawing.style import in_order
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.averages import scored
from llm4seg_probe.statistics.rows import Columns

_OF_A_RUN = {"run", "dataset", "arm", "seed", "wall_seconds", "peak_memory_mb"}


def told_apart(table: pd.DataFrame, runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """The table with conditions for arms where an arm and seed has several runs.

    ``arm`` becomes ``llm[layer=10]``: what deviates from the base in ``runs.csv``, or what varies
    between the runs of that arm, or the run's name where neither tells them apart.
    """
    described = table[["run", "dataset", "arm", "seed"]].drop_duplicates()
    keys = ["dataset", "arm", "seed"]
    if not described.duplicated(keys).any():
        return table
    if runs is not None and "deviation" in runs.columns:
        return by_condition(table, runs)
    if runs is not None:
        varying = [name for name in runs.columns if name not in _OF_A_RUN]
        described = described.merge(runs[["run", *varying]], on="run", how="left")
    else:
        varying = []
    named = [_conditions(group, varying) for _, group in described.groupby("arm", sort=False)]
    if pd.concat(named).duplicated(keys).any():
        named = [_conditions(group, ["run"]) for _, group in described.groupby("arm", sort=False)]
    by_run = pd.concat(named).set_index("run")["arm"]
    return table.assign(arm=table["run"].map(by_run))


def apart_by_dataset(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the data set in the arm where there are several: ``llm[dataset=spine]``."""
    if table["dataset"].nunique() < 2:
        return table
    named = [
        f"{arm[:-1]},dataset={dataset}]" if arm.endswith("]") else f"{arm}[dataset={dataset}]"
        for arm, dataset in zip(table["arm"], table["dataset"], strict=True)
    ]
    return table.assign(arm=named)


def _conditions(group: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    varying = [name for name in columns if group[name].nunique(dropna=False) > 1]
    if not varying:
        return group
    deviation = group[varying].apply(
        lambda row: ",".join(f"{name}={row[name]}" for name in varying), axis=1
    )
    return group.assign(arm=group["arm"] + "[" + deviation + "]")


def on_test_split(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of the test split at the checkpoint that validation chose."""
    return scores[(scores["split"] == "test") & (scores["checkpoint"] == "best")]


def measured(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``rank.csv`` or ``maps.csv`` that are the measurement itself, on whole images."""
    return _whole_images(table[table["null"] == ""])


def nulls(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``rank.csv`` or ``maps.csv`` where nothing was learned, on whole images."""
    return _whole_images(table[table["null"] != ""])


def _whole_images(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["part"] == "all"] if "part" in rows.columns else rows


def one_kind_of_map(maps: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``maps.csv`` with one reduction and one threshold: the usual ones, else the first."""
    for column, usual in (("reduction", "mean_abs"), ("threshold", "otsu")):
        found = maps[column].unique()
        maps = maps[maps[column] == (usual if usual in found else found[0])]
    return maps


def compared(comparison: pd.DataFrame, table: str, score: str | None = None) -> pd.DataFrame:
    """Rows of ``comparison.csv`` on one table (``scores``, ``rank``, ``maps``) and one score.

    Rows that do not name their table are on ``scores``.
    """
    rows = comparison
    if "table" in rows.columns:
        rows = rows[rows["table"].fillna("scores") == table]
    elif table != "scores":
        rows = rows.head(0)
    return (rows if score is None else rows[rows["score"] == score]).reset_index(drop=True)


def by_image(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """One ``value`` per arm, seed and image, the mean of its classes.

    Raises TableError where rows are left that differ in more than that, such as two sites, or
    two runs of one arm and seed: see :func:`told_apart`.
    """
    classes = ("class",) if "class" in rows.columns else ()
    return scored(rows, value, Columns(), classes)


def by_seed(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Seeds by arms: the mean of ``value`` over the images of each run, arms in fixed order."""
    if rows.empty:
        raise TableError(f"no row is left from which a mean {value} could be taken")
    means = by_image(rows, value).groupby(["seed", "arm"])["value"].mean().unstack()
    return means[in_order(means.columns)]


def by_case(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Cases (image, group) by arms: the mean of ``value`` over seeds and classes."""
    means = by_image(rows, value).groupby(["image", "group", "arm"])["value"].mean().unstack()
    return means[in_order(means.columns)]


def middle(values: pd.Series, share: float = 0.9) -> tuple[float, float]:
    """The range that holds the middle share of the values: between the 5th and 95th percentile."""
    tail = (1 - share) / 2
    return float(values.quantile(tail)), float(values.quantile(1 - tail))


def spread_out(count: int, wanted: int) -> list[int]:
    """Evenly spaced places among ``count``: a choice that nobody made.

    >>> spread_out(9, 3)
    [0, 4, 8]
    """
    return sorted({int(place) for place in np.linspace(0, count - 1, min(wanted, count)).round()})
