"""Tables of the page: what each cell shows, and the number by which it is sorted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.style import arm_style, condition_style
from llm4seg_probe.reporting.summaries import by_case, by_seed, measured, on_test_split
from llm4seg_probe.reporting.verdicts import VERDICTS, verdict_rows

MISSING = "–"
"""What a cell shows that has no number."""

MOST_CASES = 200
"""More cases than this make a page slow and help no reader; the table has them all."""


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and what it is sorted by: a number, a text, or "" where it is empty."""

    text: str
    value: float | str


@dataclass(frozen=True)
class Column:
    """A column's heading, whether it holds numbers, and a longer explanation."""

    title: str
    numeric: bool = True
    explanation: str = ""


@dataclass(frozen=True)
class Listing:
    """A table of the page."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def text_cell(text: str) -> Cell:
    """A cell that is sorted by what it shows."""
    return Cell(text, text)


def number_cell(value: float, text: str) -> Cell:
    """A cell that shows a number in its own way; one without a number sorts last."""
    known = value is not None and pd.notna(value)
    return Cell(text if known else MISSING, float(value) if known and math.isfinite(value) else "")


def _fixed(column: str, decimals: int = 3) -> Callable[[pd.Series], Cell]:
    return lambda row: number_cell(row[column], labels.number(row[column], decimals))


def _p(column: str) -> Callable[[pd.Series], Cell]:
    return lambda row: number_cell(row[column], labels.p_value(row[column]))


def _whole(column: str) -> Callable[[pd.Series], Cell]:
    return lambda row: number_cell(
        row[column], labels.count(row[column]) if pd.notna(row[column]) else ""
    )


def _interval(low: str, high: str) -> Callable[[pd.Series], Cell]:
    def cell(row: pd.Series) -> Cell:
        decimals = labels.decimals_for(row["ci_high"] - row["ci_low"])
        bounds = [labels.number(row[name], decimals, signed=True) for name in (low, high)]
        return number_cell(row[low], f"{bounds[0]} to {bounds[1]}")

    return cell


def _difference(row: pd.Series) -> Cell:
    decimals = labels.decimals_for(row["ci_high"] - row["ci_low"])
    return number_cell(row["difference"], labels.number(row["difference"], decimals, signed=True))


def _exact(row: pd.Series) -> Cell:
    return number_cell(row["p_exact"], f"{row['p_exact']:.4g} (≥ {row['p_exact_floor']:.4g})")


def table_of(row: pd.Series) -> str:
    """Which table a row of ``comparison.csv`` is on; one that does not say is on ``scores``."""
    table = row.get("table")
    return table if isinstance(table, str) else "scores"


_COMPARISON: tuple[tuple[Column, Callable[[pd.Series], Cell]], ...] = (
    (Column("Data", False), lambda row: text_cell(row["dataset"])),
    (
        Column("Measure", False),
        lambda row: text_cell(labels.measure(row["score"], table_of(row)).name),
    ),
    (Column("a", False), lambda row: text_cell(condition_style(row["a"]).label)),
    (Column("b", False), lambda row: text_cell(condition_style(row["b"]).label)),
    (Column("a − b"), _difference),
    (
        Column("another run", True, "95 % t interval over seeds: another training run"),
        _interval("ci_low", "ci_high"),
    ),
    (
        Column("another patient", True, "95 % bootstrap interval over patients"),
        _interval("case_low", "case_high"),
    ),
    (
        Column("both", True, "95 % bootstrap interval over seeds and patients, crossed"),
        _interval("boot_low", "boot_high"),
    ),
    (Column("p", True, "paired t-test over seeds"), _p("p_t")),
    (
        Column("p, exact", True, "exact sign-flip test; in brackets the least it can give"),
        _exact,
    ),
    (Column("p, adjusted", True, "Holm, over the family of the claim"), _p("p_adjusted")),
    (Column("Margin"), lambda row: number_cell(row["margin"], f"±{row['margin']:g}")),
    (
        Column("p, equivalence", True, "two one-sided tests against the margin"),
        _p("p_equivalence"),
    ),
    (
        Column("Detectable", True, "smallest effect that these seeds could have shown, power 80 %"),
        _fixed("smallest_detectable"),
    ),
    (Column("Seeds"), _whole("n_seeds")),
    (Column("Needed", True, "seeds that the margin would take"), _whole("seeds_needed")),
    (Column("Cases"), _whole("n_cases")),
    (Column("Mean a"), _fixed("mean_a")),
    (Column("Mean b"), _fixed("mean_b")),
    (
        Column("Verdict", False),
        lambda row: text_cell(VERDICTS.get(row["verdict"], (row["verdict"],))[0]),
    ),
)


def comparison_listing(comparison: pd.DataFrame, claim: str = "") -> Listing:
    """Rows of ``comparison.csv``, all or those of a claim, the effect with its intervals first."""
    of = f"claim {claim}" if claim else _datasets(comparison)
    return Listing(
        "Comparisons of two conditions, a − b" + (f" ({of})" if of else ""),
        tuple(column for column, _ in _COMPARISON),
        tuple(tuple(cell(row) for _, cell in _COMPARISON) for _, row in comparison.iterrows()),
    )


def verdict_listing(claims: pd.DataFrame) -> Listing:
    """The verdicts of ``claims.csv``, as a paper's table would give them."""
    titles = ("Claim", "Comparison", "Verdict", "Effect, 95 % interval", "Margin", "p, adjusted")
    rows = [
        tuple(
            map(
                text_cell,
                (
                    row.statement,
                    row.comparison,
                    row.word,
                    row.effect,
                    row.margin.removeprefix("margin ") or MISSING,
                    row.p,
                    row.seeds,
                ),
            )
        )
        for row in verdict_rows(claims)
    ]
    return Listing(
        "Claims, the effect that decides each, and verdicts",
        tuple(Column(title, False) for title in (*titles, "Seeds")),
        tuple(rows),
    )


