"""Columns of printed means and of their spreads: SDs, standard errors, variances, intervals."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import plain, side_of, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.score_names import known, own_name, parse_score
from llm4seg_probe.statistics.cells import Printed, looks_numeric
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.roles import NAMES, Role, score_columns

Kind = Literal["sd", "error", "variance", "interval"]

_ENDINGS: dict[Kind, tuple[str, ...]] = {
    "sd": NAMES["sd"],
    "error": ("se", "sem", "stderr", "std_err", "standard_error"),
    "variance": ("var", "variance"),
}
"""What a spread is called, the one that is used first where a mean has several."""
_INTERVAL = re.compile(
    r"(?:(?P<before>(?!9[059]_).+?)_)?(?:9[059]_?)?"
    r"(?:ci|conf_int|confint|confidence_intervals?|margin_of_error|moe|iqr|mad"
    r"|median_absolute_deviation|range|min|max|minimum|maximum|q1|q3|q25|q75|p5|p25|p75|p95)"
    r"(?:_?9[059])?(?:_(?:low|lower|lo|high|upper|hi|half_?width|width|percent|pct))?"
    r"(?:_(?P<after>.+))?"
)
_SHOWN = re.compile(
    r"[(\[]?\s*((mean|avg|average|median|m)\b\s*)?((±|\+/?-|and|,|[(\[])\s*)"
    r"(95\s*%?\s*)?(s\.?d\.?|std\w*|standard \w+|s\.?e\.?m?\.?|std_?err\w*|var(iance)?\b|c\.?i\.?"
    r"|iqr|mad|range|confidence \w+|95\s*%\s*ci)\s*[)\]]*",
    re.IGNORECASE,
)
"""What a header says of its cells: ``(mean ± SD)``, ``[median (IQR)]``."""
_NO_SPREADS: dict[str, frozenset[str]] = {
    "interquartile range": frozenset(("iqr",)),
    "median absolute deviation": frozenset(("mad", "deviation")),
    "quantile": frozenset(("q1", "q3", "q25", "q75", "p5", "p25", "p75", "p95")),
    "smallest or largest value": frozenset(("min", "max", "minimum", "maximum", "range")),
}
"""What is told of spreads that no SD can be made of, by words of their columns."""
_NO_SDS = frozenset(("ci", "iqr", "mad", "range", "confidence", "median"))


@dataclass(frozen=True)
class Spread:
    """A column of spreads by its name. stem: the name of what it spreads, empty for none."""

    kind: Kind
    stem: str


@dataclass(frozen=True)
class Source:
    """A column of means, with that of its spreads, or with both in one cell.

    score: that its name tells, None for none. label: the data set, region or side that it tells.
    kind: what the spreads are.
    """

    mean: str
    spread: str | None
    score: str | None
    label: str
    kind: Kind = "sd"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is read from."""
        return (self.mean,) if self.spread is None else (self.mean, self.spread)


def spread_columns(table: pd.DataFrame) -> dict[str, Spread]:
    """Columns of spreads by their names, as far as a column is what they spread.

    An SD or a standard error is one wherever it stands. ``var`` and ``ci`` may be short for other
    things, so they need a column of means, and a variance holds numbers.
    """
    found = {
        column: spread
        for column in map(str, table.columns)
        if not re.search("__(MIN|MAX)$", column)  # of a chart's curve over steps
        and (spread := _spread(column))
    }
    vague = [name for name, spread in found.items() if spread.kind in ("variance", "interval")]
    for name in vague:
        is_number = found[name].kind == "interval" or looks_numeric(table[name])
        if not is_number or _mean_of(table, found[name].stem, found) is None:
            del found[name]
    return found


def _spread(column: str) -> Spread | None:
    name = words(column)
    for kind, endings in _ENDINGS.items():
        for ending in endings:
            if name == ending or plain(column) == ending:
                return Spread(kind, "")
            if name.endswith(f"_{ending}"):
                return Spread(kind, name.removesuffix(f"_{ending}"))
            if name.startswith(f"{ending}_"):
                return Spread(kind, name.removeprefix(f"{ending}_"))
    match = _INTERVAL.fullmatch(name)
    return Spread("interval", match["before"] or match["after"] or "") if match else None


