"""Read a table of results for ``compare``, ``plan`` and ``audit``: one way, told in the same words.

Names are stripped, wide tables turned, columns recognised, rows selected, cells read as numbers;
what is guessed, left out or not used is a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import ConfigError, TableError, unknown
from llm4seg_probe.score_names import known
from llm4seg_probe.statistics import wide_tables
from llm4seg_probe.statistics.averages import ABSENT, Absent
from llm4seg_probe.statistics.cells import mean_and_sd, read_numbers, share_of_means
from llm4seg_probe.statistics.columns import column_named, recognise
from llm4seg_probe.statistics.decimal_marks import DOTTED, Decimal
from llm4seg_probe.statistics.divisions import (
    averaged_in,
    folds_in,
    is_whole_per_seed,
    told_average,
)
from llm4seg_probe.statistics.findings import (
    Finding,
    folders_of_sides,
    guesses,
    left_over,
    look_alikes,
    sentinels,
    unfinished,
    values_of,
)
from llm4seg_probe.statistics.key_columns import clean, named, stripped, typed
from llm4seg_probe.statistics.roles import NAMES, Match, Recognised, Role
from llm4seg_probe.statistics.rows import MAY_BE_ABSENT, Columns, as_text, rows_where
from llm4seg_probe.statistics.summary_rows import without_summaries
from llm4seg_probe.statistics.table_file import TableFile

_BACKGROUNDS = frozenset(("0", "background", "bg", "hintergrund", "fond"))
_MOST_SCORES = 40
"""Names of scores in a column that tells of which score a row is."""
_METRIC = frozenset(
    ("metric", "metrics", "metric_name", "measure", "score_name", "variable", "quantity")
)
"""Columns that tell which score another column holds."""


@dataclass(frozen=True)
class Asked:
    """What the user named of a table; everything else is recognised.

    columns: by role. off: roles that the table is known not to have. absent: what becomes of the
    classes that a case does not have, None for the default (``case``; for nnU-Net's summaries
    ``per-class``). infinite_as: what an infinite score counts as. baseline: an arm, which no column
    of this name is then taken for anything else than.
    """

    columns: Mapping[Role, str] = field(default_factory=dict)
    off: frozenset[Role] = frozenset()
    where: Mapping[str, object] = field(default_factory=dict)
    average_over: tuple[str, ...] = ()
    decimal: Decimal | None = None
    infinite_as: float | None = None
    absent: Absent | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        if self.decimal not in (None, ".", ","):
            raise ConfigError(f"decimal is '{self.decimal}': give . or ,")
        if self.infinite_as is not None and not np.isfinite(self.infinite_as):
            raise ConfigError(f"infinite_as is {self.infinite_as}: give a number (--infinite-as)")
        if self.absent not in (None, *ABSENT):
            raise ConfigError(unknown("absent", str(self.absent), ABSENT))


@dataclass(frozen=True)
class Reading:
    """A table of single results, ready to be compared.

    table: its rows, with their own column names; the score as numbers. columns: names of the key
    columns, the seed's empty where there is none. strata: columns that were joined to the data
    set's. findings: what is worth saying.
    """

    table: pd.DataFrame
    score: str
    columns: Columns
    fold: str | None = None
    average_over: tuple[str, ...] = ()
    absent: Absent = "case"
    absent_asked: bool = False
    strata: tuple[str, ...] = ()
    matches: tuple[Match, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def seeds_are_folds(self) -> bool:
        """Whether each case was scored under one seed only, as in cross-validation."""
        columns = self.columns
        if self.fold is not None or columns.case is None or columns.seed not in self.table.columns:
            return False
        case = [name for name in (columns.dataset, columns.group, columns.case) if name]
        seeds = self.table.groupby(case, observed=True)[columns.seed].nunique()
        return bool(seeds.max() == 1 and self.table[columns.seed].nunique() > 1)

    @property
    def arms(self) -> list[str]:
        """The arms, in the order of the table."""
        return as_text(self.table[self.columns.arm]).drop_duplicates().tolist()

    @property
    def largest(self) -> float:
        """The largest finite score."""
        values = self.table[self.score]
        return float(values[np.isfinite(values)].max())


def read(file: TableFile, asked: Asked) -> Reading:
    """Read a table of single results, one row per arm, seed and case.

    Raises TableError for a table in which no arm or score is found, for a column or value that it
    does not have, and for a cell that is not a number.
    """
    findings = [Finding("note", note) for note in file.notes]
    wide_tables.refuse_transposed(file.table)
    table = typed(named(file.table), asked.columns.get("arm"))
    if table.empty:
        raise TableError("the table has no rows")
    turned = wide_tables.long(table, asked.columns, asked.baseline)
    findings += [Finding("note", note) for note in turned.notes]
    findings += [Finding("doubt", doubt) for doubt in turned.doubts]
    table = rows_where(turned.table, asked.where)
    off = {*asked.off, *(("class",) if turned.strata else ())}
    found = recognise(table, _known(table, turned.given), off=off)
    table, found = _told_beside(table, found, findings)
    score = found.matches["score"].column
    averaged = [column_named(table, name) for name in asked.average_over]
    table = without_summaries(table, found, not file.comma_separated, findings, averaged)
    table = clean(table, found, findings)
    table[score] = _as_written(table[score], file.table)
    table[score] = _means_alone(table[score], findings)
    numbers = read_numbers(table[score], asked.decimal, comma=not file.comma_separated)
    findings += [Finding("note", note) for note in numbers.notes]
    table[score] = (
        numbers.values if asked.infinite_as is None else _finite(numbers.values, asked.infinite_as)
    )
    findings += sentinels(table[score], score)
    if "%" in score and not numbers.percent and table[score].abs().max() <= 1:
        findings.append(
            Finding(
                "doubt",
                f"'{score}' speaks of per cent, and its largest value is {table[score].max():g}: "
                "they are taken for fractions",
            )
        )
    columns, strata = _columns(table, found, turned.strata, findings)
    average_over = averaged_in(table, found, columns, asked.average_over, findings)
    fold = folds_in(table, found, average_over, findings)
    if fold is not None and is_whole_per_seed(table, fold, columns, found):
        findings.append(
            Finding(
                "note",
                f"each {columns.seed} has been through all folds ({fold}: "
                f"{values_of(table[fold])}): its cross-validation is taken as one run, which "
                "says whether another training on these splits would come out the same (to "
                f"compare by fold: --fold {fold})",
            )
        )
        average_over, fold = (*average_over, fold), None
    absent = asked.absent or ("per-class" if file.nnunet else "case")
    reading = Reading(
        table, score, columns, fold, average_over, absent,
        asked.absent is not None, strata,
        tuple(found.matches.values()),
    )  # fmt: skip
    used = {score, *strata, *average_over, *columns.keys}
    used |= {match.column for match in reading.matches}
    used |= {column_named(table, name) for name in asked.where}
    findings += guesses(found) + left_over(table, found, columns, used) + unfinished(table)
    findings += folders_of_sides(table, columns) + look_alikes(table, columns.arm)
    for name in average_over:
        known = file.nnunet or words(name) in NAMES["fold"]
        findings.append(told_average(name, table[name], asked.average_over, known))
        behind = as_text(table[name]).drop_duplicates()
        behind = behind[behind.map(words).isin(_BACKGROUNDS)]
        if not behind.empty and name == found.column("class"):
            told = f"{name} {behind.iloc[0]} is averaged with the others: if it is the background, "
            findings.append(Finding("doubt", f"{told}leave its rows out"))
    return replace(reading, findings=tuple(findings))


def named_columns(
    table: pd.DataFrame, keys: Mapping[Role, str | None]
) -> tuple[dict[Role, str], frozenset[Role]]:
    """Columns as named, and roles that the table does not have.

    A usual name that the table lacks is left to be recognised; one that is never filled counts as
    absent.
    """
    given: dict[Role, str] = {}
    off: set[Role] = set()
    for role, name in keys.items():
        usual = name == getattr(Columns(), role)
        if name is None or (
            usual
            and name in table.columns
            and role in MAY_BE_ABSENT
            and (as_text(table[name]) == "").all()
        ):
            off.add(role)
        elif not usual or name in table.columns:
            given[role] = name
    return given, frozenset(off)


def _known(table: pd.DataFrame, given: Mapping[Role, str]) -> dict[Role, str]:
    """The columns that the user named, as the table writes them."""
    known: dict[Role, str] = {}
    for role, name in given.items():
        what = "column" if role == "score" else f"column ({role})"
        known[role] = column_named(table, name, what)
    return known


def _told_beside(
    table: pd.DataFrame, found: Recognised, findings: list[Finding]
) -> tuple[pd.DataFrame, Recognised]:
    """A column ``value`` under the name of its score, where a column ``metric`` says only one."""
    match = found.matches["score"]
    vague = known(match.column) is None
    for name in map(str, table.columns):
        if not vague or not (words(name) in _METRIC or _names_scores(table, name, found)):
            continue
        values = as_text(table[name]).drop_duplicates()
        if len(values) > 1 and any(known(value) for value in values):
            raise TableError(
                f"column {name} names several scores ({values_of(table[name])}), one in each row: "
                f"choose one, --where {name}={values.iloc[0]} (in Python where={{{name!r}: "
                f"{values.iloc[0]!r}}})"
                + ("" if words(name) in _METRIC else f"; if they are data, --dataset {name}")
            )
        if len(values) != 1:
            continue
        score = str(values.iloc[0]).strip()
        if known(score) is None or score in table.columns:
            continue
        findings.append(Finding("note", f"{match.column} is {score} ({name})"))
        found.matches["score"] = replace(match, column=score)
        return table.rename(columns={match.column: score}), found
    return table, found


def _names_scores(table: pd.DataFrame, name: str, found: Recognised) -> bool:
    """Whether a column, whatever it is called, holds names of scores, at least two.

    Losses may be the arms; they are, where the column is called as arms are.
    """
    own = [match for match in found.matches.values() if match.column == name]
    sure = any(m.how == "given" or (m.role == "arm" and m.how == "name") for m in own)
    if sure or pd.api.types.is_numeric_dtype(table[name].dtype):
        return False
    values = as_text(table[name]).str.strip().unique().tolist()
    told = [value for value in values if known(value)]
    return 1 < len(told) <= _MOST_SCORES and 2 * len(told) > len(values)


def _as_written(numbers: pd.Series, written: pd.DataFrame) -> pd.Series:
    """The cells of the file, where a dot in them may separate thousands, else the numbers."""
    own = {stripped(name): name for name in written.columns}
    if numbers.name not in own or not numbers.index.isin(written.index).all():
        return numbers
    cells = written.loc[numbers.index, own[numbers.name]]
    if pd.api.types.is_numeric_dtype(cells.dtype) or not pd.api.types.is_numeric_dtype(
        numbers.dtype
    ):
        return numbers
    cells = cells.astype(str)
    if not cells.str.strip().str.fullmatch(DOTTED).any():
        return numbers
    same = np.isclose(pd.to_numeric(cells, errors="coerce"), numbers, equal_nan=True)
    return cells if same.all() else numbers  # other rows, of a table that was turned


def _means_alone(cells: pd.Series, findings: list[Finding]) -> pd.Series:
    """Cells such as ``85.3 ± 2.2``, where each is of one run, without the spread of its cases."""
    if pd.api.types.is_numeric_dtype(cells.dtype) or share_of_means(as_text(cells)) < 0.5:
        return cells
    both = as_text(cells).map(mean_and_sd)
    first = as_text(cells)[both.notna()].iloc[0]
    findings.append(
        Finding(
            "doubt",
            f"{cells.name}: of '{first}' and the like the mean is taken for the score of one run; "
            "the spread, of its cases most likely, is not used",
        )
    )
    return cells.where(both.isna(), both.map(lambda pair: pair[0] if pair else ""))


def _finite(values: pd.Series[float], penalty: float) -> pd.Series[float]:
    return values.where(~np.isinf(values), penalty)


def _columns(
    table: pd.DataFrame, found: Recognised, further: Sequence[str], findings: list[Finding]
) -> tuple[Columns, tuple[str, ...]]:
    """The key columns; data set, backbone and region, where there are several, joined to one."""
    arm = found.column("arm")
    assert arm is not None
    names = found.columns(("dataset",)) + [
        name
        for name in (*found.columns(("stratum",)), *further)
        if table[name].nunique() > 1 and _is_crossed(table, name, arm, findings)
    ]
    columns = Columns(
        arm, found.column("seed") or "", found.column("case"), found.column("group"),
        names[0] if len(names) == 1 else None,
    )  # fmt: skip
    strata = tuple(name for name in names if name != found.column("dataset"))
    for name in strata:
        findings.append(Finding("note", f"compared within each {name}: {values_of(table[name])}"))
    if len(names) > 1:
        joined = " · ".join(names)
        table[joined] = table[names].apply(as_text).agg(" · ".join, axis=1)
        columns = replace(columns, dataset=joined)
    if columns.group is not None and columns.group == columns.case:
        columns = replace(columns, group=None)
    return columns, strata


def _is_crossed(table: pd.DataFrame, name: str, arm: str, findings: list[Finding]) -> bool:
    """Whether arms can be compared within each value of a stratum; not if each has its own."""
    if (table.groupby(arm)[name].nunique() > 1).any():
        return True
    findings.append(
        Finding(
            "doubt",
            f"each arm has a {name} of its own ({values_of(table[name])}): the arms differ in that "
            "too, and the column is not used",
        )
    )
    return False