def run_listing(runs: pd.DataFrame) -> Listing:
    """All runs with what varies between them, and what each took."""
    varying = [
        name
        for name in runs.columns
        if name in ("run", "arm", "seed") or runs[name].nunique(dropna=False) > 1
    ]
    numeric = {name: pd.api.types.is_numeric_dtype(runs[name]) for name in varying}

    def cell(name: str, value: Any) -> Cell:
        if numeric[name] and pd.notna(value):
            return number_cell(float(value), f"{float(value):g}")
        return text_cell("" if pd.isna(value) else str(value))

    return Listing(
        "Runs, what varies between them, and what each took",
        tuple(Column(name, numeric[name]) for name in varying),
        tuple(
            tuple(cell(name, row[name]) for name in varying)
            for row in runs[varying].to_dict("records")
        ),
    )


def case_listing(scores: pd.DataFrame, score: str = "iou") -> Listing:
    """Mean score of each test case by arm, the cases on which the arms differ most first."""
    means = by_case(on_test_split(scores), score)
    spread = means.max(axis=1) - means.min(axis=1)
    shown = spread.sort_values(ascending=False, kind="stable").index[:MOST_CASES]
    some = f"the {len(shown)} of {len(means)} cases" if len(shown) < len(means) else "all cases"
    rows = [
        (
            text_cell(str(image)),
            text_cell(str(group)),
            *(number_cell(mean, labels.number(mean, 3)) for mean in means.loc[(image, group)]),
            number_cell(spread[(image, group)], labels.number(spread[(image, group)], 3)),
        )
        for image, group in shown
    ]
    arms = [Column(arm_style(arm).label) for arm in means.columns]
    return Listing(
        f"Test {labels.measure(score).name} by case, mean over seeds: {some} ({_datasets(scores)})",
        (Column("Case", False), Column("Patient", False), *arms, Column("Largest difference")),
        tuple(rows),
    )


def site_listing(table: pd.DataFrame, of: str, values: tuple[str, ...], caption: str) -> Listing:
    """Means over seeds of some columns of a table of ``rank`` or ``maps``, by arm and site."""
    rows = []
    ours = measured(table)
    for site in ours["site"].unique():
        at_site = ours[ours["site"] == site]
        means = {value: by_seed(at_site, value).mean() for value in values}
        for arm in means[values[0]].index:
            numbers = [means[value][arm] for value in values]
            rows.append(
                (
                    text_cell(arm_style(arm).label),
                    text_cell(str(site)),
                    *(number_cell(mean, labels.number(mean, 3)) for mean in numbers),
                )
            )
    columns = [Column(labels.measure(value, of).name) for value in values]
    caption = f"{caption} ({_datasets(table)})"
    return Listing(caption, (Column("Arm", False), Column("Site", False), *columns), tuple(rows))


def _datasets(table: pd.DataFrame) -> str:
    return ", ".join(table["dataset"].astype(str).drop_duplicates())
