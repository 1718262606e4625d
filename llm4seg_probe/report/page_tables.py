"""Tables of the page."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import arm_style, condition_style
from llm4seg_probe.drawing.table_rows import by_case, by_seed, measured, on_test_split
from llm4seg_probe.report.verdicts import VERDICTS, verdict_rows

MISSING = "–"
"""What a cell shows that has no number."""

MOST_COLUMNS = 8
"""Columns that a table of the page shows before all are asked for."""

MOST_CASES = 200
"""More cases than this make a page slow and help no reader; the table has them all."""


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and what it is sorted by: a number, a text, or "" where it is empty."""

    text: str
    value: float | str


@dataclass(frozen=True)
class Column:
    """A column's heading, whether it holds numbers, and a longer explanation.

    more: left out on the page until all columns are asked for; files have it always.
    """

    title: str
    numeric: bool = True
    explanation: str = ""
    more: bool = False


@dataclass(frozen=True)
class Listing:
    """A table of the page."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def fold_constant(self, *titles: str) -> Listing:
        """Fold the columns of these titles where all rows agree in them."""
        alike = {
            column.title
            for index, column in enumerate(self.columns)
            if column.title in titles and len({row[index].text for row in self.rows}) < 2
        }
        columns = [
            replace(column, more=True) if column.title in alike else column
            for column in self.columns
        ]
        return replace(self, columns=tuple(columns))


def text_cell(text: str) -> Cell:
    """A cell that is sorted by what it shows."""
    return Cell(text, text)


def number_cell(value: float, text: str) -> Cell:
    """A cell that shows a number in its own way; one without a number sorts last."""
    known = value is not None and pd.notna(value)
    return Cell(text if known else MISSING, float(value) if known and math.isfinite(value) else "")


def ladder_listing(ladder: pd.DataFrame) -> Listing:
    """The rows of ``ladder.csv``: each step, then the arms beside the ladder."""
    columns = (
        Column("To", False),
        Column("Step"),
        Column("Data", False),
        Column("From", False),
        Column("What it adds", False),
        Column("Difference"),
        Column("95 % interval", True, "paired t interval over seeds: another training run"),
        Column("p", True, "paired t-test over seeds, unadjusted: description, not a test"),
        Column("Gain so far", True, "over the foot of the ladder", more=True),
        Column("Seeds", more=True),
        Column("Note", False, more=True),
    )
    decimals = _decimals(ladder)
    rows = []
    for _, row in ladder.iterrows():
        rows.append(
            (
                text_cell(arm_style(row["to"]).label),
                number_cell(row["step"], "" if pd.isna(row["step"]) else f"{row['step']}"),
                text_cell(row["dataset"]),
                text_cell(arm_style(row["from"]).label),
                text_cell(row["what"]),
                _signed(row["difference"], decimals),
                _bounds(row, "ci_low", "ci_high", decimals),
                number_cell(row["p"], labels.p_value(row["p"])),
                _signed(row["gain"], decimals),
                number_cell(row["n_seeds"], labels.count(row["n_seeds"])),
                text_cell(row["note"]),
            )
        )
    title = "The gain step by step, and arms beside the ladder"
    return Listing(title, columns, tuple(rows)).fold_constant("Data")


def selection_listing(selection: pd.DataFrame) -> Listing:
    """The rows of ``selection.csv``: the optimism of each arm, and against the baseline."""
    columns = (
        Column("Arm", False),
        Column("Data", False),
        Column("More than", False),
        Column("Optimism", True, "(validation best − last) − (test best − last)"),
        Column("95 % interval", True, "t interval over seeds: another training run"),
        Column("p", True, "t-test over seeds, unadjusted"),
        Column("Seeds"),
        Column("In words", False),
    )
    decimals = _decimals(selection)
    rows = []
    for _, row in selection.iterrows():
        rows.append(
            (
                text_cell(arm_style(row["arm"]).label),
                text_cell(row["dataset"]),
                text_cell(arm_style(row["against"]).label if row["against"] else ""),
                _signed(row["optimism"], decimals),
                _bounds(row, "ci_low", "ci_high", decimals),
                number_cell(row["p"], labels.p_value(row["p"])),
                number_cell(row["n_seeds"], labels.count(row["n_seeds"])),
                text_cell(row["sentence"]),
            )
        )
    title = "How much choosing the epoch inflates the validation score, by arm"
    return Listing(title, columns, tuple(rows)).fold_constant("Data")


def sizes_listing(sizes: pd.DataFrame) -> Listing:
    """The rows of ``sizes.csv``: each arm at each number of training images."""
    columns = (
        Column("Arm", False),
        Column("Asked for", False, "data.train_images"),
        Column("Data", False),
        Column("Setting", False, "what else deviates from the base"),
        Column("Images", True, "trained on, mean over seeds"),
        Column("Range", True, "of the images over seeds, whose patients are whole", more=True),
        Column("Score"),
        Column("95 % interval", True, "t interval over seeds"),
        Column("Gain", True, "over the baseline, paired by seed"),
        Column("95 % interval of it", True, "paired t interval over seeds"),
        Column("Seeds", more=True),
        Column("Note", False, more=True),
    )
    decimals = _decimals(sizes)
    rows = []
    for _, row in sizes.iterrows():
        span = _unsigned(row["images_low"], row["images_high"], 0)
        rows.append(
            (
                text_cell(arm_style(row["arm"]).label),
                text_cell(row["size"]),
                text_cell(row["dataset"]),
                text_cell(row["setting"]),
                number_cell(row["images"], labels.number(row["images"], 1)),
                number_cell(row["images_low"], span),
                number_cell(row["mean"], labels.number(row["mean"], decimals)),
                number_cell(row["ci_low"], _unsigned(row["ci_low"], row["ci_high"], decimals)),
                _signed(row["gain"], decimals),
                _bounds(row, "gain_low", "gain_high", decimals),
                number_cell(row["n_seeds"], labels.count(row["n_seeds"])),
                text_cell(row["note"]),
            )
        )
    title = "Score and gain of each arm by the number of training images"
    return Listing(title, columns, tuple(rows)).fold_constant("Data", "Setting")


def _unsigned(low: float, high: float, decimals: int) -> str:
    return f"{labels.number(low, decimals)} to {labels.number(high, decimals)}"


def _decimals(rows: pd.DataFrame) -> int:
    """One precision for a column of differences: that of the narrowest interval."""
    widths = (rows["ci_high"] - rows["ci_low"]).dropna()
    return max(map(labels.decimals_for, widths), default=3)


def _signed(value: float, decimals: int) -> Cell:
    return number_cell(value, labels.number(value, decimals, signed=True))


def table_of(row: pd.Series) -> str:
    """Which table a row of ``comparison.csv`` is on; one that does not say is on ``scores``."""
    table = row.get("table")
    return table if isinstance(table, str) else "scores"


def comparison_listing(comparison: pd.DataFrame, claim: str = "") -> Listing:
    """Rows of ``comparison.csv``, all or those of a claim, the effect with its interval first."""
    of = f"claim {claim}" if claim else _datasets(comparison)
    rows = comparison.assign(table=comparison.apply(table_of, axis=1))
    groups = rows.groupby(["score", "table"], sort=False)
    decimals = {key: _decimals(group) for key, group in groups}
    cells = [_compared(row, decimals[row["score"], row["table"]]) for _, row in rows.iterrows()]
    title = "Comparisons of two conditions, a − b" + (f" ({of})" if of else "")
    listing = Listing(title, _COMPARISON, tuple(cells))
    return listing.fold_constant("Data", "Measure", "Margin")


_COMPARISON = (
    Column("Comparison", False, "the two conditions, a − b"),
    Column("Measure", False),
    Column("a − b", True, "mean difference over seeds and cases"),
    Column("95 % interval", True, "t interval over seeds: another training run"),
    Column("p, adjusted", True, "Holm's method, over the family of the claim"),
    Column("Margin", True, "the smallest difference that was said to matter"),
    Column("Verdict", False),
    Column("Seeds"),
    Column("Data", False, more=True),
    Column("another patient", True, "95 % bootstrap interval over patients", more=True),
    Column("both", True, "95 % bootstrap interval over seeds and patients, crossed", more=True),
    Column("p", True, "paired t-test over seeds", more=True),
    Column("p, exact", True, "exact sign-flip test; in brackets the least it can give", more=True),
    Column("p, equivalence", True, "two one-sided tests against the margin", more=True),
    Column(
        "Detectable", True, "smallest effect that these seeds could have shown, power 80 %",
        more=True,
    ),
    Column("Needed", True, "seeds that the margin would take", more=True),
    Column("Cases", more=True),
    Column("Mean a", more=True),
    Column("Mean b", more=True),
)  # fmt: skip


def _compared(row: pd.Series, decimals: int) -> tuple[Cell, ...]:
    """The cells of one row of ``comparison.csv``."""
    first, second = condition_style(row["a"]).label, condition_style(row["b"]).label
    exact = f"{row['p_exact']:.4g} (≥ {row['p_exact_floor']:.4g})"
    return (
        text_cell(f"{first} − {second}"),
        text_cell(labels.measure(row["score"], row["table"]).name),
        _signed(row["difference"], decimals),
        _bounds(row, "ci_low", "ci_high", decimals),
        number_cell(row["p_adjusted"], labels.p_value(row["p_adjusted"])),
        number_cell(row["margin"], f"±{row['margin']:g}"),
        text_cell(VERDICTS.get(row["verdict"], (row["verdict"],))[0]),
        _whole(row["n_seeds"]),
        text_cell(row["dataset"]),
        _bounds(row, "case_low", "case_high", decimals),
        _bounds(row, "boot_low", "boot_high", decimals),
        number_cell(row["p_t"], labels.p_value(row["p_t"])),
        number_cell(row["p_exact"], exact),
        number_cell(row["p_equivalence"], labels.p_value(row["p_equivalence"])),
        number_cell(row["smallest_detectable"], labels.number(row["smallest_detectable"], 3)),
        number_cell(
            row["seeds_needed"],
            labels.count(row["seeds_needed"]) if pd.notna(row["seeds_needed"]) else "",
        ),
        _whole(row["n_cases"]),
        number_cell(row["mean_a"], labels.number(row["mean_a"], 3)),
        number_cell(row["mean_b"], labels.number(row["mean_b"], 3)),
    )


def _bounds(row: pd.Series, low: str, high: str, decimals: int) -> Cell:
    bounds = [labels.number(row[name], decimals, signed=True) for name in (low, high)]
    return number_cell(row[low], f"{bounds[0]} to {bounds[1]}")


def _whole(value: Any) -> Cell:
    return number_cell(value, labels.count(value) if pd.notna(value) else "")


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


_FIRST = ("run", "arm", "dataset", "seed", "deviation", "wall_seconds", "peak_memory_mb")


def run_listing(runs: pd.DataFrame) -> Listing:
    """All runs with what varies between them, and what each took."""
    order = sorted(runs.columns, key=lambda name: name not in _FIRST)
    varying = [
        name
        for name in order
        if name in ("run", "arm", "seed") or runs[name].nunique(dropna=False) > 1
    ]
    numeric = {name: pd.api.types.is_numeric_dtype(runs[name]) for name in varying}

    def cell(name: str, value: Any) -> Cell:
        if numeric[name] and pd.notna(value):
            return number_cell(float(value), f"{float(value):g}")
        return text_cell("" if pd.isna(value) else str(value))

    return Listing(
        "Runs, what varies between them, and what each took",
        tuple(
            Column(name, numeric[name], more=index >= MOST_COLUMNS)
            for index, name in enumerate(varying)
        ),
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
            number_cell(spread[(image, group)], labels.number(spread[(image, group)], 3)),
            *(number_cell(mean, labels.number(mean, 3)) for mean in means.loc[(image, group)]),
        )
        for image, group in shown
    ]
    shown_arms = MOST_COLUMNS - 3  # beside case, patient and difference
    arms = [
        Column(arm_style(arm).label, more=index >= shown_arms)
        for index, arm in enumerate(means.columns)
    ]
    return Listing(
        f"Test {labels.measure(score).name} by case, mean over seeds: {some} ({_datasets(scores)})",
        (
            Column("Case", False),
            Column("Patient", False),
            Column("Largest difference", True, "between the means of two conditions"),
            *arms,
        ),
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
