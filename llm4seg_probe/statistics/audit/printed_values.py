"""Means and spreads of one printed column in one unit, and the refusal of what none can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.score_names import known
from llm4seg_probe.scores import Score
from llm4seg_probe.statistics.audit.spreads import Source, as_sd
from llm4seg_probe.statistics.cells import PER, Printed, Unit, printed, undressed, unit_of
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.units import PERCENT_FROM, UNBOUNDED

_LARGEST_SD = 0.71
"""No sample of fractions has a larger SD: that of one 0 and one 1 is 0.7071."""
_PER_CENT_WORDS = frozenset(("percent", "percentage", "pct", "perc"))


@dataclass(frozen=True)
class PrintedRow:
    """A mean and its spread as a row prints them. where, spread_at: row and column, in words."""

    where: str
    spread_at: str
    arm: str
    mean: str
    spread: str
    n: int


@dataclass(frozen=True)
class _Column:
    """A column as far as its numbers tell its unit.

    scale: what 1 is in it, 100 for per cent. stated: whether signs, or its name, say per cent.
    """

    source: Source
    kind: Score | None
    scale: float
    stated: bool

    @property
    def is_fraction(self) -> bool:
        return self.kind is not None and self.kind.fraction


def values_of_column(
    source: Source, score: str, rows: Sequence[PrintedRow], findings: list[Finding]
) -> list[tuple[Printed, Printed]]:
    """Mean and SD of each row, in the unit of the column's means.

    Raises TableError, with the row, for a unit that cannot be known and a value that cannot be.
    """
    means = [_number(row.where, row.mean) for row in rows]
    spreads = [_number(row.spread_at, row.spread) for row in rows]
    for row in rows:
        _refuse_signed_spread(row, source)
    units = _units_of_means(source, rows, means, findings)
    means = [_per_cent(mean, unit) for mean, unit in zip(means, units, strict=True)]
    column = _column(source, score, means, signed=any(units))
    spreads = _in_unit_of_means(column, rows, means, spreads, findings)
    sds = [as_sd(spread, source.kind, row.n) for spread, row in zip(spreads, rows, strict=True)]
    for row, mean, sd in zip(rows, means, sds, strict=True):
        _refuse_impossible(column, row, mean, sd)
    if column.stated and column.is_fraction and column.scale == 1:
        findings.append(
            Finding(
                "doubt",
                f"{source.mean}: the means are of at most {max(m.value for m in means):g} per "
                "cent, as the table says, and are read as such, as fractions: is it right?",
            )
        )
        means, sds = ([_times(one, 0.01) for one in some] for some in (means, sds))
    return list(zip(means, sds, strict=True))


def _number(where: str, text: str) -> Printed:
    try:
        return printed(text)
    except TableError as error:
        raise TableError(f"{where}: {error}") from error


def _refuse_signed_spread(row: PrintedRow, source: Source) -> None:
    bare = undressed(row.spread)
    if bare[:1] not in ("-", "+"):
        return
    what = {"error": "standard error", "variance": "variance"}.get(source.kind, "SD")
    raise TableError(
        f"{row.spread_at}: {bare} cannot be {'an' if what == 'SD' else 'a'} {what}, which has no "
        "sign: is it a difference? Correct it, or leave the mean empty"
    )


def _times(one: Printed, factor: float) -> Printed:
    return Printed(one.value * factor, one.half * factor)


def _per_cent(one: Printed, unit: Unit) -> Printed:
    """A number as it stands, per mille brought to per cent."""
    return _times(one, 100 / PER["‰"]) if unit == "‰" else one


def _units_of_means(
    source: Source, rows: Sequence[PrintedRow], means: Sequence[Printed], findings: list[Finding]
) -> list[Unit]:
    """The sign behind each mean; raises TableError where some have none and it matters."""
    units = [unit_of(row.mean) for row in rows]
    signs = sorted(set(units) - {""})
    bare = [mean.value for mean, unit in zip(means, units, strict=True) if not unit]
    # Of percentages some may be written without the sign; a fraction, or per mille, may not.
    if signs and bare and (signs != ["%"] or min(map(abs, bare)) <= PERCENT_FROM):
        first = next(row for row, unit in zip(rows, units, strict=True) if unit)
        raise TableError(
            f"{first.where}: {len(units) - len(bare)} of {len(units)} means are marked with "
            f"{' or '.join(signs)} and the others are not: bring all rows to one unit"
        )
    if "‰" in signs:
        findings.append(Finding("note", f"{source.mean}: per mille is read as per cent, by ten"))
    return units


def _column(source: Source, score: str, means: Sequence[Printed], *, signed: bool) -> _Column:
    kind = known(score)
    largest = max(abs(mean.value) for mean in means)
    is_percent = kind is not None and kind.fraction and largest > PERCENT_FROM
    # Many head a column with % and write fractions; an error of 0.8 % is as usual as one of 0.8.
    headed = _says_per_cent(source.mean) and (
        largest > 1 or (kind is not None and kind.lower_is_better)
    )
    return _Column(source, kind, 100.0 if is_percent else 1.0, signed or headed)


def _says_per_cent(column: str) -> bool:
    return "%" in column or bool(set(words(column).split("_")) & _PER_CENT_WORDS)


def _in_unit_of_means(
    column: _Column, rows: Sequence[PrintedRow], means: Sequence[Printed],
    spreads: Sequence[Printed], findings: list[Finding],
) -> list[Printed]:  # fmt: skip
    """The spreads in the unit of the means, by the sign behind each."""
    source = column.source
    headed: Unit = "%" if source.spread and _says_per_cent(source.spread) else ""
    units = [unit_of(row.spread) or headed for row in rows]
    turned = [
        _turned(column, row, mean, spread, unit)
        for row, mean, spread, unit in zip(rows, means, spreads, units, strict=True)
    ]
    # A sign in the head of a column that holds both is that of both.
    headed_alone = source.spread is not None and column.stated and _says_per_cent(source.mean)
    if column.is_fraction:
        bare = [
            place
            for place, (row, unit) in enumerate(zip(rows, units, strict=True))
            if not unit and (unit_of(row.mean) or headed_alone)
        ]
        _refuse_open_unit(source, rows, means, spreads, bare, findings)
    changed = [
        (row, spread)
        for row, spread, unit in zip(rows, turned, units, strict=True)
        if unit and not unit_of(row.mean) and column.scale == 1 and not column.stated
    ]
    if changed:
        row, spread = changed[0]
        findings.append(
            Finding(
                "note",
                f"{source.mean}: the spreads in per cent or per mille of {len(changed)} rows are "
                f"read in the unit of their means, which are fractions: {undressed(row.spread)} as "
                f"{spread.value:g}, of the score and not of the mean",
            )
        )
    return turned


def _turned(
    column: _Column, row: PrintedRow, mean: Printed, spread: Printed, unit: Unit
) -> Printed:
    what = f"{row.where}: '{row.mean} ± {row.spread}'"
    if not unit:
        if unit_of(row.mean) == "‰":
            raise TableError(f"{what} leaves the unit of the spread open: write the sign behind it")
        return spread
    if column.source.kind == "variance":
        raise TableError(f"{what}: a variance has no {unit}: give it in the unit of its mean")
    value = _per_cent(spread, unit)
    if unit_of(row.mean) or (column.stated and unit == "%"):
        return value
    if not column.is_fraction:
        raise TableError(
            f"{what} may be a spread of {undressed(row.spread)} of the mean, or both may be in "
            f"{unit}: give both in one unit"
        )
    if column.scale > 1:
        if unit == "‰":
            raise TableError(f"{what} may be in ‰ both or the spread alone: give both in one unit")
        return value
    assert column.kind is not None
    if _says_per_cent(column.source.mean) or (
        column.kind.lower_is_better and spread.value <= abs(mean.value)
    ):
        raise TableError(
            f"{what} may be a fraction with its spread in {unit}, or both may be in {unit}: give "
            "both in one unit"
        )
    if spread.value <= _LARGEST_SD and _as_fine(mean, spread):
        raise TableError(
            f"{what} may be {spread.value:g} {unit} or, by its digits, {spread.value:g} as it "
            "stands: write both in one unit"
        )
    return _times(value, 0.01)


def _as_fine(mean: Printed, spread: Printed) -> bool:
    """Whether both have as many digits behind the point, as numbers of one unit do."""
    return bool(np.isclose(mean.half, spread.half, rtol=1e-6))


def _refuse_open_unit(
    source: Source, rows: Sequence[PrintedRow], means: Sequence[Printed],
    spreads: Sequence[Printed], bare: Sequence[int], findings: list[Finding],
) -> None:  # fmt: skip
    """Raise TableError for spreads without a sign, beside means in per cent, that are open.

    One that no fraction can have settles all; else the digits do, where they are as many as those
    of the means: 80.12% ± 0.84, but not 80% ± 0.04.
    """
    size = max((as_sd(spreads[place], source.kind, 1).value for place in bare), default=1.0)
    if size > _LARGEST_SD:
        return
    for place in bare:
        row = rows[place]
        if not _as_fine(means[place], spreads[place]):
            raise TableError(
                f"{row.where}: '{row.mean} ± {row.spread}' leaves open whether the spread is of a "
                "fraction or in per cent: write the sign behind both (or SD (%) as the name)"
            )
    findings.append(
        Finding(
            "doubt",
            f"{source.mean}: spreads without a sign, up to {size:g}, are read in per cent like "
            "their means, by their digits: are they no fractions?",
        )
    )


def _refuse_impossible(column: _Column, row: PrintedRow, mean: Printed, sd: Printed) -> None:
    """Raise TableError for a mean outside its score's range, or an SD that no runs there have."""
    kind, source = column.kind, column.source
    if kind is None:
        return
    unit = " %" if column.is_fraction and (column.scale > 1 or column.stated) else ""
    top = 100.0 if unit else 1.0
    bounded = column.is_fraction and kind.name not in UNBOUNDED
    guess = "" if source.score else ", for which it is taken as its column names no score,"
    below = not kind.signed and mean.range[1] < 0
    if below or (bounded and mean.range[0] > top):
        limits = f"lies between 0 and {top:g}{unit}" if bounded else "is never below zero"
        raise TableError(
            f"{row.where}: {mean.value:g} cannot be, as {kind.label}{guess} {limits}: correct it, "
            "or its unit, or leave it empty"
        )
    if not bounded or kind.signed or row.n < 2:
        return
    middle = float(np.clip(top / 2, max(mean.range[0], 0), min(mean.range[1], top)))
    largest = np.sqrt(row.n / (row.n - 1) * middle * (top - middle))
    if sd.range[0] > largest * (1 + 1e-9):
        raise TableError(
            f"{row.spread_at}: an SD of {sd.value:.4g} cannot be, as {row.n} runs of a "
            f"{kind.label} between 0 and {top:g}{unit} whose mean is {mean.value:g} have one of "
            f"{largest:.4g} at most: correct it, or its unit, or leave the mean empty"
        )
