"""Checks of a table of results: each finds one thing that should make its reader pause."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import SIDES
from llm4seg_probe.score_names import known
from llm4seg_probe.statistics.bootstrap import FEWEST_GROUPS
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.nnunet_summary import case_name
from llm4seg_probe.statistics.units import PERCENT_FROM

COARSE = 4
"""Single scores of no more decimals than this may be equal by chance."""
FEWEST_VARIANTS = 3
BY_CHANCE = 1e-3
"""Runs whose scores would all be equal with a smaller chance than this are copies."""


@dataclass(frozen=True)
class Inspected:
    """The recognised table under our names, for the checks.

    rows: columns ``dataset, arm, seed`` and those of ``image, group, class, split, fold, epoch``
    that there are, and ``value``. margin: None where none is known. copies: rows of the whole
    table that are there before, in every column.
    """

    rows: pd.DataFrame
    score: str
    margin: float | None
    baseline: str = ""
    copies: int = 0

    def has(self, column: str) -> bool:
        """Whether the table has such a column."""
        return column in self.rows.columns


def inspect(table: Inspected) -> list[Finding]:
    """All findings, faults first."""
    found = [finding for check in CHECKS for finding in check(table)]
    order = ("fault", "doubt", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _seeds(table: Inspected) -> Iterator[Finding]:
    """One run; arms with different numbers of runs, or with seeds that the baseline lacks."""
    unit = "fold" if table.has("fold") else "seed"
    for dataset, rows in table.rows.groupby("dataset", sort=False):
        place = f" on {dataset!s}" if dataset else ""
        seeds = {str(arm): set(own[unit]) for arm, own in rows.groupby("arm", sort=False)}
        counts = {arm: len(values) for arm, values in seeds.items()}
        if max(counts.values()) == 1:
            yield Finding("fault", f"one run per arm{place}: the noise of training is unknown")
            continue
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{arm} {count}" for arm, count in counts.items())
            what = "folds" if unit == "fold" else "runs"
            yield Finding(
                "doubt",
                f"arms have different numbers of {what}{place} ({told}): is one the best of "
                "several?",
            )
        if unit == "fold":
            continue
        base = seeds.get(table.baseline, set())
        for arm, own in seeds.items():
            pair = f"{arm} and {table.baseline}" if len(seeds) > 2 else "every arm"
            if arm == table.baseline or own == base:
                continue
            alone = ", ".join(map(str, sorted(own ^ base, key=str)[:10]))
            if len(own & base) >= min(2, len(own), len(base)):
                yield Finding("doubt", f"seeds {alone} are not in {pair}{place}: they are left out")
            elif own & base:
                yield Finding("note", f"one seed only is in {pair}{place}: the runs are not paired")
            else:
                yield Finding("note", f"no seed is in {pair}{place}: the runs are not paired")


def _cases(table: Inspected) -> Iterator[Finding]:
    """Cases that some runs lack, few patients, patients that only the cases' names tell."""
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
            each = rows.groupby(["arm", *case], observed=True).size().unstack("arm", fill_value=0)
            short = [str(arm) for arm in each if (each[arm] < (runs["arm"] == arm).sum()).any()]
            whose = f": a case that {short[0]} alone lacks may be one that it missed"
            yield Finding(
                "doubt",
                f"{lacking} of {len(counts)} cases lack a row in some run"
                f"{whose if len(short) == 1 and each.shape[1] > 1 else ''}",
            )
    unit = ["group"] if table.has("group") else ["image"]
    units = len(rows[unit].drop_duplicates())
    if not table.has("group"):
        yield from unknown_patients(rows["image"])
    if units < FEWEST_GROUPS:
        yield Finding("note", f"{units} patients are too few to speak of other patients")