def sources_of(
    table: pd.DataFrame, cells: Sequence[str], given: Mapping[Role, str], findings: list[Finding]
) -> list[Source]:
    """What the means and their spreads are read from, each column of means once.

    cells: columns that hold both. Raises TableError where no spread is an SD, or can be made one.
    """
    if cells and "sd" not in given:
        return _named_apart([_source(column, None) for column in cells])
    spreads = spread_columns(table)
    if "sd" in given:
        # Who calls a column the SDs knows more than its name does, unless it can be turned.
        known = spreads.get(given["sd"]) or _spread(given["sd"]) or Spread("sd", "")
        if known.kind == "interval":
            told = f"{given['sd']} is named like an interval, and read as SDs, as given"
            findings.append(Finding("doubt", told))
            known = replace(known, kind="sd")
        spreads = {given["sd"]: known}
    of_mean: dict[str, list[str]] = {}
    for column, spread in spreads.items():
        mean = given.get("mean") or _mean_of(table, spread.stem, spreads)
        if mean is not None and not spread.stem and "mean" not in given:
            _refuse_several(table, column, mean, spreads)
        if mean is not None:
            of_mean.setdefault(mean, []).append(column)
    found, lacking = [], {}
    for mean, several in of_mean.items():
        kinds: tuple[Kind, ...] = (*_ENDINGS,)
        usable = [column for column in several if spreads[column].kind in kinds]
        if not usable:
            lacking[mean] = several
            continue
        first = min((spreads[column].kind for column in usable), key=kinds.index)
        alike = [column for column in usable if spreads[column].kind == first]
        if len(alike) > 1:
            raise TableError(
                f"columns {' and '.join(alike)} are both spreads of {mean}: name the one over "
                f"runs, --column sd={alike[0]}"
            )
        found.append(_source(mean, alike[0], first))
    if not found:
        for mean, several in lacking.items():
            raise TableError(_only_an_interval(mean, several))
        raise TableError(
            "which column holds the means? Name it, --column mean=COLUMN (in Python "
            "columns={'mean': …})"
        )
    findings += [
        Finding("doubt", f"not compared: {_only_an_interval(mean, several)}")
        for mean, several in lacking.items()
    ]
    return _named_apart(found)


def _only_an_interval(mean: str, columns: Sequence[str]) -> str:
    said = {part for column in columns for part in words(column).split("_")}
    many = len(columns) > 1
    what = next((told for told, own in _NO_SPREADS.items() if said & own), "confidence interval")
    return (
        f"{mean} has no SD beside it, only {'' if many else 'a '}{what}{'s' if many else ''} "
        f"({', '.join(columns)}), and neither its level, nor whether it is a half or the whole "
        "width, nor of what it is can be told: put the SD of the runs, or the standard error, "
        f"beside it (as in {words(mean)}_sd, {words(mean)}_se)"
    )


def _named_apart(sources: Sequence[Source]) -> list[Source]:
    """Sources that no score or label would tell apart, each under the name of its column."""

    def doubled(some: Sequence[Source]) -> set[tuple[str | None, str]]:
        keys = [(source.score, source.label) for source in some]
        return {key for key in keys if keys.count(key) > 1}

    alike = doubled(sources)
    named = [
        replace(source, label=source.mean) if (source.score, source.label) in alike else source
        for source in sources
    ]
    return [replace(each, label=each.mean) for each in named] if doubled(named) else named


def without_spread(name: str) -> str:
    """The name of a column without what it says of its spreads.

    >>> without_spread("Dice (mean ± SE)")
    'Dice '
    """
    return _SHOWN.sub("", name)


