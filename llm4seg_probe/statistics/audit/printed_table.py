"""Read tables as papers print them: means with their SDs; rows below them are no arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import plain, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.score_names import known, own_name
from llm4seg_probe.statistics.audit.numbers_of_runs import doubts_of_runs, runs_behind
from llm4seg_probe.statistics.audit.printed_values import PrintedRow, values_of_column
from llm4seg_probe.statistics.audit.spreads import (
    Source,
    sources_of,
    spread_columns,
    told_of_spreads,
)
from llm4seg_probe.statistics.audit.unknown_correlation import Reported
from llm4seg_probe.statistics.cells import (
    is_empty,
    mean_and_sd,
    share_of_means,
    undressed,
)
from llm4seg_probe.statistics.columns import column_named, recognise
from llm4seg_probe.statistics.findings import Finding, values_of
from llm4seg_probe.statistics.key_columns import is_no_arm, named, typed, unmarked
from llm4seg_probe.statistics.roles import MEANS_ROLES, NAMES, Match, Recognised, Role
from llm4seg_probe.statistics.rows import as_text
from llm4seg_probe.statistics.units import PERCENT_FROM
from llm4seg_probe.statistics.wide_tables import repeated


def arm_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are arms, as far as the column tells that is named like one, or the first."""
    names = [
        str(name) for name in table.columns if {words(name), plain(name)} & set(NAMES["arm"])
    ] or [str(name) for name in table.columns[:1]]
    others = table[names[0]].map(is_no_arm).astype(bool) if names else pd.Series(dtype=bool)
    return table if others.all() else table[~others]


def without_others(
    table: pd.DataFrame, column: str, kept: str | None, findings: list[Finding]
) -> pd.DataFrame:
    """The table without rows that are no arms, which are named.

    kept: an arm that the user named. Raises TableError where less than two arms would be left.
    """
    names = as_text(table[column]).map(unmarked)
    others = names.map(is_no_arm).astype(bool) & (names != kept)
    if not others.any():
        return table
    rows = np.asarray(table.index[others]) + 2
    told = ", ".join(f"{name} (row {row})" for row, name in zip(rows, names[others], strict=True))
    if names[~others].nunique() < 2:
        raise TableError(
            f"{told} of column {column} are taken for differences, p-values, ranks or means and no "
            "arms, and nothing is left to compare: give the arms other names"
        )
    findings.append(
        Finding(
            "doubt",
            f"{int(others.sum())} of {len(table)} rows are differences, p-values, ranks or means "
            f"and no arms, by their names: {told}: left out",
        )
    )
    return table[~others]


_SMALLEST_PER_CENT = 0.05
"""Runs of one network differ by more than a twentieth of a percentage point."""
ODD_SPREAD = 20
"""Spreads of one column differ by less than this many times, if they are in one unit."""


@dataclass(frozen=True)
class Place:
    """Where a printed result stands: results are compared within one data set and column."""

    dataset: str
    score: str
    column: str


@dataclass(frozen=True)
class PrintedTable:
    """The printed results, and what the columns and their spreads were taken for."""

    results: tuple[tuple[Place, Reported], ...]
    matches: tuple[Match, ...]
    spreads: str


def is_means(table: pd.DataFrame, given: Mapping[Role, str]) -> bool:
    """Whether a table holds means with their SDs instead of single results.

    A column of SDs beside single runs is that of their cases: where a column of seeds, folds or
    cases tells the rows apart, they are runs.
    """
    table = named(table)
    if "sd" in given or "mean" in given:
        return True
    if "seed" in given or "case" in given or "fold" in given or repeated(typed(table)):
        return False
    names = {words(name) for name in table.columns} | {plain(name) for name in table.columns}
    runs = set(NAMES["seed"]) | set(NAMES["fold"])
    if _cells(table):
        return not names & runs or not _has_several_rows_per_arm(table)
    single = runs | (set(NAMES["case"]) - {"name", "id", "item"})
    return bool(spread_columns(table)) and not names & single


def _has_several_rows_per_arm(table: pd.DataFrame) -> bool:
    """Whether arms come in several rows: one of each seed or fold, with the spread of its cases."""
    arms = [name for name in table.columns if {words(name), plain(name)} & set(NAMES["arm"])]
    return bool(arms) and bool(table[arms[0]].duplicated().any())


def _cells(table: pd.DataFrame) -> list[str]:
    """Columns in which at least half of the arms' cells read like ``71.56 ± 2.43``."""
    table = arm_rows(table)
    return [
        str(name)
        for name in table.columns
        if not pd.api.types.is_numeric_dtype(table[name].dtype)
        and share_of_means(as_text(table[name].head(100))) >= 0.5
    ]


