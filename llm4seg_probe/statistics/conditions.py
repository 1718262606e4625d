"""Look up the per-seed scores that a condition refers to, aligned on common cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import pandas as pd

from llm4seg_probe.arms import Condition, Term
from llm4seg_probe.errors import ConfigError, TableError, unknown
from llm4seg_probe.probes.base import Usual
from llm4seg_probe.statistics.averages import scored
from llm4seg_probe.statistics.pairs import Paired, measured, pair
from llm4seg_probe.statistics.rows import Columns, as_text, matching

MAX = "max"
NO_CASES = pd.MultiIndex.from_tuples([("", "")], names=["group", "case"])


class NotThere(Exception):
    """A condition that no run has been made for; the claim is then not run, which is no error."""


def with_runs(table: pd.DataFrame, runs: pd.DataFrame | None) -> pd.DataFrame:
    """The table with the columns of runs.csv that it lacks (layer, backbone …), joined on run."""
    if runs is None or "run" not in table.columns:
        return table
    further = [name for name in runs.columns if name not in table.columns]
    varying = [name for name in further if runs[name].nunique(dropna=False) > 1]
    settings = [name for name in varying if name not in ("wall_seconds", "peak_memory_mb")]
    return table.merge(runs[["run", *settings]], on="run", how="left", validate="many_to_one")


def resolve(
    table: pd.DataFrame,
    score: str,
    conditions: tuple[Condition, Condition],
    *,
    filters: Mapping[str, object],
    average_over: Sequence[str],
    drop_unpaired: bool = False,
    usual: Usual | None = None,
) -> Paired:
    """Bring two conditions of a table onto the same seeds and cases.

    ``usual`` is what the table's probe says of claims on it. With its ``common_cases`` the cases
    that lack a value in some run are left out, which is noted: a null is measured on some of the
    images, and a probe may have nothing to say of one.

    Contrasts are taken run by run, and the SD of several over the means of their runs. Where their
    terms were measured on different cases (two data sets, two splits), the means of the runs are
    contrasted, and there are no cases left; nor are there for an SD.
    Raises NotThere for an arm without runs or common cases, ConfigError for a filter that fits
    nothing, TableError for missing partners.
    """
    usual = usual or Usual()
    terms = [term for condition in conditions for _, term in condition.terms]
    _refuse_absent(table, terms)
    found = {
        term: _measured(table, score, term, filters, average_over, usual)
        for term in dict.fromkeys(terms)
    }
    values = {term: wide for term, (_, wide) in found.items()}
    datasets = dict.fromkeys(dataset for dataset, _ in found.values())
    # The same name in two data sets is two images.
    spread = any(condition.spread for condition in conditions)
    shared = len(datasets) == 1 and _share_cases(values.values()) and not spread
    if not shared:
        if usual.common_cases:
            values = {term: wide.dropna(axis="columns") for term, wide in values.items()}
            _refuse_without_cases(values, score)
        values = {term: _run_means(wide) for term, wide in values.items()}
    a, b = (_combined(condition, values) for condition in conditions)
    return pair(
        a, b, (conditions[0].text, conditions[1].text), dataset="+".join(datasets), score=score,
        has_cases=shared and not a.columns.equals(NO_CASES), drop_unpaired=drop_unpaired,
        common_cases=usual.common_cases,
    )  # fmt: skip


def _refuse_without_cases(values: Mapping[Term, pd.DataFrame], score: str) -> None:
    """Raise NotThere for a term of which no case has a score in every run."""
    for term, wide in values.items():
        if wide.empty:
            raise NotThere(f"no image has a {score} in every run of {term}")


def run_means(
    table: pd.DataFrame,
    score: str,
    term: Term,
    filters: Mapping[str, object],
    average_over: Sequence[str],
    *,
    usual: Usual | None = None,
) -> pd.Series[float]:
    """Mean over the cases of each run of one condition, by seed; its name is the data set.

    Raises as :func:`resolve`.
    """
    _refuse_absent(table, [term])
    usual = usual or Usual()
    dataset, wide = _measured(table, score, term, filters, average_over, usual)
    if usual.common_cases:
        wide = wide.dropna(axis="columns", how="any")
    return _run_means(wide).iloc[:, 0].rename(dataset)


def _refuse_absent(table: pd.DataFrame, terms: Sequence[Term]) -> None:
    missing = {term.arm for term in terms} - set(map(str, table["arm"].unique()))
    if missing:
        there = ", ".join(table["arm"].astype(str).drop_duplicates())
        raise NotThere(f"no runs of {', '.join(sorted(missing))} (there are {there})")


def _measured(
    table: pd.DataFrame,
    score: str,
    term: Term,
    filters: Mapping[str, object],
    average_over: Sequence[str],
    usual: Usual,
) -> tuple[str, pd.DataFrame]:
    """The data set that a term was measured on, and its scores, seeds by cases."""
    chosen = matching(table["arm"], term.arm)
    named = {**filters, **dict(term.filters)}
    wanted = {name: value for name, value in usual.where.items() if name in table.columns} | named
    for column, value in wanted.items():
        if column not in table.columns:
            raise ConfigError(unknown("column", column, map(str, table.columns)))
        fits = _fits(table, column, value)
        if not fits.any():
            seen = as_text(table[column]).drop_duplicates()
            raise ConfigError(unknown(f"value of {column}", str(value), seen.head(20)))
        chosen &= fits
    rows = table[chosen]
    if "deviation" in rows.columns:
        texts = as_text(rows["deviation"])
        rows = rows[texts.isin([t for t in texts.unique() if _deviates_in(t) <= set(wanted)])]
    if rows.empty:
        told = ", ".join(f"{column}={value}" for column, value in wanted.items())
        raise NotThere(f"no rows of {term} with {told}")
    rows = _single_images(rows, wanted)
    datasets = rows["dataset"].astype(str).drop_duplicates().tolist()
    if len(datasets) > 1:
        raise ConfigError(
            f"{term} was measured on several data sets ({', '.join(datasets)}): name one, "
            f"as in {term.arm}[dataset={datasets[0]}]"
        )
    columns = Columns().present_in(rows)
    averaged = dict.fromkeys([*average_over, *usual.average_over])
    present = [name for name in averaged if name in rows.columns and name not in named]
    return datasets[0], measured(scored(rows, score, columns, present), columns)


def _fits(table: pd.DataFrame, column: str, value: object) -> pd.Series[bool]:
    """Which rows have a value in a column; ``max`` is the largest number of their run."""
    is_number = pd.api.types.is_numeric_dtype(table[column].dtype)
    if value != MAX or not is_number or "run" not in table.columns:
        return matching(table[column], value)
    return table[column] == table.groupby("run")[column].transform("max")


def _single_images(rows: pd.DataFrame, wanted: Mapping[str, object]) -> pd.DataFrame:
    """Without the row of all images together (``image`` empty) where there are single ones."""
    if "image" not in rows.columns or "image" in wanted:
        return rows
    together = as_text(rows["image"]) == ""
    return rows if together.all() else rows[~together]


def _deviates_in(text: str) -> set[str]:
    """Columns in which a run differs from the base: an arm alone means one that does not."""
    return {item.partition("=")[0] for item in text.split(",") if item}


def _share_cases(tables: Iterable[pd.DataFrame]) -> bool:
    """Whether any case is in all of the tables; none at all means another set of images."""
    return len(reduce(pd.Index.intersection, [table.columns for table in tables])) > 0


def _run_means(wide: pd.DataFrame) -> pd.DataFrame:
    defined = wide.loc[:, wide.notna().any()]
    if defined.isna().any(axis=None):
        raise TableError(
            "some cases have a score in some runs only, so the means of runs are not comparable"
        )
    means = defined.mean(axis=1).to_frame()
    means.columns = NO_CASES
    return means


def _combined(condition: Condition, values: Mapping[Term, pd.DataFrame]) -> pd.DataFrame:
    """Weighted sum over the terms, or their SD; what one of them lacks is missing in it."""
    if condition.spread:
        parts = pd.concat([values[term].iloc[:, 0] for _, term in condition.terms], axis=1)
        found = parts.std(axis=1, ddof=1, skipna=False).to_frame()
        found.columns = NO_CASES
        return found.dropna(how="all")
    total: pd.DataFrame | None = None
    for weight, term in condition.terms:
        part = values[term] if weight == 1.0 else values[term] * weight
        total = part if total is None else total + part
    assert total is not None
    return total.dropna(how="all") if len(condition.terms) > 1 else total
