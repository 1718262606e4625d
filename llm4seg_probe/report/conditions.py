"""One row per condition: score, difference from the baseline, rank, activation IoU, time."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan, sqrt
from typing import Any

import pandas as pd

from llm4seg_probe.arms import parse_condition
from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import arm_style, in_order
from llm4seg_probe.drawing.table_rows import (
    by_case,
    by_image,
    by_seed,
    compared,
    measured,
    on_test_split,
    one_kind_of_map,
)
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.report.page_tables import Column, Listing, number_cell, text_cell
from llm4seg_probe.report.results import Results
from llm4seg_probe.report.verdicts import EffectPlot
from llm4seg_probe.scores import OF_MASKS, OF_PROBABILITIES, OF_SETS
from llm4seg_probe.statistics.paired_tests import Estimate

RANKS = ("effective_rank", "lsvr")
MAPS = ("iou", "auroc", "contrast")
SCORED = (*OF_MASKS, *OF_PROBABILITIES, *OF_SETS)
"""Scores of all tasks, of which a study has those of its own."""
DECIMALS = 3


@dataclass(frozen=True)
class Condition:
    """A condition on one data set, with the numbers of its row; NaN where one was not measured.

    low, high: 95 % t interval of the mean over seeds. fields: what the facets are made of: the
    arm, the data set, and each field that deviates.
    """

    dataset: str
    name: str
    label: str
    colour: str
    fields: dict[str, str]
    n_seeds: int
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    rank: float
    activation: float
    minutes: float
    values: dict[str, float]

    @property
    def key(self) -> str:
        """Name under which the page finds it."""
        return f"{self.dataset}|{self.name}"


def condition_rows(results: Results) -> list[Condition]:
    """All conditions, the first data set's first, arms in their order.

    From ``scores.csv``, or from the means in ``comparison.csv`` where the scores themselves are
    not there.
    """
    rows: list[Condition] = []
    for dataset, part in results.parts.items():
        means = _score_means(part)
        gains, others = _differences(part), _other_means(part)
        for name in in_order(means):
            n, mean, sd = means[name]
            low, high = Estimate(n, mean, sd, sd / sqrt(n) if n else nan, n - 1).interval()
            style = arm_style(name)
            values = {key: column[name] for key, column in others.items() if name in column}
            difference, difference_low, difference_high = gains.get(name, (nan, nan, nan))
            rows.append(
                Condition(
                    dataset=dataset,
                    name=name,
                    label=style.label,
                    colour=style.colour,
                    fields=_fields(dataset, name),
                    n_seeds=n,
                    mean=mean,
                    low=low,
                    high=high,
                    difference=difference,
                    difference_low=difference_low,
                    difference_high=difference_high,
                    rank=values.get("rank|effective_rank", nan),
                    activation=values.get("maps|iou", nan),
                    minutes=values.get("runs|minutes", nan),
                    values={f"scores|{results.main_score}": mean, **values},
                )
            )
    return rows


def condition_listing(rows: list[Condition], score: str) -> Listing:
    """The conditions as a table for a paper."""
    name = labels.measure(score).name
    columns = (
        Column("Data", False),
        Column("Condition", False),
        Column(f"Test {name}"),
        Column("95 % interval", True, "t interval over seeds"),
        Column("Difference from the baseline"),
        Column("95 % interval of it", True, "paired t interval over seeds"),
        Column("Effective rank", True, "after the layer, mean over images and seeds"),
        Column("Activation IoU", True, "after the layer, mean over images and seeds"),
        Column("Minutes", True, "of training, mean over seeds"),
        Column("Seeds"),
    )
    cells = tuple(
        (
            text_cell(row.dataset),
            text_cell(row.label),
            number_cell(row.mean, labels.number(row.mean, DECIMALS)),
            number_cell(row.low, interval(row.low, row.high, signed=False)),
            number_cell(row.difference, labels.number(row.difference, DECIMALS, signed=True)),
            number_cell(row.difference_low, interval(row.difference_low, row.difference_high)),
            number_cell(row.rank, labels.number(row.rank, 1)),
            number_cell(row.activation, labels.number(row.activation, DECIMALS)),
            number_cell(row.minutes, labels.number(row.minutes, 1)),
            number_cell(row.n_seeds, f"{row.n_seeds}"),
        )
        for row in rows
    )
    return Listing("Conditions, one row each", columns, cells)


def interval(low: float, high: float, *, signed: bool = True) -> str:
    """An interval in the precision of its column; a dash where there is none.

    >>> interval(-0.0543, 0.0166), interval(float("nan"), 1.0)
    ('−0.054 to +0.017', '–')
    """
    if not (isfinite(low) and isfinite(high)):
        return "–"
    first, second = (labels.number(bound, DECIMALS, signed=signed) for bound in (low, high))
    return f"{first} to {second}"


def plots(rows: list[Condition], margin: float | None) -> dict[str, EffectPlot]:
    """A small plot of each difference from the baseline, by key; one scale for each data set."""
    reach = {
        dataset: [
            max(abs(row.difference_low), abs(row.difference_high))
            for row in rows
            if row.dataset == dataset and isfinite(row.difference_low)
        ]
        for dataset in {row.dataset for row in rows}
    }
    extents = {
        dataset: labels.round_up(float(pd.Series(found).quantile(0.8)) or 1.0) if found else 1.0
        for dataset, found in reach.items()
    }
    return {
        row.key: EffectPlot(
            row.difference,
            (row.difference_low, row.difference_high) if isfinite(row.difference_low) else None,
            None,
            margin,
            extents[row.dataset],
        )
        for row in rows
        if isfinite(row.difference)
    }


def facets(rows: list[Condition]) -> dict[str, list[str]]:
    """Fields in which the conditions differ, each with its values in order of appearance."""
    names = dict.fromkeys(name for row in rows for name in row.fields)
    every = {name: list(dict.fromkeys(row.fields.get(name, "") for row in rows)) for name in names}
    return {name: values for name, values in every.items() if len(values) > 1}


def comparison_data(results: Results, rows: list[Condition]) -> dict[str, Any]:
    """What the page needs to set two conditions beside each other, ready for JSON."""
    cases = {}
    for dataset, part in results.parts.items():
        scores = part.tables.get("scores.csv")
        if scores is None:
            continue
        means = by_case(on_test_split(scores), results.main_score)
        cases[dataset] = {
            "names": [str(image) for image, _ in means.index],
            "scores": {
                str(arm): [round(float(value), 4) if isfinite(value) else None for value in column]
                for arm, column in means.items()
            },
        }
    return {
        "score": labels.measure(results.main_score).name,
        "measures": _measures(rows),
        "conditions": [
            {
                "key": row.key, "name": row.name, "label": row.label, "dataset": row.dataset,
                "colour": row.colour,
                "values": {key: _finite(value) for key, value in row.values.items()},
            }
            for row in rows
        ],
        "cases": cases,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if isfinite(value) else None


def _measures(rows: list[Condition]) -> list[dict[str, Any]]:
    """The measures that any condition has: key, label, and decimals to show."""
    names = {key for row in rows for key in row.values}
    known = [
        *(("scores", score, f"Test {labels.measure(score).name}", 3) for score in SCORED),
        *(("rank", value, f"{labels.measure(value, 'rank').name}, after", 2) for value in RANKS),
        *(("maps", value, f"{labels.measure(value, 'maps').name}, after", 3) for value in MAPS),
        ("runs", "minutes", "Minutes of training", 1),
    ]
    return [
        {"key": f"{table}|{value}", "label": label, "decimals": decimals}
        for table, value, label, decimals in known
        if f"{table}|{value}" in names
    ]


def _fields(dataset: str, name: str) -> dict[str, str]:
    found = {"data": dataset}
    try:
        (_, term), *_ = parse_condition(name).terms
    except ConfigError:
        return {**found, "arm": name}
    return {**found, "arm": arm_style(term.arm).label, **dict(term.filters)}


def _score_means(part: Results) -> dict[str, tuple[int, float, float]]:
    """Seeds, mean and standard deviation over seeds of the main score, by condition."""
    scores = part.tables.get("scores.csv")
    if scores is not None:
        wide = by_seed(on_test_split(scores), part.main_score)
        return {
            str(arm): (int(values.count()), float(values.mean()), float(values.std()))
            for arm, values in wide.items()
        }
    rows = _against_baseline(part)
    found: dict[str, tuple[int, float, float]] = {}
    for _, row in rows.iterrows():
        for side in ("b", "a"):
            numbers = (int(row["n_seeds"]), row[f"mean_{side}"], row[f"sd_{side}"])
            found.setdefault(str(row[side]), numbers)
    return found


def _against_baseline(part: Results) -> pd.DataFrame:
    """Rows of ``comparison.csv`` against the baseline, as named, or else the most usual one."""
    comparison = part.tables.get("comparison.csv")
    if comparison is None:
        return pd.DataFrame()
    rows = compared(comparison, "scores", part.main_score)
    rows = rows[~(rows["a"] + rows["b"]).str.contains(r"[( @]|\bsplit=|checkpoint=")]
    if rows.empty:
        return rows
    usual = str(rows["b"].value_counts().index[0])
    baseline = str(part.context.comparison.get("baseline", usual))
    against: pd.DataFrame = rows[rows["b"] == baseline]
    return against


def _differences(part: Results) -> dict[str, tuple[float, float, float]]:
    return {
        str(row["a"]): (row["difference"], row["ci_low"], row["ci_high"])
        for _, row in _against_baseline(part).iterrows()
    }


def _other_means(part: Results) -> dict[str, dict[str, float]]:
    """Means of the further measures over images and seeds, by measure and condition."""
    found: dict[str, dict[str, float]] = {}
    scores, rank, maps = (part.tables.get(f"{name}.csv") for name in ("scores", "rank", "maps"))
    if scores is not None:
        rows = on_test_split(scores)
        for score in SCORED:
            if score != part.main_score and score in rows.columns and rows[score].notna().any():
                found[f"scores|{score}"] = _means(rows.dropna(subset=[score]), score)
    for table, name, values in ((rank, "rank", RANKS), (maps, "maps", MAPS)):
        if table is None:
            continue
        rows = measured(table if name == "rank" else one_kind_of_map(table))
        rows = rows[rows["site"] == "after"]
        for value in values if len(rows) else ():
            found[f"{name}|{value}"] = _means(rows, value)
    runs = part.tables.get("runs.csv")
    if runs is not None:
        seconds = runs.set_index("run")["wall_seconds"]
        named = part.condition_of
        by_condition: dict[str, list[float]] = {}
        for run, value in seconds.items():
            by_condition.setdefault(named.get(str(run), ""), []).append(float(value) / 60)
        found["runs|minutes"] = {
            name: sum(minutes) / len(minutes) for name, minutes in by_condition.items() if name
        }
    return found


def _means(rows: pd.DataFrame, value: str) -> dict[str, float]:
    """Means over seeds of the means over images, by condition."""
    each = by_image(rows, value).groupby(["arm", "seed"])["value"].mean()
    return {str(arm): float(mean) for arm, mean in each.groupby("arm").mean().items()}