def printed_results(
    table: pd.DataFrame,
    given: Mapping[Role, str],
    n: int | None,
    findings: list[Finding],
    baseline: str | None = None,
) -> PrintedTable:
    """Each printed result with its data set and score, and what the columns were taken for.

    table: its index counts the rows of the file from 0. baseline: an arm that the user named.
    """
    given = dict(given)
    for role in ("mean", "sd"):
        if role in given:
            given[role] = column_named(table, given[role], f"column ({role})")
    cells = [name for name in _cells(table) if given.get("mean", name) == name]
    sources = sources_of(table, cells, given, findings)
    free = {column for source in sources for column in source.columns}
    by_role: dict[Role, str] = {
        role: column for role, column in given.items() if role not in ("mean", "sd", "score")
    }
    found = recognise(
        table, {**by_role, "mean": sources[0].mean},
        roles=[role for role in MEANS_ROLES if role not in ("mean", "sd")],
    )  # fmt: skip
    arm_column = found.matches["arm"].column
    table = without_others(table, arm_column, baseline, findings)
    runs = found.column("n")
    if runs is not None:
        findings += doubts_of_runs(table, runs, n)
    usual = next((source.score for source in sources if source.score), None)
    if usual is None and known(given.get("score", "")) is not None:
        usual = own_name(given["score"])
    if usual is None:
        usual = "iou"
        findings.append(
            Finding(
                "doubt",
                "no column is named like a score: the numbers are taken for IoU: "
                "--score names another",
            )
        )
    places = [
        name for name in (*found.columns(("dataset", "stratum", "class")),) if name not in free
    ]
    arms = table[arm_column].map(unmarked)
    further = _further_places(table, arms, places, {*free, *found.columns(MEANS_ROLES)})
    places += further
    for name in further:
        findings.append(Finding("note", f"compared within each {name}: {values_of(table[name])}"))
    by_row: dict[int, list[tuple[Place, Reported]]] = {index: [] for index in table.index}
    empty: dict[int, list[Finding]] = {index: [] for index in table.index}
    for source in sources:
        score = source.score or usual
        rows = _rows(table, source, arms, found.column("n"), n, empty)
        values = values_of_column(source, score, list(rows.values()), findings) if rows else []
        for (index, row), (mean, sd) in zip(rows.items(), values, strict=True):
            stands = (str(table.loc[index, name]) for name in places)
            label = source.label if len(sources) > 1 else ""
            dataset = " · ".join(filter(None, (*filter(str.strip, stands), label)))
            place = Place(dataset, score, source.mean)
            by_row[index].append((place, Reported(row.arm, mean, sd, row.n)))
    findings += [finding for told in empty.values() for finding in told]
    results = tuple(result for own in by_row.values() for result in own)
    left = [finding.what for told in empty.values() for finding in told]
    if not results:
        raise TableError("; ".join(["no cell holds a mean with its SD", *left]))
    if left and len({each.arm for _, each in results}) < 2:
        raise TableError(f"only one arm has a mean with its SD: {'; '.join(left)}")
    findings += _unused(table, found, {*free, *further})
    findings += _differences(table, arms, sources) + _odd_spreads(results)
    findings += _spreads_as_fractions(results)
    return PrintedTable(results, _matches(sources, found, given, cells), told_of_spreads(sources))


def _rows(
    table: pd.DataFrame, source: Source, arms: pd.Series, column: str | None, n: int | None,
    empty: Mapping[int, list[Finding]],
) -> dict[int, PrintedRow]:  # fmt: skip
    """The rows of a column that hold a mean and its spread, by the table's index."""
    rows = {}
    cells = as_text(table[source.mean])
    both_in_one = next((cell for cell in cells if mean_and_sd(cell) is not None), "")
    for index, row in table.iterrows():
        assert isinstance(index, int)
        at = f"row {index + 2} ({arms[index]})"
        where = f"{at}, column {source.mean}"
        both = _both(row, source, where, empty[index], both_in_one)
        if both is not None:
            runs = runs_behind(row, column, n, at)
            spread = where if source.spread is None else f"{at}, column {source.spread}"
            rows[index] = PrintedRow(where, spread, arms[index], *both, runs)
    return rows


def _further_places(
    table: pd.DataFrame, arms: pd.Series, places: Sequence[str], used: set[str]
) -> list[str]:
    """Further columns, whatever they are called, that tell two rows of one arm apart.

    Raises TableError where none does: it would not be known which of the rows to compare.
    """
    further: list[str] = []
    for name in map(str, table.columns):
        doubled = _doubled(table, arms, [*places, *further])
        if doubled.any() and name not in used:
            alike = [arms[doubled], *(table.loc[doubled, place] for place in places)]
            if (table.loc[doubled, name].groupby(alike).nunique() > 1).any():
                further.append(name)
    doubled = _doubled(table, arms, [*places, *further])
    if doubled.any():
        doubled &= arms == arms[doubled].iloc[0]
        rows = (np.asarray(table.index[doubled]) + 2).tolist()
        raise TableError(
            f"rows {', '.join(map(str, rows[:6]))} are all of {arms[doubled].iloc[0]}, and nothing "
            "tells them apart: give their arms names of their own, or leave one row"
        )
    return further


