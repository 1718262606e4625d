"""Turn wide tables into long ones: a row for each seed, fold, region or arm that had a column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import pandas as pd

from llm4seg_probe.column_words import SIDES, plain, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.score_names import parse_score
from llm4seg_probe.statistics.beside_arms import margins, of_each_case
from llm4seg_probe.statistics.cells import looks_numeric
from llm4seg_probe.statistics.key_columns import is_no_arm
from llm4seg_probe.statistics.roles import NAMES, SPREAD, Role, score_columns

_REPEATED = re.compile(
    r"(?P<before>.*?)_?"
    r"(?P<kind>seed|run|rep|repeat|repetition|trial|replicate|fold|cv|split|durchlauf|lauf"
    r"|wiederholung|startwert|falte|faltung|graine|semilla|pli)_?"
    r"(?P<number>\d+)(?:_(?P<after>.+))?"
)
_FOLDS = ("fold", "cv", "split", "falte", "faltung", "pli")
REGION = "region"


@dataclass(frozen=True)
class Long:
    """A table with one score per row.

    given: columns known by now. notes: what was turned. strata: columns within which arms are
    compared. doubts: what was turned by a guess.
    """

    table: pd.DataFrame
    given: Mapping[Role, str]
    notes: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def long(table: pd.DataFrame, given: Mapping[Role, str], baseline: str | None = None) -> Long:
    """Turn a wide table into a long one; another is handed back as it is.

    given: columns that the user named, by role; a ``score`` that is no column names what a wide
    table holds. baseline: an arm, as the user named it. Raises TableError for a chart exported from
    W&B, whose columns are curves.
    """
    charts = [name for name in table.columns if re.search(r"__(MIN|MAX)$", str(name))]
    if charts:
        raise TableError(
            f"column '{charts[0]}' is of a chart, a curve over steps for each run: export the "
            "table of runs instead (one row per run, with its arm, seed and final score)"
        )
    table = _runs_of_the_first_column(table)
    table, numbered = _without_row_numbers(table)
    for turn in (_per_seed, _per_region, partial(_per_arm, baseline=baseline)):
        turned = turn(table, given)
        if turned is not None:
            return replace(turned, notes=(*numbered, *turned.notes))
    return Long(table, given, numbered)


_NO_HEADER = re.compile(r"unnamed(: ?0| 1)|row names|index", re.IGNORECASE)
_RUN_NAMES = re.compile(r"(?P<kind>seed|run|rep|repeat|repetition|trial|fold|split)_?\d+")


def refuse_transposed(table: pd.DataFrame) -> None:
    """Raise TableError for a table that has its runs as columns, and its scores as rows."""
    if table.shape[1] < 3:
        return
    first, *rest = table.columns
    rows = [words(cell) for cell in table[first].astype(str)]
    runs = set(NAMES["seed"]) | set(NAMES["fold"])
    scores = [row for row in rows if parse_score(row).score is not None]
    headed = words(first) in NAMES["arm"] and bool(runs & set(rows)) and bool(scores)
    bare = len(scores) == len(rows) > 0 and not any(
        _has_role(name) or parse_score(name).score or not looks_numeric(table[name])
        for name in rest
    )
    if headed or bare:
        raise TableError(
            f"its rows are {', '.join(table[first].astype(str).head(4))} and its columns runs or "
            "arms: turn it (rows become columns), so that each run has a row with its arm, seed "
            "and score"
        )


def _runs_of_the_first_column(table: pd.DataFrame) -> pd.DataFrame:
    """A first column without a header whose cells are ``seed 0``, ``seed 1`` as one of seeds."""
    first = str(table.columns[0])
    cells = table[first].astype(str).map(words)
    found = [_RUN_NAMES.fullmatch(cell) for cell in cells]
    if not _NO_HEADER.fullmatch(first) or not all(found):
        return table
    kinds = {match["kind"] for match in found if match}
    kind = "fold" if kinds <= {"fold", "split"} else "seed"
    return table if len(kinds) > 1 or kind in table else table.rename(columns={first: kind})


def _without_row_numbers(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table without a first column that has no header and numbers the rows, as pandas does."""
    first = str(table.columns[0])
    cells = table[first].astype(str).tolist()
    starts = ([str(n + start) for n in range(len(table))] for start in (0, 1))
    if not _NO_HEADER.fullmatch(first) or table.shape[1] < 3 or cells not in starts:
        return table, ()
    return table.drop(columns=first), (f"{first} numbers the rows: left out",)


