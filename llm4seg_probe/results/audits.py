"""Results that somebody else made, audited: ``lp.audit``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from llm4seg_probe.results.result import Result
from llm4seg_probe.statistics import audit as auditing
from llm4seg_probe.statistics.audit.result import Audit
from llm4seg_probe.statistics.audit.result import Design as AuditDesign
from llm4seg_probe.statistics.audit.result import Test as AuditTest
from llm4seg_probe.statistics.averages import Absent
from llm4seg_probe.statistics.decimal_marks import Decimal
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.reader import Asked
from llm4seg_probe.statistics.roles import Match, Role
from llm4seg_probe.study.anybody import (
    audit_command,
    with_numbers,
    write_audit,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

from llm4seg_probe.results.comparisons import Table, paths_of


class Audited(Result):
    """What an audit found: the design, what is doubtful, tests allowed or not, and verdicts."""

    def __init__(self, audit: Audit, sources: Sequence[str], command: str) -> None:
        self.audit = audit
        self.sources = tuple(sources)
        self.command = command

    @property
    def table(self) -> pd.DataFrame:
        """The comparisons, as ``audit.csv`` has them; empty where the table allows none."""
        return self.audit.comparison

    @property
    def design(self) -> AuditDesign:
        """How the results were made, as far as the table shows it."""
        return self.audit.design

    @property
    def matches(self) -> tuple[Match, ...]:
        """What each column was taken for."""
        return self.audit.matches

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Faults, doubts and notes."""
        return self.audit.findings

    @property
    def tests(self) -> tuple[AuditTest, ...]:
        """Tests, whether the design allows each, and why (not)."""
        return self.audit.tests

    @property
    def summary(self) -> pd.DataFrame:
        """Faults, doubts and notes, and the tests that are allowed or refused, one row each."""
        found = [{"kind": one.level, "what": one.what} for one in self.findings]
        found += [
            {"kind": "allowed" if test.allowed else "refused", "what": f"{test.name} ({test.why})"}
            for test in self.tests
        ]
        return pd.DataFrame(found, columns=["kind", "what"])

    @property
    def sentences(self) -> tuple[str, ...]:
        """The design, and the verdicts in words."""
        return (self.design.sentence, *self.audit.sentences)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        from llm4seg_probe.report.figures import forest, p_by_correlation

        found = self.audit
        if not found.curves.empty:
            return {"correlation": lambda: p_by_correlation.figure(found.curves, found.comparison)}
        if found.comparison.empty:
            return {}
        return {"effects": lambda: forest.figure(found.comparison, found.score)}

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the tables and the page."""
        return tuple(self.files(Path(folder)).values())

    def files(self, folder: Path) -> dict[str, Path]:
        """Write as :meth:`save`; returns the files by what they are."""
        return write_audit(self.audit, folder, sources=self.sources, command=self.command)


def audit(
    results: Table,
    *,
    baseline: str | None = None,
    score: str | None = None,
    arm: str | None = None,
    seed: str | None = None,
    case: str | None = None,
    group: str | None = None,
    dataset: str | None = None,
    fold: str | None = None,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, object] | None = None,
    average_over: Sequence[str] = (),
    without: Sequence[str] = (),
    n: int | None = None,
    test_share: float | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    bootstrap: int = 10_000,
    lower_is_better: bool | None = None,
    unpaired: bool = False,
    decimal: Decimal | None = None,
    infinite_as: float | None = None,
    absent: Absent | None = None,
    shared: str | Path | None = None,
) -> Audited:
    """Compare results that somebody else made, and say what can be trusted about them.

    Parameters
    ----------
    results : DataFrame, path or paths
        One row per arm and seed (and case), in any order and under any names; or one row per arm
        with means, SDs and n. Or the path of a CSV file, or those of nnU-Net's summaries.
    baseline : str, optional
        The arm that the others are compared with; by its name unless given.
    score, arm, seed, case, group, dataset, fold : str, optional
        Columns, where they are not recognised.
    columns : mapping of role to column
        Columns of further roles: ``stratum, split, class, mean, sd, n``.
    where : mapping
        Column to value: the rows that are audited.
    average_over : sequence of str
        Columns that are averaged over, such as ``fold``; one of classes is, unasked.
    without : sequence of str
        Roles that the table does not have, such as ``case``.
    n : int, optional
        Runs behind each printed mean, if the table does not say.
    test_share : float, optional
        Share of the data in the test part of a fold; as the cases show, else one over the number
        of folds.
    margin : float, optional
        Smallest difference that matters; half a point of fractions and percentages unless given.
    alpha, bootstrap, lower_is_better, unpaired, decimal, infinite_as, absent
        As in :func:`compare`.
    shared : str or Path, optional
        A folder that is to be shared: patients and cases of files have numbers then, and which is
        which is written beside it.

    Returns
    -------
    Audited
        With ``.design``, ``.findings``, ``.tests`` beside what every result has; ``.save(folder)``
        writes the page.

    Raises
    ------
    TableError
        For a table in which no arm or score can be found, or a cell that is no number.
    ConfigError
        For a score of which it is not known whether a higher or a lower one is better.
    """
    named = {
        "score": score, "arm": arm, "seed": seed, "case": case, "group": group,
        "dataset": dataset, "fold": fold,
    }  # fmt: skip
    roles = {**(columns or {}), **{role: name for role, name in named.items() if name}}
    options: dict[str, Any] = {
        "baseline": baseline, "columns": roles, "n": n, "test_share": test_share,
        "margin": margin, "alpha": alpha, "bootstrap": bootstrap, "where": where,
        "average_over": tuple(average_over), "without": tuple(without),
        "lower_is_better": lower_is_better, "unpaired": unpaired,
        "decimal": decimal, "infinite_as": infinite_as, "absent": absent,
    }  # fmt: skip
    if isinstance(results, pd.DataFrame):
        found, sources = auditing.audit(results, **options), ["a table in memory"]
    else:
        paths = paths_of(results)
        names = None
        if shared is not None:
            asked = Asked(cast(dict[Role, str], roles), frozenset(cast(list[Role], without)))
            names = partial(with_numbers, asked=asked, shared=Path(shared))
        found = auditing.audit_files(paths, names=names, **options)
        sources = [str(path) for path in paths]
    return Audited(found, sources, audit_command(sources, options))
