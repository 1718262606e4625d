"""Result tables of anybody: from files to a comparison, a plan, or an audit with its page."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.pseudonyms import Pseudonyms, key_beside
from llm4seg_probe.report import audit_page
from llm4seg_probe.statistics import wide_tables
from llm4seg_probe.statistics.audit import audit_files
from llm4seg_probe.statistics.audit.checks import unknown_patients
from llm4seg_probe.statistics.audit.printed_table import is_means
from llm4seg_probe.statistics.audit.result import Audit
from llm4seg_probe.statistics.columns import recognise
from llm4seg_probe.statistics.compare import Question, compared
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.key_columns import named, typed, unmarked
from llm4seg_probe.statistics.nnunet_summary import case_name
from llm4seg_probe.statistics.pairs import Wanted, chosen_baseline
from llm4seg_probe.statistics.plan import Aims, Plan, planned
from llm4seg_probe.statistics.reader import Asked, Reading, read
from llm4seg_probe.statistics.remarks import notes_of, remarks
from llm4seg_probe.statistics.roles import NAMES, Match, Role
from llm4seg_probe.statistics.table_file import TableFile, named_in_errors, read_files
from llm4seg_probe.storage import atomically


def without_names(file: TableFile, asked: Asked) -> tuple[TableFile, Pseudonyms]:
    """The table with numbers for its patients and cases, and which name has which number.

    Names that differ in spaces, capitals or the endings of files have one number where that joins
    no two cases of a run. Raises TableError where no arm or score is found.
    """
    table = named(file.table)
    turned = wide_tables.long(typed(table), asked.columns, asked.baseline)
    found = recognise(turned.table, turned.given, off=asked.off)
    keyed: dict[str, dict[str, str]] = {}
    patients: set[str] = set()
    images: set[str] = set()
    for role in ("group", "case"):
        column = found.column(role)
        if column is None or column not in table:
            continue
        keyed[column] = _keys(table[column])
        is_patient = role == "group" or words(column) in NAMES["group"]
        (patients if is_patient else images).update(keyed[column].values())
    numbers = Pseudonyms.of(patients - {""}, images - {""})
    for column in map(str, table.columns):
        if column in keyed:
            keys = keyed[column]
            table[column] = table[column].map(lambda cell, keys=keys: numbers.name(keys[str(cell)]))
        elif not pd.api.types.is_numeric_dtype(table[column].dtype):
            table[column] = table[column].astype(str).map(numbers.within_paths)
    return replace(file, table=table), numbers


def _keys(column: pd.Series) -> dict[str, str]:
    """What each cell is known by: the name without what people write in several ways."""
    plainly = {str(cell): unmarked(cell) for cell in column.unique()}
    alike = {cell: case_name(name).casefold() for cell, name in plainly.items()}
    first: dict[str, str] = {}
    for cell, key in alike.items():
        first.setdefault(key, plainly[cell])
    return {cell: first[key] for cell, key in alike.items()}


@dataclass(frozen=True)
class ComparedTable:
    """A comparison of a file: its rows, and how the file was read."""

    rows: pd.DataFrame
    matches: tuple[Match, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class PlannedTable:
    """A plan from a file, and how the file was read."""

    plan: Plan
    matches: tuple[Match, ...]
    findings: tuple[Finding, ...]


def asked_of(
    *,
    no_case: bool,
    where: Mapping[str, object],
    average_over: Sequence[str] | None,
    decimal: Any,
    infinite_as: float | None,
    absent: Any,
    **columns: str | None,
) -> Asked:
    """What a command's options say about a table; columns by role."""
    given: dict[Role, str] = {role: name for role, name in columns.items() if name}  # type: ignore[misc]
    if no_case and {"case", "group"} & set(given):
        raise ConfigError("--no-case says that there are no cases: leave --case and --group out")
    off: set[Role] = {"case", "group"} if no_case else set()
    return Asked(
        given, frozenset(off), where, tuple(average_over or ()), decimal=decimal,
        infinite_as=infinite_as, absent=absent,
    )  # fmt: skip