def _per_seed(table: pd.DataFrame, given: Mapping[Role, str]) -> Long | None:
    """A column per seed or fold: ``seed_0, seed_1``, or ``dice_seed0``, or bare numbers."""
    found: dict[tuple[Literal["seed", "fold"], str], dict[str, int]] = {}
    short: dict[str, int] = {}
    for column in _numeric(table, given):
        match = _REPEATED.fullmatch(words(column))
        if re.search(r"\d\s*%", column):
            continue  # quartiles, shares of the data
        if match:
            repeated: Literal["seed", "fold"] = "fold" if match["kind"] in _FOLDS else "seed"
            score = "_".join(part for part in (match["before"], match["after"]) if part)
            found.setdefault((repeated, score), {})[column] = int(match["number"])
        elif re.fullmatch(r"\d{1,4}", column.strip()):
            found.setdefault(("seed", ""), {})[column] = int(column)
        elif re.fullmatch(r"[fF]\d", column.strip()):
            short[column] = int(column.strip()[1:])
    if len(short) > 2 and _follow_one_another(short.values()):
        found["fold", ""] = short  # F1 to F5, and no F1 score
    several = {key: columns for key, columns in found.items() if len(columns) > 1}
    if not several or _named(table, next(iter(several))[0], given):
        return None
    by_arm = _per_arm_and_seed(table, given, several)
    if by_arm is not None:
        return by_arm
    asked = given.get("score")
    sides = ("test", "", "val", "train")
    (kind, score), columns = next(
        ((key, columns) for key, columns in several.items() if asked and words(asked) == key[1]),
        min(several.items(), key=lambda item: sides.index(parse_score(item[0][1]).side)),
    )
    bare = all(re.fullmatch(r"\d+", name.strip()) for name in columns)
    years = bare and all(1900 <= number <= 2100 for number in columns.values())
    if bare and (years or not _follow_one_another(columns.values())):
        raise TableError(
            f"the columns {_some(columns)} are called by numbers "
            f"{'of years' if years else 'that do not follow one another'}: "
            "seeds, sizes, years? Name them for what they are, such as "
            f"'seed {min(columns.values())}', or write one row for each"
        )
    label = asked or score or "score"
    left = [name for key, others in several.items() if key != (kind, score) for name in others]
    kept = [name for name in table.columns if name not in columns and name not in left]
    turned = table.melt(id_vars=kept, value_vars=list(columns), var_name=kind, value_name=label)
    turned[kind] = turned[kind].map(columns)
    turned = _without_other_folds(turned, kind, label, given)
    told = f"the columns {_some(columns)} are read as {kind}s, one row for each"
    doubts = (
        (f"{told}, by their numbers alone: if they are classes, sizes or epochs, name them so",)
        if bare
        else ()
    )
    notes = [] if bare else [told]
    if left:
        notes.append(f"not used: {_some(left)} (--score names another)")
    return Long(turned, {**given, kind: kind, "score": label}, tuple(notes), doubts=doubts)


