"""Recognise the columns of somebody else's table: by name, checked against what they hold.

A name alone is not enough: a column called ``Name`` may name runs and not cases, one called
``volume`` hold millilitres and not patients. What a name promises and cells do not keep is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from llm4seg_probe.column_words import plain, words
from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.score_names import GENERIC, ScoreName
from llm4seg_probe.scores import SCORES
from llm4seg_probe.statistics.cells import looks_numeric
from llm4seg_probe.statistics.column_vetoes import NAMES_OF_CASES, veto
from llm4seg_probe.statistics.roles import (
    DATES,
    NAMES,
    RUN_ROLES,
    STATES,
    Match,
    Recognised,
    Role,
    is_side,
    score_columns,
)

_PATIENTS = frozenset(
    (
        "patient", "patients", "patienten", "pat", "patientid", "patientnr", "subject", "subjects",
        "participant", "participants", "person", "proband", "mrn",
    )
)  # fmt: skip
_NUMBERED = frozenset(
    ("id", "ids", "nr", "no", "num", "number", "nummer", "code", "name", "uid", "key", "index",
     "idx", "study")
)  # fmt: skip
MOST_ARMS = 50
MOST_SEEDS = 100
FEWEST_CASES = 6
"""A column that no name gives away is not taken for the cases with fewer values than this."""


def recognise(
    table: pd.DataFrame,
    given: Mapping[Role, str] | None = None,
    *,
    roles: Sequence[Role] = RUN_ROLES,
    off: Iterable[Role] = (),
) -> Recognised:
    """Say what each recognised column is, one column per role.

    Parameters
    ----------
    table : DataFrame
        Numbers as numbers; every other cell as text.
    given : mapping of role to column
        Columns that are known already.
    roles : sequence of roles
        What is looked for by name; of a table of runs (the default) or one of printed means.
    off : roles
        What the table is known not to have.

    Returns
    -------
    Recognised
        By name first; an arm, seed or case that no name gives away is looked for by content, and
        taken if only one column could be it.

    Raises
    ------
    TableError
        Where there is no arm or no score, or several columns could be it.
    """
    found = Recognised(_given(table, given or {}))
    without = set(off)
    for role in roles:
        if role not in found.matches and role not in without:
            _by_name(table, role, found)
    if "score" not in found.matches and "mean" not in found.matches:
        _score(table, found)
    if "arm" not in found.matches:
        _release_group(table, found)
        _by_content(table, "arm", _could_be_arms(table, found), found)
        _reject_names_of_runs(table, found)
    if "mean" in roles:
        return found
    group = found.matches.get("group")
    if "case" not in found.matches and "case" not in without and group is not None:
        found.matches["case"] = Match("case", found.matches.pop("group").column, group.how)
    if "case" in found.matches and found.matches["case"].how == "name" and "group" not in without:
        _finer_case(table, found)
    if not {"seed", "fold"} & set(found.matches) and "seed" not in without:
        _by_content(table, "seed", _could_be_seeds(table, found), found, optional=True)
    if "case" not in found.matches and "case" not in without:
        _by_content(table, "case", _could_be_cases(table, found), found, optional=True)
    return found


def _release_group(table: pd.DataFrame, found: Recognised) -> None:
    """A column ``Group`` of few values beside no arm may be that of the runs, as W&B calls it."""
    group, case = found.matches.get("group"), found.matches.get("case")
    if group is None or group.how != "name" or words(group.column) != "group":
        return
    if case is not None and table[case.column].nunique() < len(table):
        return
    del found.matches["group"]
    if case is not None and case.how == "name":
        found.rejected[case.column] = "is another in each row: it names rows or runs, and no case"
        del found.matches["case"]


def _reject_names_of_runs(table: pd.DataFrame, found: Recognised) -> None:
    """Cases that were found by name alone, held against the arm that is known by now."""
    case = found.matches.get("case")
    reason = veto(table, "case", case.column, found) if case and case.how == "name" else ""
    if case is not None and reason:
        found.rejected[case.column] = reason
        del found.matches["case"]


def column_named(table: pd.DataFrame, name: str, what: str = "column") -> str:
    """The column of this name; where none is, the only one that differs in case or punctuation.

    Raises TableError with the nearest names.
    """
    if name in table.columns:
        return name
    alike = [str(column) for column in table.columns if words(column) == words(name)]
    if len(alike) == 1:
        return alike[0]
    raise TableError(unknown(what, name, map(str, table.columns)))


def _given(table: pd.DataFrame, given: Mapping[Role, str]) -> dict[Role, Match]:
    roles = ("arm", "case", "seed", "group", "dataset", "fold", "split", "class", "epoch",
             "stratum", "mean", "sd", "n", "score")  # fmt: skip
    found: dict[Role, Match] = {}
    for role, column in given.items():
        if role not in roles:
            raise TableError(unknown("role", role, roles))
        found[role] = Match(role, column_named(table, column, f"column ({role})"), "given")
    return found


def _by_name(table: pd.DataFrame, role: Role, found: Recognised) -> None:
    free: dict[str, str] = {}
    for column in reversed(found.free(table)):
        free[words(column)] = column
        free[plain(column)] = column
    for name in NAMES[role]:
        if name not in free:
            continue
        column = free[name]
        reason = veto(table, role, column, found)
        if reason:
            found.rejected[column] = reason
            continue
        found.rejected.pop(column, None)
        found.matches[role] = Match(role, column, "name")
        return
    if role == "group":
        _patients_by_words(table, found)


def _patients_by_words(table: pd.DataFrame, found: Recognised) -> None:
    """A column that speaks of patients and their numbers in any words: ``Patienten-Nr``."""
    for column in found.free(table):
        parts = set(words(column).split("_"))
        if parts & _PATIENTS and parts <= _PATIENTS | _NUMBERED:
            reason = veto(table, "group", column, found)
            if not reason:
                found.matches["group"] = Match("group", column, "name")
                return
            found.rejected[column] = reason


def _finer_case(table: pd.DataFrame, found: Recognised) -> None:
    """Where a "case" has several "slices" in each run, it is the patient, and they the cases."""
    case = found.column("case")
    if case is None or "group" in found.matches:
        return
    run = found.columns(("arm", "seed", "dataset", "stratum", "class", "split", "fold", "epoch"))
    if not table.duplicated([*run, case]).any():
        return
    by_name = {words(name): name for name in reversed(found.free(table))}
    for name in NAMES["case"]:
        finer = by_name.get(name)
        if finer is None or veto(table, "case", finer, found):
            continue
        if not table.duplicated([*run, case, finer]).any():
            found.matches["group"] = Match("group", case, found.matches["case"].how)
            found.matches["case"] = Match("case", finer, "name")
            found.rejected.pop(finer, None)
            return


# -- scores ----------------------------------------------------------------------------------


def _score(table: pd.DataFrame, found: Recognised) -> None:
    free = found.free(table)
    named = score_columns(table, free)
    if named:
        # Overlaps first, of which the table's own order decides.
        order = {name: place for place, name in enumerate(SCORES)} | {"iou": -1, "dice": -1}
        best = min(named, key=lambda column: order[_name(named[column])])
        same = [column for column in named if _name(named[column]) == _name(named[best])]
        sides = ("test", "", "val", "train")
        of_sides = {(named[column].side, named[column].rest) for column in same}
        if {("", ""), ("val", "")} <= of_sides and ("test", "") not in of_sides:
            sides = ("test", "val", "", "train")  # dice beside val_dice is of training, as in Keras
        chosen = min(
            same, key=lambda column: (sides.index(named[column].side), bool(named[column].rest))
        )
        found.matches["score"] = Match("score", chosen, "name")
        return
    generic = [
        column for column in free if words(column) in GENERIC and looks_numeric(table[column])
    ]
    if generic:
        found.matches["score"] = Match("score", generic[0], "name")
        return
    floats = [
        column
        for column in free
        if pd.api.types.is_float_dtype(table[column].dtype)
        or (not _numbers(table[column]) and looks_numeric(table[column]))
    ]
    _by_content(table, "score", floats, found)


def _name(parsed: ScoreName) -> str:
    assert parsed.score is not None
    return parsed.score.name


def _numbers(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values.dtype)


# -- content ---------------------------------------------------------------------------------


def _by_content(
    table: pd.DataFrame,
    role: Role,
    candidates: Sequence[str],
    found: Recognised,
    *,
    optional: bool = False,
) -> None:
    if len(candidates) == 1:
        found.matches[role] = Match(role, candidates[0], "content")
        found.rejected.pop(candidates[0], None)
    elif candidates or not optional:
        several = ""
        if role == "score" and len(candidates) > 1:
            several = "; or, if they are cases, classes or arms of one score, write a row for each"
        could = f"could be {_listed(candidates)}" if candidates else "is not among them"
        raise TableError(
            f"which column holds the {role}? Of {_listed(table.columns)} it {could}: "
            f"name it, --{role} COLUMN (in Python columns={{{role!r}: …}}){several}"
        )


def _listed(names: Iterable[object], most: int = 20) -> str:
    every = [str(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _could_be_arms(table: pd.DataFrame, found: Recognised) -> list[str]:
    """Text columns of few values; the one with clearly the fewest, where there is such a one."""
    counts = {
        column: table[column].nunique()
        for column in found.free(table)
        if not pd.api.types.is_numeric_dtype(table[column].dtype)
        and 2 <= table[column].nunique() <= MOST_ARMS
        and table[column].nunique() < len(table) / 2
        and not is_side(table[column])
        and plain(column) not in (*STATES, *DATES)
    }
    ordered = sorted(counts, key=lambda column: counts[column])
    if len(ordered) > 1 and 2 * counts[ordered[0]] <= counts[ordered[1]]:
        return ordered[:1]
    return list(counts)


def _could_be_seeds(table: pd.DataFrame, found: Recognised) -> list[str]:
    keys = found.columns(("arm", "dataset", "stratum", "class", "split"))
    return [
        column
        for column in found.free(table)
        if pd.api.types.is_integer_dtype(table[column].dtype)
        and 2 <= table[column].nunique() <= MOST_SEEDS
        and table.groupby(keys)[column].nunique().nunique() == 1
        and words(column) not in (*NAMES["fold"], *NAMES["split"], *DATES)
    ]


def _could_be_cases(table: pd.DataFrame, found: Recognised) -> list[str]:
    keys = found.columns(("arm", "seed", "dataset", "stratum", "class", "split", "fold", "epoch"))
    if not table.duplicated(keys).any():
        return []
    return [
        column
        for column in found.free(table)
        if not pd.api.types.is_float_dtype(table[column].dtype)
        and found.rejected.get(column, NAMES_OF_CASES) == NAMES_OF_CASES
        and FEWEST_CASES <= table[column].nunique() < len(table)
        and not is_side(table[column])
        and not table.duplicated([*keys, column]).any()
    ]
