"""Findings: what is guessed, not used, or doubtful in the columns of a table."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import plain, side_of, words
from llm4seg_probe.score_names import known, parse_score
from llm4seg_probe.statistics.column_vetoes import VAGUE_FOLDS
from llm4seg_probe.statistics.roles import DATES, STATES, Recognised, Role, score_columns
from llm4seg_probe.statistics.rows import SEPARATE, Columns, as_text
from llm4seg_probe.statistics.units import PERCENT_FROM

_FINISHED = frozenset({"finished", "completed", "complete", "succeeded", "success", "done", "ok"})
_UNFINISHED = frozenset(
    (
        "failed", "crashed", "killed", "running", "preempted", "pending", "scheduled", "error",
        "aborted",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing seen in a table.

    fault: the comparison cannot stand as it is; doubt: ask the authors; note: good to know.
    """

    level: Literal["fault", "doubt", "note"]
    what: str


def guesses(found: Recognised) -> list[Finding]:
    """What no name gave away may be anything that was counted."""
    told = []
    roles: tuple[Role, ...] = ("arm", "seed", "case")
    folds = found.matches.get("fold")
    if folds is not None and folds.how == "name" and words(folds.column) in VAGUE_FOLDS:
        told.append(
            Finding(
                "doubt",
                f"column {folds.column} was taken for the folds: if it is a setting, --where "
                f"{folds.column}=… compares one of its values",
            )
        )
    for role in roles:
        match = found.matches.get(role)
        if match is not None and match.how == "content":
            told.append(
                Finding(
                    "doubt",
                    f"column {match.column} was taken for the {role} by what it holds: is it one? "
                    f"(--{role} names another"
                    + (f"; if these are folds, --fold {match.column})" if role == "seed" else ")"),
                )
            )
    seed = found.matches.get("seed")
    if (
        seed is not None
        and seed.how == "name"
        and words(seed.column) in ("run", "trial", "try", "run_number")
    ):
        told.append(
            Finding(
                "doubt",
                f"column {seed.column} was taken for the seed: if run 1 of one arm shares nothing "
                "with run 1 of another, the runs are not paired (--unpaired)",
            )
        )
    return told


def left_over(
    table: pd.DataFrame,
    found: Recognised,
    columns: Columns,
    used: Collection[str],
) -> list[Finding]:
    """Columns that are not used: named, and doubted where results were pooled over their values.

    used: names of the columns that are. The match of the score says how it was found.
    """
    told = [
        Finding("note", f"column {column} {reason}")
        for column, reason in found.rejected.items()
        if column not in used
    ]
    rest = [str(name) for name in table.columns if name not in used and name not in found.rejected]
    scores = score_columns(table, rest)
    if scores:
        score = found.matches["score"]
        side = parse_score(score.column).side
        sides = {name.side for name in scores.values()} - {side}
        guessed = score.how != "given" and bool(side or sides - {""})
        told.append(
            Finding(
                "doubt" if guessed else "note",
                f"not compared: {', '.join(scores)} (--score names another)",
            )
        )
    rejected = [name for name in found.rejected if name not in used]
    others = [name for name in rest if name not in scores]
    run = [*filter(None, (columns.dataset, columns.arm, columns.seed, found.column("fold")))]
    pooled = [name for name in (*others, *rejected) if _is_pooled(table, name, columns.arm, run)]
    for name in pooled:
        told.append(
            Finding(
                "doubt",
                f"results are pooled over {name} ({values_of(table[name])}): --where {name}=… "
                f"compares one of them, --dataset {name} each by itself",
            )
        )
    for name in (*others, *rejected):
        if name not in pooled and _parts_cases(table, name, columns):
            pooled.append(name)
            told.append(
                Finding(
                    "doubt",
                    f"cases of {name} {values_of(table[name])} are averaged together: if these are "
                    f"sides of a split or other data, --where {name}=… takes one of them, "
                    f"--dataset {name} compares each by itself; if they are folds, --fold {name}",
                )
            )
    nests = next((name for name in others if _nests_cases(table, name, columns)), None)
    if nests is not None:
        told.append(
            Finding(
                "doubt",
                f"each case lies within one {nests}, of which there are {table[nests].nunique()}: "
                f"if these are patients, --group {nests}",
            )
        )
    unused = [name for name in others if name not in pooled]
    if unused:
        told.append(Finding("note", f"not used: {', '.join(unused)}"))
    return told


_ALIKE = str.maketrans(
    "АВЕКМНОРСТУХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανρ", "ABEKMHOPCTYXaeopcyxijsABEZHIKMNOPTYXoavp"
)
"""Letters of other alphabets that look like Latin ones."""


def look_alikes(table: pd.DataFrame, arm: str) -> list[Finding]:
    """A doubt for arms whose names look alike: other letters, or another way to write them."""
    seen: dict[str, str] = {}
    spelled: dict[str, str] = {}
    told = []
    for name in as_text(table[arm]).drop_duplicates():
        plainly = re.sub(r"[\W_]", "", name).casefold()
        twin = spelled.setdefault(plainly, name) if plainly else name
        other = seen.setdefault(name.translate(_ALIKE), name)
        if other == name and twin != name:
            told.append(
                Finding(
                    "doubt",
                    f"the arms '{twin}' and '{name}' differ in capitals, spaces or hyphens alone: "
                    "are they one?",
                )
            )
        if other != name:
            told.append(
                Finding(
                    "doubt",
                    f"the arms '{other}' and '{name}' look alike and are written in letters of two "
                    "alphabets: are they one?",
                )
            )
    return told


