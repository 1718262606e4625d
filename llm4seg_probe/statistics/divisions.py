"""Divisions of runs: folds of their cases, and parts of a case such as classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.columns import column_named
from llm4seg_probe.statistics.findings import Finding, values_of
from llm4seg_probe.statistics.roles import Recognised
from llm4seg_probe.statistics.rows import Columns, as_text


def is_whole_per_seed(table: pd.DataFrame, fold: str, columns: Columns, found: Recognised) -> bool:
    """Whether several seeds of each arm were each trained on every fold, and nobody said by which.

    Each case is then in one fold, whatever the seed: the folds are those of one division.
    """
    seed, case = columns.seed, columns.case
    if not seed or case is None or fold == seed or found.matches["fold"].how == "given":
        return False
    keys = [name for name in (columns.dataset, columns.arm, seed) if name]
    several = table.groupby(keys[:-1])[seed].nunique().min() > 1
    whole = table.groupby(keys)[fold].nunique().eq(table[fold].nunique()).all()
    own = [name for name in (columns.dataset, columns.group, case) if name]
    return bool(several and whole and table.groupby(own)[fold].nunique().eq(1).all())


def folds_in(
    table: pd.DataFrame, found: Recognised, average_over: Sequence[str], findings: list[Finding]
) -> str | None:
    """The column of the folds, where there are several that nobody averages over.

    Raises TableError for a column that was named and holds one.
    """
    match = found.matches.get("fold")
    if match is None or match.column in average_over:
        return None
    if table[match.column].nunique() > 1:
        arm = found.matches["arm"].column
        if match.how == "given" or (table.groupby(arm)[match.column].nunique() > 1).any():
            return match.column
        findings.append(
            Finding(
                "doubt",
                f"each arm has one {match.column} ({values_of(table[match.column])}): the arms "
                "differ in that too, and these are no folds",
            )
        )
        return None
    if match.how == "given":
        raise TableError(f"{match.column} holds one fold only: leave out --fold")
    return None


def averaged_in(
    table: pd.DataFrame,
    found: Recognised,
    columns: Columns,
    asked: Sequence[str],
    findings: list[Finding],
) -> tuple[str, ...]:
    """Columns that are averaged over: those named, and a recognised one of several classes.

    Raises TableError for a column that is known to be something else.
    """
    named = tuple(dict.fromkeys(column_named(table, name) for name in asked))
    for role in ("arm", "seed", "case", "group", "dataset", "score"):
        if found.column(role) in named:
            raise TableError(
                f"{found.column(role)} holds the {role}s: it is nothing to average over "
                "(--average-over)"
            )
    classes = found.column("class")
    if not classes or classes in named or table[classes].nunique() < 2:
        return named
    if columns.case is None or _tells_parts(table, classes, columns, findings):
        return (*named, classes)
    return named


def _tells_parts(
    table: pd.DataFrame, classes: str, columns: Columns, findings: list[Finding]
) -> bool:
    """Whether a case has several classes; one of its own, such as a diagnosis, is told.

    Raises TableError for one that changes from run to run: a prediction, or other parts.
    """
    case = [key for key in (columns.dataset, columns.group, columns.case) if key]
    run = [key for key in columns.keys if key]
    text = as_text(table[classes])
    if text.groupby([table[key] for key in run], observed=True).nunique().max() > 1:
        return True
    by_case = text.groupby([table[key] for key in case], observed=True).nunique()
    if by_case.max() > 1:
        first = by_case.index[by_case > 1][0]
        named = " ".join(map(str, np.atleast_1d(first)))
        raise TableError(
            f"{classes} is another in other runs of one case ({named}): if these are parts, other "
            "parts would be compared; if it is what was predicted, or the arms' other name, take "
            "the column out of the table"
        )
    findings.append(
        Finding(
            "doubt",
            f"cases of {classes} {values_of(table[classes])} are averaged together: --where "
            f"{classes}=… takes one, --dataset {classes} compares each by itself",
        )
    )
    return False


def told_average(name: str, values: pd.Series, asked: Sequence[str], known: bool) -> Finding:
    """A note of what is averaged over; a doubt where nobody asked for it."""
    told = f"averaged over {name}: {values_of(values)}"
    if known or words(name) in map(words, asked):
        return Finding("note", told)
    return Finding(
        "doubt",
        f"{told}, as nobody said otherwise (--where {name}=… takes one of them, --dataset {name} "
        "compares each by itself)",
    )