_VIEW = (
    "l|r|left|right|od|os|cc|mlo|ed|es|ap|pa|lat|lateral|frontal|ax|axial|cor|coronal|sag|sagittal"
    "|pre|post|dia|sys|diastole|systole|t1|t1c|t2|flair|dwi|adc|[xyz]\\d+"
)
_FOLDER = re.compile(r"^(.*\d[^/\\]*)[/\\][^/\\]+$")  # patient0/img1.png
_PARTS = (
    # s0_L, A_0001_LEFT_CC, img0_x256_y0
    re.compile(rf"^(.+?)(?:[_\-./ ]+(?:{_VIEW}))+$", re.IGNORECASE),
    # P0_0, P001-S000, patient_001_slice_03
    re.compile(
        r"^(.*?)[_\-./ ]+(?:slice|sl|s|z|frame|f|img|image|t|tp|time|visit|v|scan)?[_-]?\d+$",
        re.IGNORECASE,
    ),
)
"""Names of images of one patient: what comes before the part that tells them apart."""


def unknown_patients(cases: pd.Series) -> Iterator[Finding]:
    """What a table without patients leaves open, with names like slices of one: ``P0_0, P0_1``."""
    yield Finding("note", "no patients in the table: every case is taken for another patient")
    paths = cases.drop_duplicates().astype(str)
    names = paths.map(case_name)
    for pattern, whole in ((_FOLDER, paths), *((part, names) for part in _PARTS)):
        sizes = whole.str.extract(pattern)[0].value_counts(dropna=False)
        if sizes.index.notna().all() and len(sizes) > 1 and (sizes > 1).mean() >= 0.75:
            yield Finding(
                "doubt",
                f"the cases look like {len(sizes)} patients with several images each "
                f"({whole.iloc[0]}, {whole.iloc[1]}, …): if so, name a column of patients "
                "(--group)",
            )
            return


def _empty(table: Inspected) -> Iterator[Finding]:
    """Scores that are empty, or infinite, and whose."""
    values = table.rows["value"]
    infinite = np.isinf(values)
    for level, what, some in (("fault", "infinite", infinite), ("doubt", "empty", values.isna())):
        count = int(some.sum())
        if not count:
            continue
        arms = table.rows.loc[some, "arm"].drop_duplicates().tolist()
        whose = ""
        if len(arms) == 1 and table.rows["arm"].nunique() > 1 and count > 1:
            whose = f", all of {arms[0]}: a case that one arm cannot score is one that it missed"
        yield Finding(level, f"{count} of {len(table.rows)} scores are {what}{whose}")  # type: ignore[arg-type]


def _selection(table: Inspected) -> Iterator[Finding]:
    """Scores of the data on which something was chosen; an epoch of its own for each run."""
    if table.has("split"):
        splits = {str(value).strip().lower() for value in table.rows["split"].unique()}
        if splits and all(SIDES.get(split, "test") != "test" for split in splits):
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
    scores = table.rows["value"]
    rounded = _decimals(scores) <= COARSE or _digits(scores) <= COARSE
    order = [name for name in ("group", "image", "class") if table.has(name)]
    rows = table.rows.sort_values(order) if order else table.rows
    runs: dict[tuple[str, str], np.ndarray] = {}
    for key, run in rows.groupby(keys, sort=False):
        values = run["value"].to_numpy(np.float64)
        where = f"{key[0]}/{key[3]}" if "fold" in keys and len(keys) > 3 else str(key[0])
        # A single rounded number may well come twice; many, or one of many digits, do not.
        if len(values) < 3 and (rounded or len(rows) > len(table.rows.groupby(keys))):
            continue
        runs[where, f"{key[1]} seed {key[2]}"] = values
    seen: dict[bytes, str] = {}
    for (where, name), values in runs.items():
        digest = where.encode() + values.tobytes()
        if digest in seen and not (rounded and _by_chance(values, where, runs)):
            yield Finding("fault", f"{seen[digest]} and {name} have identical scores")
        seen.setdefault(digest, name)


