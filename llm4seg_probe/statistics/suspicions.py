"""What should make a reader of a table of results pause: one check, one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.statistics.bootstrap import FEWEST_GROUPS
from llm4seg_probe.statistics.scales import FRACTIONS, PERCENT_FROM

VALIDATION = ("val", "valid", "validation", "dev", "train", "training")

COARSE = 4
"""Single scores of no more decimals than this may be equal by chance."""
FEWEST_VARIANTS = 3


@dataclass(frozen=True)
class Finding:
    """One thing found.

    fault: the comparison cannot stand as it is; doubt: ask the authors; note: good to know.
    """

    level: Literal["fault", "doubt", "note"]
    what: str


@dataclass(frozen=True)
class Inspected:
    """The recognised table under our names, for the checks.

    rows: columns ``dataset, arm, seed`` and those of ``image, group, class, split, fold, epoch``
    that there are, and ``value``.
    """

    rows: pd.DataFrame
    score: str
    margin: float

    def has(self, column: str) -> bool:
        """Whether the table has such a column."""
        return column in self.rows.columns


def inspect(table: Inspected) -> list[Finding]:
    """All findings, faults first."""
    found = [finding for check in CHECKS for finding in check(table)]
    order = ("fault", "doubt", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _seeds(table: Inspected) -> Iterator[Finding]:
    """One seed; arms with different numbers of runs; arms whose seeds do not match."""
    for dataset, rows in table.rows.groupby("dataset", sort=False):
        place = f" on {dataset!s}" if dataset else ""
        seeds = {arm: set(own["seed"]) for arm, own in rows.groupby("arm", sort=False)}
        counts = {arm: len(values) for arm, values in seeds.items()}
        if max(counts.values()) == 1:
            yield Finding("fault", f"one run per arm{place}: the noise of training is unknown")
            continue
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{arm!s} {count}" for arm, count in counts.items())
            yield Finding(
                "doubt",
                f"arms have different numbers of runs{place} ({told}): is one the best of several?",
            )
        common = set.intersection(*seeds.values())
        alone = set.union(*seeds.values()) - common
        if alone and common:
            listed = ", ".join(map(str, sorted(alone, key=str)[:10]))
            yield Finding("doubt", f"seeds {listed} are not in every arm{place}: they are left out")
        if not common:
            yield Finding("note", f"no seed is in every arm{place}: the runs are not paired")


def _cases(table: Inspected) -> Iterator[Finding]:
    """Cases that some runs lack, empty scores, few patients."""
    if not table.has("image"):
        yield Finding("note", "no cases in the table: nothing can be said about other patients")
        return
    rows = table.rows
    case = [name for name in ("dataset", "fold", "group", "image", "class") if table.has(name)]
    runs = rows[["arm", "seed"]].drop_duplicates()
    if not table.has("fold") and rows["dataset"].nunique() == 1:
        counts = rows.groupby(case, observed=True).size()
        lacking = int((counts < len(runs)).sum())
        if lacking:
            yield Finding("doubt", f"{lacking} of {len(counts)} cases lack a row in some run")
    empty = int(rows["value"].isna().sum())
    if empty:
        yield Finding("doubt", f"{empty} of {len(rows)} scores are empty")
    units = rows["group" if table.has("group") else "image"].nunique()
    if not table.has("group"):
        yield Finding("note", "no patients in the table: every case is taken for another patient")
    if units < FEWEST_GROUPS:
        yield Finding("note", f"{units} patients are too few to speak of other patients")


def _selection(table: Inspected) -> Iterator[Finding]:
    """Scores of the data on which something was chosen; an epoch of its own for each run."""
    if table.has("split"):
        splits = {str(value).lower() for value in table.rows["split"].unique()}
        if splits and splits <= set(VALIDATION):
            yield Finding(
                "doubt",
                f"all scores are of the split {', '.join(sorted(splits))}: if the epoch or the "
                "settings were chosen there, they flatter",
            )
    if table.has("epoch"):
        epochs = table.rows.groupby(["arm", "seed"])["epoch"].first().nunique()
        if epochs > 1:
            yield Finding(
                "doubt",
                f"the runs report {epochs} different epochs: on which data was each chosen?",
            )


def _copies(table: Inspected) -> Iterator[Finding]:
    """Two runs with the same scores in every case, to the last digit."""
    keys = [name for name in ("dataset", "arm", "seed", "fold") if table.has(name)]
    rounded = _decimals(table.rows["value"]) <= COARSE
    order = [name for name in ("group", "image", "class") if table.has(name)]
    rows = table.rows.sort_values(order) if order else table.rows
    seen: dict[bytes, str] = {}
    for key, run in rows.groupby(keys, sort=False):
        values = run["value"].to_numpy(np.float64)
        where = f"{key[0]}/{key[3]}" if "fold" in keys else str(key[0])
        name = f"{key[1]} seed {key[2]}"
        # A single rounded number may well come twice; many, or one of many digits, do not.
        if len(values) < 3 and (rounded or len(rows) > len(table.rows.groupby(keys))):
            continue
        digest = where.encode() + values.tobytes()
        if digest in seen:
            yield Finding("fault", f"{seen[digest]} and {name} have identical scores")
        seen.setdefault(digest, name)


def _doubled(table: Inspected) -> Iterator[Finding]:
    """Rows that appear twice."""
    doubled = int(table.rows.duplicated().sum())
    if doubled:
        yield Finding("fault", f"{doubled} rows appear twice")


def _units(table: Inspected) -> Iterator[Finding]:
    """Percentages beside fractions."""
    if table.score not in FRACTIONS:
        return
    largest = table.rows.groupby(["dataset", "arm", "seed"], sort=False)["value"].max()
    percent = largest > PERCENT_FROM
    if percent.any() and ((largest <= 1) & (largest > 0)).any():
        few = largest.index[percent if percent.mean() <= 0.5 else ~percent]
        told = ", ".join(" ".join(map(str, key)).strip() for key in few[:5])
        yield Finding("fault", f"percentages beside fractions: {told} in the other unit")


def _rounding(table: Inspected) -> Iterator[Finding]:
    """Scores rounded more coarsely than the margin."""
    step = 10.0 ** -_decimals(table.rows["value"])
    if step > table.margin:
        yield Finding("doubt", f"scores are rounded to {step:g}, more coarsely than the margin")


def _decimals(column: pd.Series[float], most: int = 6) -> int:
    """Digits behind the point that all values do with; ``most`` where they have more."""
    values = column.dropna().unique()
    for decimals in range(most):
        if np.allclose(values, np.round(values, decimals), rtol=0, atol=1e-12):
            return decimals
    return most


def _variants(table: Inspected) -> Iterator[Finding]:
    """Arms that differ in a number only, such as ``ours 1, ours 2, …``: is one the best of them?"""
    for dataset, rows in table.rows.groupby("dataset", sort=False):
        means = rows.groupby("arm", sort=False)["value"].mean()
        stems = means.index.to_series().str.replace(r"[\s_=:-]*\d+(\.\d+)?$", "", regex=True)
        for stem, alike in means.groupby(stems.to_numpy(), sort=False):
            if len(alike) >= FEWEST_VARIANTS:
                place = f" on {dataset!s}" if dataset else ""
                yield Finding(
                    "doubt",
                    f"{len(alike)} arms are variants of '{stem}'{place}, from {alike.min():.4g} to "
                    f"{alike.max():.4g} (SD {alike.std():.2g}): the best of several is chosen on "
                    "the scores that it reports",
                )


def _many(table: Inspected) -> Iterator[Finding]:
    """Many comparisons, of which the best may be chance."""
    comparisons = (table.rows["arm"].nunique() - 1) * table.rows["dataset"].nunique()
    if comparisons > 1:
        yield Finding(
            "note",
            f"{comparisons} comparisons with the baseline: p is adjusted over all of them (Holm)",
        )


CHECKS: tuple[Callable[[Inspected], Iterator[Finding]], ...] = (
    _doubled, _units, _copies, _seeds, _cases, _selection, _variants, _rounding, _many,
)  # fmt: skip
