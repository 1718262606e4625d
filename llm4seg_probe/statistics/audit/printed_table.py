"""Read tables as papers print them: means with their SDs, in one cell or in two columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import plain, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.scores import parse_score
from llm4seg_probe.statistics.audit.unknown_correlation import Reported
from llm4seg_probe.statistics.cells import (
    Printed,
    is_empty,
    mean_and_sd,
    printed,
    share_of_means,
    undressed,
)
from llm4seg_probe.statistics.columns import Recognised, recognise
from llm4seg_probe.statistics.findings import Finding, values_of
from llm4seg_probe.statistics.key_columns import named, typed, unmarked
from llm4seg_probe.statistics.roles import MEANS_ROLES, NAMES, Match, Role
from llm4seg_probe.statistics.rows import as_text
from llm4seg_probe.statistics.table_file import repeated

_ERRORS = ("se", "sem", "stderr", "std_err", "standard_error")
_SHOWN = re.compile(
    r"[(\[]?\s*((mean|avg|average|median|m)\b\s*)?((±|\+/?-|and|,|[(\[])\s*)"
    r"(95\s*%?\s*)?(s\.?d\.?|std\w*|standard \w+|s\.?e\.?m?\.?|std_?err\w*|c\.?i\.?|iqr|range"
    r"|confidence \w+|95\s*%\s*ci)\s*[)\]]*",
    re.IGNORECASE,
)
"""What a header says of its cells: ``(mean ± SD)``, ``[median (IQR)]``."""
_NO_SDS = frozenset(("ci", "iqr", "range", "confidence", "median"))
_SPREADS = ("sd", "std", "stdev", "std_dev")


@dataclass(frozen=True)
class Place:
    """Where a printed result stands: results are compared within one data set and score."""

    dataset: str
    score: str


@dataclass(frozen=True)
class Source:
    """A column of means, with that of its SDs, or with both in one cell.

    score: that its name tells, None for none. label: the data set, region or side that it tells.
    """

    mean: str
    sd: str | None
    score: str | None
    label: str
    is_error: bool = False


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
    if _cells(table):
        return True
    names = {words(name) for name in table.columns} | {plain(name) for name in table.columns}
    single = set(NAMES["seed"]) | set(NAMES["fold"]) | (set(NAMES["case"]) - {"name", "id", "item"})
    return bool(_spread_columns(table)) and not names & single


def _cells(table: pd.DataFrame) -> list[str]:
    """Columns in which at least half of the cells read like ``71.56 ± 2.43``."""
    return [
        str(name)
        for name in table.columns
        if not pd.api.types.is_numeric_dtype(table[name].dtype)
        and share_of_means(as_text(table[name].head(100))) >= 0.5
    ]


def _spread_columns(table: pd.DataFrame) -> dict[str, str]:
    """Columns of SDs or standard errors by their names, with the name of what they spread."""
    found = {}
    for column in map(str, table.columns):
        name = words(column)
        for ending in (*_SPREADS, *_ERRORS, "standard_deviation"):
            if name == ending or plain(column) == ending:
                found[column] = ""
            elif name.endswith(f"_{ending}"):
                found[column] = name.removesuffix(f"_{ending}")
            elif name.startswith(f"{ending}_"):
                found[column] = name.removeprefix(f"{ending}_")
    return found


def printed_results(
    table: pd.DataFrame, given: Mapping[Role, str], n: int | None, findings: list[Finding]
) -> tuple[list[tuple[Place, Reported]], tuple[Match, ...]]:
    """Each printed result with its data set and score, and what the columns were taken for."""
    cells = [name for name in _cells(table) if given.get("mean", name) == name]
    sources = _sources(table, cells, given)
    free = {column for source in sources for column in (source.mean, source.sd) if column}
    known: dict[Role, str] = {
        role: column for role, column in given.items() if role not in ("mean", "sd", "score")
    }
    found = recognise(
        table, {**known, "mean": sources[0].mean},
        roles=[role for role in MEANS_ROLES if role not in ("mean", "sd")],
    )  # fmt: skip
    usual = next((source.score for source in sources if source.score), None)
    if usual is None:
        usual = "iou"
        findings.append(
            Finding("doubt", "no column is named like a score: the numbers are taken for IoU")
        )
    places = [
        name for name in (*found.columns(("dataset", "stratum", "class")),) if name not in free
    ]
    arms = table[found.matches["arm"].column].map(unmarked)
    further = _further_places(table, arms, places, {*free, *found.columns(MEANS_ROLES)})
    places += further
    for name in further:
        findings.append(Finding("note", f"compared within each {name}: {values_of(table[name])}"))
    results = []
    for number, (arm, (_, row)) in enumerate(zip(arms, table.iterrows(), strict=True), start=2):
        dataset = " · ".join(str(row[name]) for name in places if str(row[name]).strip())
        for source in sources:
            both = _both(row, source, arm, number, findings)
            if both is None:
                continue
            runs = _runs(row, found.column("n"), n)
            label = " · ".join(filter(None, (dataset, source.label if len(sources) > 1 else "")))
            mean, sd = printed(both[0]), printed(both[1])
            if source.is_error:
                sd = Printed(sd.value * np.sqrt(runs), sd.half * np.sqrt(runs))
            results.append((Place(label, source.score or usual), Reported(arm, mean, sd, runs)))
    if not results:
        raise TableError("no cell holds a mean with its SD")
    findings += _told(table, sources, found, {*free, *further})
    findings += _differences(table, arms, sources)
    return results, _matches(sources, found, given, cells)


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
        rows = (np.flatnonzero(doubled) + 2).tolist()
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


def _told(
    table: pd.DataFrame, sources: Sequence[Source], found: Recognised, free: set[str]
) -> list[Finding]:
    used = free | {match.column for match in found.matches.values()}
    unused = [str(name) for name in table.columns if name not in used]
    told = [Finding("note", f"not used: {', '.join(unused)}")] if unused else []
    if any(source.is_error for source in sources):
        told.append(
            Finding(
                "note", "standard errors are turned into SDs, by the root of the number of runs"
            )
        )
    return told


def _matches(
    sources: Sequence[Source], found: Recognised, given: Mapping[Role, str], cells: Sequence[str]
) -> tuple[Match, ...]:
    means = []
    for source in sources:
        how: Literal["given", "content", "name"] = "content" if source.mean in cells else "name"
        if given.get("mean") == source.mean:
            how = "given"
        means.append(Match("mean", source.mean, how))
    sds = [Match("sd", source.sd, "given" if given.get("sd") == source.sd else "name")
           for source in sources if source.sd]  # fmt: skip
    rest = [one for role, one in found.matches.items() if role != "mean"]
    return (*means, *sds, *rest)


def _sources(table: pd.DataFrame, cells: Sequence[str], given: Mapping[Role, str]) -> list[Source]:
    if cells:
        return [_source(column, None) for column in cells]
    spreads = _spread_columns(table)
    if "sd" in given:
        spreads = {given["sd"]: spreads.get(given["sd"], "")}
    found = []
    for sd, stem in spreads.items():
        mean = given.get("mean") or _mean_of(table, sd, stem, spreads)
        if mean is not None:
            is_error = any(words(sd) == name or words(sd).endswith(f"_{name}") for name in _ERRORS)
            found.append(_source(mean, sd, is_error))
    if not found:
        raise TableError("which column holds the means? Name it, as in columns={'mean': …}")
    return found


def _source(mean: str, sd: str | None, is_error: bool = False) -> Source:
    """A column with the score, and the region, side or data set, that its name tells."""
    shown = _SHOWN.search(mean)
    if shown is not None:
        kind = set(words(shown[0]).split("_"))
        if kind & _NO_SDS:
            raise TableError(
                f"column {mean} holds {shown[0].strip(' ()[]')}: means with SDs, or with standard "
                "errors, can be audited, and these cannot"
            )
        is_error = is_error or bool(kind & set(_ERRORS))
    parsed = parse_score(_SHOWN.sub("", mean))
    score = parsed.score.name if parsed.score else None
    if score is None and words(mean) not in NAMES["mean"]:
        return Source(mean, sd, None, mean, is_error)
    # A region is shown as the column writes it: WT, and not wt.
    pieces = [piece for piece in re.split(r"[\s_()\[\],/.-]+", mean) if piece]
    own = set(parsed.rest.split("_"))
    written = " ".join(piece for piece in pieces if words(piece) in own)
    rest = (written or parsed.rest) if parsed.rest else ""
    return Source(mean, sd, score, " ".join(filter(None, (rest, parsed.side))), is_error)


def _mean_of(table: pd.DataFrame, sd: str, stem: str, spreads: Mapping[str, str]) -> str | None:
    """The column whose SDs these are."""
    free = {
        words(name): str(name) for name in reversed(table.columns.tolist()) if name not in spreads
    }
    names = [f"{stem}_mean", f"mean_{stem}", f"{stem}_avg", f"avg_{stem}", stem] if stem else []
    for name in names:
        if name in free:
            return free[name]
    if stem:
        return None
    for name in NAMES["mean"]:
        if name in free:
            return free[name]
    return next((column for column in free.values() if parse_score(column).score), None)


def _both(
    row: pd.Series, source: Source, arm: str, number: int, findings: list[Finding]
) -> tuple[str, str] | None:
    """Mean and SD of one cell, None for an empty one; raises TableError for what is neither."""
    where = f"row {number} ({arm}), column {source.mean}"
    mean = str(row[source.mean])
    if is_empty(mean):
        findings.append(Finding("doubt", f"{where} is empty: left out"))
        return None
    if source.sd is not None:
        if is_empty(str(row[source.sd])):
            findings.append(Finding("doubt", f"{where} has no SD: left out"))
            return None
        return mean, str(row[source.sd])
    both = mean_and_sd(mean)
    if both is None:
        raise TableError(
            f"{where}: '{mean.strip()}' is not a mean ± SD: correct it, or leave it empty"
        )
    return both


def _runs(row: pd.Series, column: str | None, n: int | None) -> int:
    if n is not None:
        return n
    if column is None:
        raise TableError("how many runs are behind each mean? The table does not say: give n")
    value = printed(row[column]).value
    if value != int(value):
        raise TableError(f"column {column} holds {row[column]!r}, which is no number of runs")
    return int(value)