def _source(mean: str, spread: str | None, kind: Kind = "sd") -> Source:
    """A column with the score, and the region, side or data set, that its name tells."""
    shown = _SHOWN.search(mean)
    if shown is not None:
        said = set(words(shown[0]).split("_"))
        if said & _NO_SDS:
            what = shown[0].strip(" [(").rstrip(")] ")
            raise TableError(
                f"column {mean} holds {what}: means with SDs, or with standard errors, can be "
                "audited, and these cannot"
            )
        if said & set(_ENDINGS["error"]):
            kind = "error"
        elif said & set(_ENDINGS["variance"]):
            kind = "variance"
    parsed = parse_score(without_spread(mean))
    score = parsed.score.name if parsed.score else None
    if score is None and words(mean) not in NAMES["mean"]:
        return Source(mean, spread, None, mean, kind)
    # A region is shown as the column writes it: WT, and not wt.
    pieces = [piece for piece in re.split(r"[\s_()\[\],/.-]+", mean) if piece]
    own = set(parsed.rest.split("_"))
    written = " ".join(piece for piece in pieces if words(piece) in own)
    rest = (written or parsed.rest) if parsed.rest else ""
    if parsed.score is not None:
        left = [
            piece
            for piece in pieces
            if words(piece) not in own | set(NAMES["mean"]) and not side_of(piece)
        ]
        called = own_name(" ".join(left))
        score = called if known(called) == parsed.score else score
    return Source(mean, spread, score, " ".join(filter(None, (rest, parsed.side))), kind)


def _mean_of(table: pd.DataFrame, stem: str, spreads: Collection[str]) -> str | None:
    """The column of which spreads with this stem are."""
    free = {
        words(name): str(name) for name in reversed(table.columns.tolist()) if name not in spreads
    }
    joined = [both for word in NAMES["mean"] for both in (f"{stem}_{word}", f"{word}_{stem}")]
    for name in [*joined, stem] if stem else []:
        if name in free:
            return free[name]
    if stem:
        return None
    for name in NAMES["mean"]:
        if name in free:
            return free[name]
    return next(iter(score_columns(table, reversed(free.values()))), None)


def _refuse_several(table: pd.DataFrame, column: str, mean: str, spreads: Collection[str]) -> None:
    """Raise TableError for a column that is called ``sd`` alone beside several scores."""
    named = list(score_columns(table, [str(name) for name in table if name not in spreads]))
    if mean in named and len(named) > 1:
        raise TableError(
            f"column {column} may be of {' or '.join(named)}: name the one, --column mean={mean}, "
            f"or call it {words(mean)}_{words(column)}"
        )


def as_sd(spread: Printed, kind: Kind, n: int) -> Printed:
    """A printed spread as the SD of n runs."""
    if kind == "error":
        return Printed(spread.value * np.sqrt(n), spread.half * np.sqrt(n))
    if kind == "variance":
        sd, low = np.sqrt(spread.value), np.sqrt(max(spread.range[0], 0.0))
        # The root is steeper below: its rounding reaches further there than above.
        half = sd - low if spread.value > 0 else np.sqrt(spread.half)
        return Printed(float(sd), float(half))
    return spread


def told_of_spreads(sources: Sequence[Source]) -> str:
    """What the spreads are taken for, in one sentence that is true of each column."""
    taken: dict[Kind, str] = {
        "sd": "each SD{} is taken for that of the runs (n − 1), not of cases, nor a standard error",
        "error": "the standard errors{} are turned into SDs, by the root of the number of runs, "
        "and taken for those of the runs, not of cases",
        "variance": "the variances{} are turned into SDs, by their square root, and taken for "
        "those of the runs (n − 1), not of cases",
    }
    kinds = [kind for kind in taken if any(source.kind == kind for source in sources)]
    said = []
    for kind in kinds:
        columns = [source.spread or source.mean for source in sources if source.kind == kind]
        said.append(taken[kind].format(f" in {', '.join(columns)}" if len(kinds) > 1 else ""))
    return "; ".join(said)