def _per_arm_and_seed(
    table: pd.DataFrame,
    given: Mapping[Role, str],
    several: Mapping[tuple[Literal["seed", "fold"], str], Mapping[str, int]],
) -> Long | None:
    """A column per arm and seed, ``unet_seed0, ours_seed0``, where no column holds the arms."""
    kinds = {kind for kind, _ in several}
    stems = {stem: parse_score(stem) for _, stem in several}
    scores = {name.score for name in stems.values()}
    arms = {stem: (name.rest if name.score else stem) for stem, name in stems.items()}
    if (
        _named(table, "arm", given) or len(several) < 2 or len(kinds) > 1 or len(scores) > 1
        or not all(arms.values()) or len(set(arms.values())) < len(arms)
    ):  # fmt: skip
        return None
    (kind,) = kinds
    score = scores.pop()
    label = given.get("score") or (score.name if score else "score")
    kept = [name for name in table.columns if not any(name in own for own in several.values())]
    parts = []
    for (_, stem), columns in several.items():
        part = table.melt(id_vars=kept, value_vars=list(columns), var_name=kind, value_name=label)
        part[kind] = part[kind].map(columns)
        parts.append(part.assign(arm=_rest(next(iter(columns)), arms[stem])))
    names = [name for columns in several.values() for name in columns]
    told = (
        f"the columns {_some(names)} are read as {kind}s of the arms {_some(list(arms.values()))}"
    )
    known: dict[Role, str] = {**given, "arm": "arm", kind: kind, "score": label}
    turned = _without_other_folds(pd.concat(parts, ignore_index=True), kind, label, given)
    return Long(turned, known, doubts=(told,))


def _without_other_folds(
    turned: pd.DataFrame, kind: Role, score: str, given: Mapping[Role, str]
) -> pd.DataFrame:
    """The rows without the blank cells of a case in the folds that it does not lie in."""
    if kind != "fold" or not _named(turned, "case", given):
        return turned
    return turned[turned[score].notna() & (turned[score].astype(str).str.strip() != "")]


def _follow_one_another(numbers: Iterable[int]) -> bool:
    ordered = sorted(numbers)
    return ordered == list(range(ordered[0], ordered[0] + len(ordered)))


def repeated(table: pd.DataFrame) -> bool:
    """Whether there is a column for each seed or fold, beside which means and SDs are sums."""
    return _per_seed(table, {}) is not None


def _per_region(table: pd.DataFrame, given: Mapping[Role, str]) -> Long | None:
    """A column per region of one score: "Dice (WT)", "Dice (TC)"; compared region by region."""
    if "score" in given and given["score"] in table.columns:
        return None
    named = score_columns(table, _numeric(table, given))
    by_score: dict[tuple[str, str], list[str]] = {}
    for column, name in named.items():
        assert name.score is not None
        by_score.setdefault((name.score.name, name.side), []).append(column)
    regions = {
        key: columns
        for key, columns in by_score.items()
        if len(columns) > 1 and all(named[column].rest for column in columns)
    }
    if not regions:
        return None
    asked = parse_score(given["score"]) if "score" in given else None
    preferred = ["test", "", "val", "train"]
    order = {score: place for place, (score, _) in enumerate(regions)} | {"iou": -1, "dice": -1}
    keys = [
        key for key in regions if asked is None or asked.score is None or asked.score.name == key[0]
    ]
    if not keys:
        return None
    score, side = min(keys, key=lambda key: (order[key[0]], preferred.index(key[1])))
    if any(key[0] == score and key not in regions for key in by_score if key[1] == side):
        return None
    columns = regions[score, side]
    arm = _named(table, "arm", given)
    kind = REGION if arm else "arm"
    kept = [name for name in table.columns if name not in columns]
    turned = table.melt(id_vars=kept, value_vars=columns, var_name=kind, value_name=score)
    turned[kind] = turned[kind].map(
        {column: _rest(column, named[column].rest) for column in columns}
    )
    note = f"the columns {_some(columns)} are read as {'regions' if arm else 'arms'}"
    note += ", each compared by itself" if arm else ""
    known: dict[Role, str] = {**given, "score": score, **({} if arm else {"arm": kind})}
    strata = (kind,) if arm else ()
    if all(re.fullmatch(r"[a-z]?\d+", named[column].rest) for column in columns):
        if arm and not any(_named(table, role, given) for role in ("seed", "fold", "case")):
            raise TableError(
                f"the columns {_some(columns)}: seeds, folds or regions? If they are seeds or "
                f"folds, name them {score}_seed0 or {score}_fold0; if they are regions, the table "
                "needs several seeds or folds of each arm, in a column 'seed' or 'fold'"
            )
        note += (
            ", and may be seeds or folds as well: if they are, name them "
            f"{score}_seed0 or {score}_fold0"
        )
        return Long(turned, known, (), strata, (note,))
    return Long(turned, known, (note,), strata)