def folders_of_sides(table: pd.DataFrame, columns: Columns) -> list[Finding]:
    """A doubt where cases lie in folders of several sides, such as ``train/a.png``.

    No more than a doubt: a split that was drawn anew leaves images in the folders they came in.
    """
    if columns.case is None or pd.api.types.is_numeric_dtype(table[columns.case].dtype):
        return []
    sides: dict[str, str] = {}
    begun: dict[str, str] = {}
    cases = as_text(table[columns.case]).drop_duplicates()
    for case in cases:
        *folders, name = case.replace("\\", "/").split("/")
        for folder in folders:
            side = side_of(re.sub(r"(?<=s)T(?=[rs]$)", "_t", folder))  # imagesTr, labelsTs
            if side:
                sides.setdefault(side, folder)
        first = re.match(r"[^\W\d_]+", name)
        begun[case] = side_of(first[0]) if first else ""
    if len(set(begun.values())) > 1 and all(begun.values()):
        told = ", ".join(dict.fromkeys(begun.values()))
        return [
            Finding(
                "doubt",
                f"the names of cases in {columns.case} begin with several sides ({told}) and are "
                "averaged together: keep the rows of one",
            )
        ]
    if len(sides) < 2:
        return []
    told = ", ".join(sides.values())
    return [
        Finding(
            "doubt",
            f"cases in {columns.case} lie in folders of several sides ({told}) and are averaged "
            "together: unless the split was drawn anew, keep the rows of one",
        )
    ]


def _parts_cases(table: pd.DataFrame, name: str, columns: Columns, most: int = 5) -> bool:
    """Whether a column parts the cases of each run in a few groups, as sides or hospitals do."""
    values = table[name]
    if columns.case is None or not 2 <= values.nunique() <= most or not values.notna().all():
        return False
    if pd.api.types.is_float_dtype(values.dtype) or plain(name) in (*SEPARATE, *DATES):
        return False
    case = [key for key in (columns.dataset, columns.group, columns.case) if key]
    return bool((table.groupby(case, observed=True)[name].nunique() == 1).all())


def _nests_cases(table: pd.DataFrame, name: str, columns: Columns, fewest: int = 6) -> bool:
    """Whether several cases lie within each value of a column, as slices do within a patient."""
    values = table[name]
    if columns.case is None or columns.group is not None:
        return False
    if pd.api.types.is_float_dtype(values.dtype) or not values.notna().all():
        return False
    case = [key for key in (columns.dataset, columns.case) if key]
    cases = table[case].drop_duplicates()
    if not fewest <= values.nunique() <= len(cases) / 2:
        return False
    return bool((table.groupby(case, observed=True)[name].nunique() == 1).all())


def _is_pooled(table: pd.DataFrame, name: str, arm: str, run: list[str], most: int = 12) -> bool:
    """Whether a column parts the runs of every arm in the same few groups, as a setting does."""
    values = table[name]
    if plain(name) in (*SEPARATE, *DATES) or pd.api.types.is_float_dtype(values.dtype):
        return False
    if not 2 <= values.nunique() <= most:
        return False
    if (table.groupby(run, observed=True)[name].nunique() > 1).any():
        return False
    if not table[[*run, name]].drop_duplicates().duplicated([arm, name]).any():
        return False  # it names the runs of each arm one by one
    by_arm = [frozenset(own) for _, own in as_text(values).groupby(as_text(table[arm]))]
    return len(set(by_arm)) == 1 and len(by_arm) > 1


def sentinels(values: pd.Series[float], score: str, times: float = 3) -> list[Finding]:
    """A doubt for scores such as 999 that stand far beyond the others: a missing value, perhaps."""
    finite = values[np.isfinite(values)]
    marks = {
        value for value in finite.unique() if value % 1 == 0 and set(f"{abs(value):.0f}") == {"9"}
    } - set(map(float, range(-99, 100)))
    others = finite[~finite.isin(marks)].abs()
    if not marks or others.empty or min(map(abs, marks)) < times * max(others.max(), 1.0):
        return []
    told = ", ".join(f"{value:.0f}" for value in sorted(marks))
    return [
        Finding(
            "doubt",
            f"{score} is {told} in {finite.isin(marks).sum()} of {len(values)} rows, and never "
            f"beyond {others.max():g} in another: averaged as it stands; if it marks missing "
            "values, leave those cells empty",
        )
    ]


def wide_margin(margin: float | None, score: str, largest: float) -> list[Finding]:
    """A doubt for a margin of a fraction within which nearly everything lies."""
    kind = known(score)
    whole = 100 if largest > PERCENT_FROM else 1
    if margin is None or kind is None or not kind.fraction or margin < whole / 10:
        return []
    return [
        Finding(
            "doubt",
            f"a margin of {margin:g} is {100 * margin / whole:.0f} % of all that {kind.label} "
            "can be: within it nearly anything is equivalent",
        )
    ]


def unfinished(table: pd.DataFrame) -> list[Finding]:
    """Runs that an export says did not finish."""
    for name in map(str, table.columns):
        if plain(name) not in STATES[:2]:
            continue
        states = as_text(table[name]).str.strip()
        words_of = states.str.lower()
        if not set(words_of) <= _FINISHED | _UNFINISHED or set(words_of) <= _FINISHED:
            continue
        count = int(words_of.isin(_UNFINISHED).sum())
        done = next(iter(states[words_of.isin(_FINISHED)]), "finished")
        return [
            Finding(
                "doubt",
                f"{count} of {len(table)} rows are of runs that did not finish ({name}): --where "
                f"{name}={done} leaves them out",
            )
        ]
    return []


def values_of(column: pd.Series, most: int = 6) -> str:
    """The first few values of a column, in words."""
    values = [value or "empty" for value in as_text(column).drop_duplicates()]
    return ", ".join(values[:most]) + (", …" if len(values) > most else "")