def _doubled(table: pd.DataFrame, arms: pd.Series, places: Sequence[str]) -> pd.Series[bool]:
    return table[list(places)].assign(**{"the arm": arms}).duplicated(keep=False)


def _differences(table: pd.DataFrame, arms: pd.Series, sources: Sequence[Source]) -> list[Finding]:
    """Rows whose means carry a plus sign among such that do not: differences, most likely."""
    told = []
    for source in sources:
        cells = table[source.mean].map(lambda cell: undressed(str(cell)))
        plus = cells.str.startswith("+")
        if plus.any() and not plus.all():
            named = ", ".join(arms[plus])
            told.append(
                Finding(
                    "doubt",
                    f"{source.mean} of {named} is written with a plus sign, and others are not: is "
                    "it a difference?",
                )
            )
    return told


def _spreads_as_fractions(results: Sequence[tuple[Place, Reported]]) -> list[Finding]:
    """Spreads that are fractions, most likely, where the means are per cent."""
    told = []
    for place in dict.fromkeys(place for place, _ in results):
        own = [each for there, each in results if there == place]
        kind = known(place.score)
        largest = max(each.sd.value for each in own)
        per_cent = max(each.mean.value for each in own) > PERCENT_FROM
        if kind is not None and kind.fraction and per_cent and 0 < largest < _SMALLEST_PER_CENT:
            told.append(
                Finding(
                    "doubt",
                    f"the means of {place.column} are per cent, and no spread is above "
                    f"{largest:g}: are the spreads fractions ({100 * largest:g} %)? They are taken "
                    "as they stand",
                )
            )
    return told


def _odd_spreads(results: Sequence[tuple[Place, Reported]]) -> list[Finding]:
    """Spreads far smaller or larger than the others of their column: in another unit, perhaps."""
    told = []
    for place in dict.fromkeys(place for place, _ in results):
        spread = {each.arm: each.sd.value for own, each in results if own == place}
        usual = float(np.median([value for value in spread.values() if value > 0] or [0.0]))
        if len(spread) > 1 and not any(spread.values()):
            told.append(
                Finding(
                    "doubt",
                    f"every spread of {place.column} is 0: are those of cases or runs missing, or "
                    "rounded away? p is then as small as if runs did not differ",
                )
            )
        odd = [arm for arm, value in spread.items() if 0 < value < usual / ODD_SPREAD]
        odd += [arm for arm, value in spread.items() if value > usual * ODD_SPREAD > 0]
        if odd:
            told.append(
                Finding(
                    "doubt",
                    f"the spread of {', '.join(odd)} in {place.column} is more than {ODD_SPREAD} "
                    "times as small or large as is usual there: is it in another unit?",
                )
            )
    return told


def _unused(table: pd.DataFrame, found: Recognised, free: set[str]) -> list[Finding]:
    used = free | {match.column for match in found.matches.values()}
    unused = [str(name) for name in table.columns if name not in used]
    return [Finding("note", f"not used: {', '.join(unused)}")] if unused else []


def _matches(
    sources: Sequence[Source], found: Recognised, given: Mapping[Role, str], cells: Sequence[str]
) -> tuple[Match, ...]:
    means = []
    for source in sources:
        how: Literal["given", "content", "name"] = "content" if source.mean in cells else "name"
        if given.get("mean") == source.mean:
            how = "given"
        means.append(Match("mean", source.mean, how))
    sds = [Match("sd", source.spread, "given" if given.get("sd") == source.spread else "name")
           for source in sources if source.spread]  # fmt: skip
    rest = [one for role, one in found.matches.items() if role != "mean"]
    return (*means, *sds, *rest)


def _both(
    row: pd.Series, source: Source, where: str, findings: list[Finding], example: str
) -> tuple[str, str] | None:
    """Mean and spread of one row, None for an empty one; raises TableError for what is neither.

    example: a cell of the column that reads like both.
    """
    mean = str(row[source.mean])
    if is_empty(mean):
        findings.append(Finding("doubt", f"{where} is empty: left out"))
        return None
    if source.spread is not None:
        if is_empty(str(row[source.spread])):
            findings.append(Finding("doubt", f"{where} has no SD: left out"))
            return None
        return mean.strip(), str(row[source.spread]).strip()
    both = mean_and_sd(mean)
    if both is None:
        raise TableError(
            f"{where}: '{mean.strip()}' is not a mean ± SD, as '{example.strip()}' reads: correct "
            "one of them, or leave it empty"
        )
    return both