_OF_CASES = frozenset(
    (
        "age", "sex", "gender", "weight", "height", "bmi", "volume", "size", "area", "diameter",
        "spacing", "thickness", "resolution", "dose", "noise", "slices", "pixels", "voxels",
        "stage", "grade", "year", "time", "seconds", "minutes", "hours", "epoch", "epochs",
        "lesions", "ml", "cc", "mm3", "cm3", "kg", "years",
    )
)  # fmt: skip
"""Words for what is known of a case or a run, and is no result of an arm."""


_CLASS = re.compile(r"(?:class|label|organ|channel|region|klasse|structure)_?\d+")


def _per_arm(
    table: pd.DataFrame, given: Mapping[Role, str], baseline: str | None = None
) -> Long | None:
    """A column per arm, beside one of seeds, folds or cases, and no column of arms."""
    if _named(table, "arm", given) or not any(
        _named(table, role, given) for role in ("seed", "fold", "case")
    ):
        return None
    text = [
        name for name in table.columns
        if not pd.api.types.is_numeric_dtype(table[name].dtype) and not _has_role(name)
    ]  # fmt: skip
    every = [name for name in _numeric(table, given) if not _has_role(name)]
    every += [name for name in table.columns if name == baseline and name not in every]
    others = [
        name for name in every
        if name != baseline and (is_no_arm(name) or set(words(name).split("_")) & _OF_CASES)
    ]  # fmt: skip
    columns = [name for name in every if name not in others]
    beside = margins(table[columns]) | of_each_case(table, columns, given)
    beside.pop(baseline or "", None)
    columns = [name for name in columns if name not in beside]
    scores = score_columns(table, columns)
    if len(columns) > 1 and all(_CLASS.fullmatch(words(name)) for name in columns):
        raise TableError(
            f"the columns {_some(columns)} are classes, and no column says which arm they are of: "
            "add one, and one of the seeds"
        )
    if (
        len(columns) < 2
        or scores
        or any(2 <= table[name].nunique() < len(table) / 2 for name in text)
    ):
        return None
    score = given.get("score", "score")
    kept = [name for name in table.columns if name not in every]
    turned = table.melt(id_vars=kept, value_vars=columns, var_name="arm", value_name=score)
    notes = [
        f"the columns {_some(columns)} are read as arms, and what they hold as '{score}' (--score "
        "NAME says which score it is)"
    ]
    sure = [name for name in others if is_no_arm(name) or words(name) in _OF_CASES]
    if sure:
        notes.append(f"not used: {_some(sure)}, no arms by their names")
    doubts = list(beside.values())
    if unsure := [name for name in others if name not in sure]:
        doubts.append(f"not used: {_some(unsure)}: if these are arms, write a row for each result")
    known: dict[Role, str] = {**given, "arm": "arm", "score": score}
    return Long(turned, known, tuple(notes), doubts=tuple(doubts))


def _rest(column: str, rest: str) -> str:
    """A region as the column writes it: ``WT``, and not ``wt``."""
    match = re.search(re.escape(rest).replace("_", r"[\W_]+"), column, re.IGNORECASE)
    return match[0] if match else rest


def _numeric(table: pd.DataFrame, given: Mapping[Role, str]) -> list[str]:
    """Columns of numbers, or of text that is named like a score, of which none has a role yet."""
    taken = {column for role, column in given.items() if role != "score"}
    return [
        str(name)
        for name in table.columns
        if name not in taken
        and (looks_numeric(table[name]) or parse_score(name).score is not None)
        and not set(words(name).split("_")) & SPREAD
    ]


def _named(table: pd.DataFrame, role: Role, given: Mapping[Role, str]) -> bool:
    names = {words(name) for name in table.columns} | {plain(name) for name in table.columns}
    return role in given or bool(names & set(NAMES[role]))


def _has_role(name: object) -> bool:
    every = {other for names in NAMES.values() for other in names}
    return words(name) in every or plain(name) in every or words(name) in SIDES


def _some(columns: Mapping[str, object] | list[str], most: int = 4) -> str:
    names = list(columns)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