def compared_table(
    paths: Sequence[Path], asked: Asked, question: Question, shared: Path | None = None
) -> ComparedTable:
    """Compare the arms of any table in files.

    shared: a folder that is to be shared: patients and cases have numbers then, and which is which
    is written beside it.
    """
    with named_in_errors(paths):
        return _compared(
            _read(paths, replace(asked, baseline=question.wanted.baseline), shared), question
        )


def _compared(reading: Reading, question: Question) -> ComparedTable:
    findings = list(reading.findings)
    rows = compared(reading, question)
    findings += remarks(reading, question)
    case = reading.columns.case
    if case and not reading.columns.group and words(case) not in NAMES["group"]:
        findings += unknown_patients(reading.table[case])
    findings += notes_of(rows)
    return ComparedTable(rows, reading.matches, tuple(dict.fromkeys(findings)))


def planned_table(paths: Sequence[Path], asked: Asked, wanted: Wanted, aims: Aims) -> PlannedTable:
    """Plan a study from a pilot's table in files."""
    with named_in_errors(paths):
        reading = _read(paths, replace(asked, baseline=wanted.baseline))
        plan = planned(reading, wanted, aims)
    findings = list(reading.findings)
    if wanted.pairs is None and wanted.baseline is None and "cnn" not in reading.arms:
        findings.append(Finding("note", chosen_baseline(reading.arms, None)[1]))
    if aims.margin is None:
        margin = plan.summary["margin"].iloc[0]
        told = f"a difference of {margin:g} is taken to matter, by default: --margin"
        findings.append(Finding("note", told))
    return PlannedTable(plan, reading.matches, tuple(findings))


def audit_tables(paths: Sequence[Path], out: Path, **options: Any) -> tuple[Audit, dict[str, Path]]:
    """Audit results that somebody else made; options are those of ``audit_files``.

    Writes the table, the curves if there are any, and the page.
    """
    found = audit_files(paths, **options)
    sources = [str(path) for path in paths]
    return found, write_audit(found, out, sources=sources, command=audit_command(sources, options))


def write_audit(
    found: Audit, out: Path, *, sources: Sequence[str], command: str
) -> dict[str, Path]:
    """Write the table of an audit, its curves if there are any, and its page."""
    written = {}
    for kind, name, table in (
        ("table", audit_page.TABLE, found.comparison),
        ("curves", audit_page.CURVES, found.curves),
    ):
        (out / name).unlink(missing_ok=True)  # of an audit before this one
        if not table.empty:
            _write(table, out / name)
            written[kind] = out / name
    names = [Path(source).name for source in sources]
    written["page"] = audit_page.write_audit_page(found, out, sources=names, command=command)
    return written


def with_numbers(file: TableFile, asked: Asked, shared: Path) -> TableFile:
    """The table with numbers for its patients and cases; the key is written beside a folder.

    Printed means name nobody, and stay as they are.
    """
    if is_means(file.table, asked.columns):
        return file
    file, numbers = without_names(file, asked)
    numbers.write_key(key_beside(shared))
    return file


def _read(paths: Sequence[Path], asked: Asked, shared: Path | None = None) -> Reading:
    """Read single results; printed means are for ``audit``."""
    file = read_files(paths)
    if is_means(file.table, asked.columns):
        raise TableError(
            f"{paths[0]} holds printed means with their spreads: llm4seg-probe audit reads those"
        )
    if shared is not None:
        file = with_numbers(file, asked, shared)
    return read(file, asked)


def audit_command(sources: Sequence[str], options: Mapping[str, Any]) -> str:
    """The command that gives the same audit, with the options that differ from none."""
    words = ["llm4seg-probe", "audit", *sources]
    for role, column in (options.get("columns") or {}).items():
        words += ["--column", f"{role}={column}"]
    for column, value in (options.get("where") or {}).items():
        words += ["--where", f"{column}={value}"]
    for name in options.get("average_over") or ():
        words += ["--average-over", name]
    for name in ("baseline", "n", "test_share", "margin", "decimal", "infinite_as", "absent"):
        if options.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    if options.get("lower_is_better") is not None:
        words.append("--lower-is-better" if options["lower_is_better"] else "--higher-is-better")
    words += ["--no-case"] if "case" in (options.get("without") or ()) else []
    words += ["--unpaired"] if options.get("unpaired") else []
    return shlex.join(words)


def _write(table: pd.DataFrame, path: Path) -> None:
    with atomically(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
