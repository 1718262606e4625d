"""Statistics on anybody's results: each writes its tables, and a figure where there is one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting import audit_page
from llm4seg_probe.reporting.figures import power
from llm4seg_probe.reporting.saving import save_figure
from llm4seg_probe.statistics.audit import audit_files
from llm4seg_probe.statistics.audited import Audit
from llm4seg_probe.statistics.compare import compare
from llm4seg_probe.statistics.plan import Plan, plan
from llm4seg_probe.storage import atomically


def compare_table(path: Path, out: Path, **options: Any) -> tuple[pd.DataFrame, Path]:
    """Compare the arms of any tidy CSV; options are those of ``lp.compare``."""
    rows = compare(_read(path), **options)
    target = out / tables.COMPARISON.name
    tables.write_table(rows, target, tables.COMPARISON)
    return rows, target


def plan_table(path: Path, out: Path, **options: Any) -> tuple[Plan, dict[str, Path]]:
    """Plan a study from a pilot's table; options are those of ``statistics.plan.plan``."""
    found = plan(_read(path), **options)
    written = {"summary": out / "plan.csv", "curve": out / "power.csv"}
    _write(found.summary, written["summary"])
    _write(found.curve, written["curve"])
    drawn = power.figure(found.summary, found.curve)
    figures = save_figure(drawn, out / "figures", "power", written["curve"])
    return found, written | {f"figure ({kind})": figure for kind, figure in figures.items()}


def audit_tables(paths: Sequence[Path], out: Path, **options: Any) -> tuple[Audit, dict[str, Path]]:
    """Audit results that somebody else made; options are those of ``audit_files``.

    Writes the table, the curves if there are any, and the page.
    """
    found = audit_files(paths, **options)
    written = {}
    for kind, name, table in (
        ("table", audit_page.TABLE, found.comparison),
        ("curves", audit_page.CURVES, found.curves),
    ):
        (out / name).unlink(missing_ok=True)  # of an audit before this one
        if not table.empty:
            _write(table, out / name)
            written[kind] = out / name
    written["page"] = audit_page.write_audit_page(
        found, out, sources=[path.name for path in paths], command=_audit_command(paths, options)
    )
    return found, written


def _audit_command(paths: Sequence[Path], options: Mapping[str, Any]) -> str:
    """The command that gives the same audit, with the options that differ from none."""
    words = ["llm4seg-probe", "audit", *map(str, paths)]
    for role, column in (options.get("columns") or {}).items():
        words += ["--column", f"{role}={column}"]
    for name in ("baseline", "n", "test_share", "margin"):
        if options.get(name) is not None:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    return shlex.join(words)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError as error:
        raise TableError(f"no such table: {path}") from error
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(f"{path} is not a readable CSV table: {error}") from error


def _write(table: pd.DataFrame, path: Path) -> None:
    with atomically(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
