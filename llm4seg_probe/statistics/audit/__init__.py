"""Audit results that somebody else made: what can be trusted, what could be shown, and what was.

``compare`` behind a detector of the design. The tests that the design allows are made, the
others are refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pandas as pd

from llm4seg_probe.statistics.audit import means, runs
from llm4seg_probe.statistics.audit.printed_table import is_means
from llm4seg_probe.statistics.audit.result import Audit
from llm4seg_probe.statistics.averages import Absent
from llm4seg_probe.statistics.compare import Question
from llm4seg_probe.statistics.decimal_marks import Decimal
from llm4seg_probe.statistics.pairs import Wanted
from llm4seg_probe.statistics.reader import Asked
from llm4seg_probe.statistics.roles import Role
from llm4seg_probe.statistics.table_file import TableFile, named_in_errors, read_files


def audit_files(
    paths: Sequence[Path],
    *,
    columns: Mapping[str, str] | None = None,
    baseline: str | None = None,
    n: int | None = None,
    test_share: float | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    bootstrap: int = 10_000,
    where: Mapping[str, object] | None = None,
    average_over: Sequence[str] = (),
    without: Iterable[str] = (),
    lower_is_better: bool | None = None,
    unpaired: bool = False,
    decimal: Decimal | None = None,
    infinite_as: float | None = None,
    absent: Absent | None = None,
    names: Callable[[TableFile], TableFile] | None = None,
) -> Audit:
    """Audit a CSV table, or nnU-Net's summary.json files (one per arm, fold and seed).

    names: what the table becomes before it is audited, such as one without names of patients.
    See :func:`audit`. Raises TableError for files that are neither.
    """
    with named_in_errors(paths):
        file = read_files(paths)
        return _audited(
            file if names is None else names(file),
            _asked(columns, where, average_over, without, decimal, infinite_as, absent),
            _question(baseline, margin, alpha, lower_is_better, bootstrap, test_share, unpaired),
            n,
        )


def audit(
    table: pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    baseline: str | None = None,
    n: int | None = None,
    test_share: float | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    bootstrap: int = 10_000,
    where: Mapping[str, object] | None = None,
    average_over: Sequence[str] = (),
    without: Iterable[str] = (),
    lower_is_better: bool | None = None,
    unpaired: bool = False,
    decimal: Decimal | None = None,
    infinite_as: float | None = None,
    absent: Absent | None = None,
) -> Audit:
    """Find out how a table of results was made, what is suspicious, and what it shows.

    Parameters
    ----------
    table : DataFrame
        One row per arm and seed (and case), in any order and under any names; or one row per arm
        with means, SDs and n. Cells may be text, so that printed digits count.
    columns : mapping of role to column
        Names by role (``arm, seed, case, group, dataset, stratum, fold, split, class, score, mean,
        sd, n``) for those that are not recognised.
    baseline : str, optional
        The arm that the others are compared with; by its name unless given.
    n : int, optional
        Runs behind each printed mean, if the table does not say.
    test_share : float, optional
        Share of the data in the test part of a fold; as the cases show, else one over the number
        of folds.
    margin : float, optional
        Smallest difference that matters; half a point (0.005 of a fraction, 0.5 of a percentage)
        unless given. Without one, for a score that is no fraction, nothing is said about
        equivalence.
    where : mapping
        Column to value: the rows that are audited.
    average_over : sequence of str
        Columns that are averaged over, such as ``fold``; one of classes is, unasked.
    without : roles
        What the table does not have, such as ``case``.
    lower_is_better, unpaired, infinite_as, absent
        As in :func:`compare`.
    decimal : {".", ","}, optional
        The decimal mark, where the cells leave it open.

    Returns
    -------
    Audit

    Raises
    ------
    TableError
        For a table in which no arm or score can be found, or a cell that is no number.
    ConfigError
        For a score of which it is not known whether a higher or a lower one is better.
    """
    return _audited(
        TableFile(table),
        _asked(columns, where, average_over, without, decimal, infinite_as, absent),
        _question(baseline, margin, alpha, lower_is_better, bootstrap, test_share, unpaired),
        n,
    )


def _asked(
    columns: Mapping[str, str] | None,
    where: Mapping[str, object] | None,
    average_over: Sequence[str],
    without: Iterable[str],
    decimal: Decimal | None,
    infinite_as: float | None,
    absent: Absent | None,
) -> Asked:
    given = cast(dict[Role, str], dict(columns or {}))
    off = cast(frozenset[Role], frozenset(without))
    return Asked(
        given, off, where or {}, tuple(average_over), decimal, infinite_as, absent
    )  # fmt: skip


def _question(
    baseline: str | None,
    margin: float | None,
    alpha: float,
    lower_is_better: bool | None,
    bootstrap: int,
    test_share: float | None,
    unpaired: bool,
) -> Question:
    wanted = Wanted(baseline, unpaired=unpaired, by_pair=True)
    return Question(wanted, margin, alpha, lower_is_better, bootstrap, test_share=test_share)


def _audited(file: TableFile, asked: Asked, question: Question, n: int | None) -> Audit:
    if is_means(file.table, asked.columns):
        return means.audited(file, asked, question, n)
    return runs.audited(file, replace(asked, baseline=question.wanted.baseline), question)