def _by_chance(values: np.ndarray, where: str, runs: dict[tuple[str, str], np.ndarray]) -> bool:
    """Whether a run of coarse scores may well agree with another in all cases.

    Each case agrees as often as it does between this run and those that differ from it.
    """
    others = [
        other for (place, _), other in runs.items()
        if place == where and len(other) == len(values)
        and not np.array_equal(other, values, equal_nan=True)
    ]  # fmt: skip
    if not others:
        return len(np.unique(values)) <= 2
    agree = float(np.mean([np.mean(other == values) for other in others]))
    return bool(agree ** len(values) * len(runs) ** 2 / 2 > BY_CHANCE)


def _doubled(table: Inspected) -> Iterator[Finding]:
    """Rows that appear twice."""
    if table.copies and not table.has("epoch"):
        yield Finding("fault", f"{table.copies} rows appear twice")


def _units(table: Inspected) -> Iterator[Finding]:
    """Percentages beside fractions."""
    kind = known(table.score)
    if kind is None or not kind.fraction:
        return
    finite = table.rows[np.isfinite(table.rows["value"])]
    largest = finite.groupby(["dataset", "arm", "seed"], sort=False)["value"].max()
    percent = largest > PERCENT_FROM
    if percent.any() and ((largest <= 1) & (largest > 0)).any():
        few = largest.index[percent if percent.mean() <= 0.5 else ~percent]
        told = ", ".join(" ".join(map(str, key)).strip() for key in few[:5])
        yield Finding("fault", f"percentages beside fractions: {told} in the other unit")


def _rounding(table: Inspected) -> Iterator[Finding]:
    """Scores rounded more coarsely than the margin, in the mean of a run."""
    values = table.rows["value"].dropna()
    # A case that is right or wrong is not rounded.
    if table.margin is None or values.empty or values.isin([0, 1]).all():
        return
    step = 10.0 ** -_decimals(table.rows["value"])
    run = [name for name in ("dataset", "arm", "seed", "fold") if table.has(name)]
    cases = int(table.rows.groupby(run).size().median())
    if step / cases > table.margin:
        yield Finding("doubt", f"scores are rounded to {step:g}, more coarsely than the margin")


def _decimals(column: pd.Series[float], most: int = 12) -> int:
    """Digits behind the point that all values do with; ``most`` where they have more."""
    values = column[np.isfinite(column)].unique()
    for decimals in range(most):
        near = 1e-12 if decimals < 6 else 1e-4 * 10.0**-decimals
        if np.allclose(values, np.round(values, decimals), rtol=0, atol=near):
            return decimals
    return most


def _digits(column: pd.Series[float]) -> int:
    """Significant digits of the values, as far as the first hundred tell."""
    values = column[np.isfinite(column)].unique()[:100]
    return max(
        (
            len(f"{value:.12e}".split("e")[0].strip("-").rstrip("0").replace(".", ""))
            for value in values
        ),
        default=0,
    )


def _variants(table: Inspected) -> Iterator[Finding]:
    """Arms that differ in a number only, such as ``ours 1, ours 2, …``: is one the best of them?"""
    finite = table.rows[np.isfinite(table.rows["value"])]
    for dataset, rows in finite.groupby("dataset", sort=False):
        means = rows.groupby("arm", sort=False)["value"].mean()
        stems = [re.sub(r"[\s_=:-]*\d+(\.\d+)?$", "", arm) for arm in means.index]
        for stem, alike in means.groupby(np.array(stems), sort=False):
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
    arms = table.rows[["dataset", "arm"]].drop_duplicates().groupby("dataset")["arm"].agg(set)
    comparisons = sum(len(some) - 1 for some in arms if table.baseline in some)
    if comparisons > 1:
        yield Finding(
            "note",
            f"{comparisons} comparisons with the baseline: p is adjusted over all of them (Holm)",
        )
    lacking = [
        f"{arm} on {dataset}"
        for dataset, some in arms.items()
        for arm in sorted(set.union(*arms) - some)
    ]
    if lacking:
        yield Finding("doubt", f"not in the table, and not compared: {', '.join(lacking[:6])}")


CHECKS: tuple[Callable[[Inspected], Iterator[Finding]], ...] = (
    _doubled, _units, _copies, _seeds, _cases, _empty, _selection, _variants, _rounding, _many,
)  # fmt: skip
