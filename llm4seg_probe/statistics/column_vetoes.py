"""Vetoes: cells that contradict the role which the name of their column promises."""

from __future__ import annotations

import re

import pandas as pd

from llm4seg_probe.column_words import is_setting, plain, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.nnunet_summary import case_name
from llm4seg_probe.statistics.roles import NAMES, Recognised, Role, is_side

NAMES_OF_CASES = "holds names of cases, so it is no class"
VAGUE_FOLDS = frozenset(("k", "cv", "folds", "kfold", "k_fold"))
"""Names of folds, and of settings too: neighbours, rounds, numbers of folds."""
_FEWEST_NAMES = 6
MOST_CLASSES = 120
"""More values are names of cases: whole bodies are divided in 104 and 117 structures."""


def veto(table: pd.DataFrame, role: Role, column: str, found: Recognised) -> str:
    """Why a column cannot be what its name promises; empty where it can."""
    values = table[column]
    if not any(str(value).strip() for value in values.dropna().unique()):
        return "is never filled"
    if role in ("seed", "group", "fold", "class", "case") and _is_fractional(values):
        return f"holds numbers such as {values.dropna().iloc[0]:g}, so it is no {role}"
    if role in ("group", "case") and is_setting(column):
        return f"is a setting, by its name, and no {'patient' if role == 'group' else role}"
    if role == "arm" and values.nunique() == len(table) > 4 and _another_arm(table, column, found):
        return "is another in each row, so it is no arm"
    if role == "group" and values.nunique() > 1 and is_side(values):
        return "holds sides of a split, so it is no patient"
    if role in ("case", "group"):
        return _veto_unit(table, role, column, found)
    if role == "dataset" and values.nunique() > 1 and is_side(values, exactly=True):
        return "holds sides of a split, so it is no data set"
    if role in ("dataset", "stratum", "class") and values.nunique() == len(table) > 2:
        return f"is another in each row, so it is no {'data set' if role == 'dataset' else role}"
    if role == "class" and values.nunique() > MOST_CLASSES and found.column("case") is None:
        return f"holds {values.nunique()} values, so it is no class"
    if role == "class" and values.nunique() > 1 and is_side(values):
        return "holds sides of a split, so it is no class"
    if role == "fold" and words(column) in VAGUE_FOLDS and not _number_from_the_start(values):
        return f"holds {_first_values(values)}, which do not number folds"
    if role == "class" and found.column("case") is None and _is_numbered(values):
        return NAMES_OF_CASES
    if role == "split" and pd.api.types.is_numeric_dtype(values.dtype):
        return "holds numbers, so it is no side of a split"
    if (
        role == "split"
        and words(column) != "split"
        and values.nunique() > 1
        and not is_side(values)
    ):
        return "holds no sides of a split"
    if role == "stratum" and found.column("arm") is None:
        return "may be the arm"
    return ""


def _veto_unit(table: pd.DataFrame, role: Role, column: str, found: Recognised) -> str:
    """Whether a case (or patient) comes again in other runs, as cases do."""
    arm, values = found.column("arm"), table[column]
    if role == "group":
        case = found.column("case") or _first_case(table, found)
        if case is None or case == column:
            return ""
        numbered = plain(column) in ("volume", "study") and _is_numeric(values)
        if numbered and (table.groupby(column)[case].nunique() < 2).mean() > 0.5:
            return "holds numbers that mostly come once per case, so it is no patient"
        run = found.columns(("arm", "seed"))
        alike = table.assign(**{column: values.map(_as_a_name)})
        varies = (alike.groupby(case)[column].nunique() > 1).all()
        if varies and run and (alike.groupby([*run, case])[column].nunique() <= 1).all():
            return "changes from run to run within a case, so it is no patient"
        return ""
    if arm is None or table[arm].nunique() < 2:
        return ""
    if values.nunique() == len(table):
        return "is another in each row: it names rows or runs, and no case"
    if _names_runs(table, column, found):
        return "is one for each run of an arm: it names runs, and no case"
    bare = values if _is_numeric(values) else values.astype(str).map(case_name).str.casefold()
    if (table[arm].groupby(bare).nunique() < 2).all():
        runs = [table[name] for name in found.columns(("arm", "seed", "fold", "epoch", "class"))]
        if values.groupby(runs).nunique().max() > 1:
            first = values.groupby(table[arm]).first()
            raise TableError(
                f"no case of column {column} is in two arms ("
                f"{', '.join(f'{name}: {case}' for name, case in first.head(2).items())}): write "
                "each case alike in all arms, or name another column (--case)"
            )
        return "is never the same in two arms: it names runs, and no case"
    return ""


_OF_RUNS = frozenset(("name", "id", "identifier", "item", "file", "filename", "file_name"))
"""Names of columns that may name runs as well as cases: the others are said to be cases."""


def _names_runs(table: pd.DataFrame, column: str, found: Recognised) -> bool:
    """Whether values and the runs of an arm go together one by one, in each arm.

    A run may be a seed, or one of a fold, data set, backbone or class. Where each fold has one
    value, and there are no seeds, these may be cases that are left out one by one.
    """
    if words(column) not in _OF_RUNS or "seed" not in found.matches:
        return False
    arm = found.columns(("arm",))
    further = found.columns(("fold", "dataset", "stratum", "class"))
    for run in ([], *([name] for name in further), further):
        keys = [*arm, *found.columns(("seed",)), *run]
        pairs = table[[*keys, column]].drop_duplicates()
        if not pairs.duplicated(keys).any() and not pairs.duplicated([*arm, column]).any():
            return bool(pairs.groupby(arm)[column].nunique().min() > 1) if arm else True
    return False


def _is_numbered(values: pd.Series) -> bool:
    """Whether text is one stem with numbers of several digits, as ``BraTS20_Training_001``."""
    if _is_numeric(values) or values.nunique() < _FEWEST_NAMES:
        return False
    parts = [re.fullmatch(r"(.*?)(\d{2,})", case_name(str(value))) for value in values.unique()]
    return all(parts) and len({part[1] for part in parts if part}) == 1


def _number_from_the_start(values: pd.Series) -> bool:
    """Whether values are 0, 1, 2, … or 1, 2, 3, …, as they are or behind one word."""
    found = [re.fullmatch(r"\D*0*(\d+)(?:\.0+)?", str(value)) for value in values.dropna().unique()]
    numbers = sorted(int(match[1]) for match in found if match)
    return len(numbers) == len(found) and numbers in (
        list(range(len(numbers))), list(range(1, len(numbers) + 1))
    )  # fmt: skip


def _first_values(values: pd.Series) -> str:
    return ", ".join(str(value) for value in values.dropna().unique()[:4])


def _as_a_name(value: object) -> object:
    """A patient's name, whatever its capitals and spaces; an empty one as none."""
    return (" ".join(value.split()).casefold() or None) if isinstance(value, str) else value


def _first_case(table: pd.DataFrame, found: Recognised) -> str | None:
    """The column that would be the case by its name alone."""
    by_name = {words(name): name for name in reversed(found.free(table))}
    return next((by_name[name] for name in NAMES["case"] if name in by_name), None)


def _another_arm(table: pd.DataFrame, column: str, found: Recognised) -> bool:
    others = {words(name) for name in found.free(table) if name != column}
    return bool(others & set(NAMES["arm"]))


def _is_fractional(values: pd.Series) -> bool:
    if not pd.api.types.is_float_dtype(values.dtype):
        return False
    filled = values.dropna()
    return bool(len(filled)) and bool((filled % 1 != 0).any())


def _is_numeric(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values.dtype)
