"""Select the rows of a tidy table: one score per seed and case, and nothing averaged in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from llm4seg_probe.column_words import plain, side_of, words
from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.statistics.columns import column_named
from llm4seg_probe.statistics.roles import NAMES, is_side, is_side_flag

MAY_BE_ABSENT = {"case": "image", "group": "group", "dataset": "dataset"}
"""Columns looked for by default; a table without them has no cases, groups or data sets."""

SEPARATE = (
    "split",
    "checkpoint",
    "fold",
    "site",
    "part",
    "null",
    "reduction",
    "threshold",
    "class",
    "label",
    "organ",
    "epoch",
    "step",
    "phase",
    "stage",
    "subset",
    "set",
    "partition",
    "corruption",
    "severity",
    "strength",
    *(name for name in NAMES["epoch"] if name not in ("epoch", "step")),
)
"""Columns whose values are different measurements, even where no two rows collide."""


_MANY = 12
"""More classes may be cases."""
_OF_RUNS = NAMES["epoch"]
"""Columns that may differ between runs, each with its own best epoch, but not within one."""

_OR = {
    "fold": ", or take each seed's cross-validation as one run, --average-over fold "
    "(average_over=['fold']), or compare by fold, with fold and test_share (--fold)",
    "class": ", or average over them, --average-over class (average_over=['class'])",
}


@dataclass(frozen=True)
class Columns:
    """Names of the key columns; None where the table has no such thing."""

    arm: str = "arm"
    seed: str = "seed"
    case: str | None = "image"
    group: str | None = "group"
    dataset: str | None = "dataset"

    def present_in(self, table: pd.DataFrame) -> Columns:
        """These columns, without those of the defaults that the table lacks or never fills.

        Raises TableError for a column that was asked for and is not there.
        """
        found: dict[str, str | None] = {}
        for role, name in vars(self).items():
            if name is None:
                found[role] = None
            elif name in table.columns:
                idle = MAY_BE_ABSENT.get(role) == name and (as_text(table[name]) == "").all()
                found[role] = None if idle else name
            elif MAY_BE_ABSENT.get(role) == name:
                found[role] = None
            else:
                raise TableError(unknown(f"column ({role})", name, map(str, table.columns)))
        return Columns(**found)  # type: ignore[arg-type]

    @property
    def keys(self) -> list[str]:
        """The key columns that there are."""
        return [name for name in (self.dataset, self.arm, self.seed, self.group, self.case) if name]


def rows_where(table: pd.DataFrame, filters: Mapping[str, object]) -> pd.DataFrame:
    """Rows whose columns have the given values; empty cells match ``""``.

    Numbers are compared as numbers, everything else as text. Raises TableError for a column or
    a value that the table does not have, with the nearest that it has.
    """
    for name, wanted in filters.items():
        column = column_named(table, name)
        matches = matching(table[column], wanted)
        if not matches.any():
            seen = as_text(table[column]).drop_duplicates().head(20)
            raise TableError(
                unknown(f"value of {column}", str(wanted), [f"{value}" for value in seen])
            )
        table = table[matches]
    return table


def matching(column: pd.Series, wanted: object) -> pd.Series[bool]:
    """Which cells hold a value, given as it would be written in a file."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        number = pd.to_numeric(pd.Series([wanted]), errors="coerce").iloc[0]
        return column.isna() if wanted == "" else (column == number).fillna(False).astype(bool)
    if isinstance(column.dtype, pd.StringDtype):  # quicker than through Python's objects
        matches = column.fillna("") == str(wanted)
    else:
        matches = as_text(column) == str(wanted)
    if matches.any():
        return matches
    return as_text(column).str.strip().str.casefold() == str(wanted).strip().casefold()


def as_text(column: pd.Series) -> pd.Series[str]:
    """A column as text, missing cells as ``""``."""
    if isinstance(column.dtype, pd.StringDtype):
        return column.fillna("")
    return column.astype(object).where(column.notna(), "").astype(str)


def keyed(
    table: pd.DataFrame, score: str, columns: Columns, average_over: Sequence[str]
) -> pd.DataFrame:
    """Key columns, those averaged over, and ``value``; each row another measurement."""
    for name in (score, *average_over):
        if name not in table.columns:
            raise TableError(unknown("column", name, map(str, table.columns)))
    if table.empty:
        raise TableError("the table has no rows")
    table = table.reset_index(drop=True)
    rows = table[[*columns.keys, *average_over]].copy()
    if rows[columns.seed].dtype == object:
        rows[columns.seed] = as_text(rows[columns.seed])  # numbers beside text do not sort
    rows["value"] = _numbers(table[score])
    for name in columns.keys:
        empty = table[name].isna()
        if not pd.api.types.is_numeric_dtype(table[name].dtype) and name != columns.dataset:
            empty |= table[name].isin(
                [cell for cell in table[name].unique() if not str(cell).strip()]
            )
        if empty.any():
            merged = not empty.iloc[0] and 2 * int(empty.sum()) >= len(table)
            raise TableError(
                f"column {name} is empty in {int(empty.sum())} of {len(table)} rows; fill it"
                f"{', merged cells of a sheet with what stands above them,' if merged else ''} or "
                "leave those rows out"
            )
    _refuse_separate(table, score, columns, average_over)
    _refuse_doubled(table, score, columns, [*columns.keys, *average_over])
    return rows


def _numbers(column: pd.Series) -> pd.Series[float]:
    try:
        return pd.to_numeric(column).astype("float64")
    except (ValueError, TypeError) as error:
        bad = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        raise TableError(
            f"column {column.name} holds {str(bad.iloc[0])!r}, which is not a number"
        ) from error


def _refuse_separate(
    table: pd.DataFrame, score: str, columns: Columns, average_over: Sequence[str]
) -> None:
    """Raise TableError for a column whose values are different measurements, or sides."""
    named = {plain(name): name for name in reversed(table.columns.map(str).tolist())}
    separate = [named[name] for name in SEPARATE if name in named]
    sides = [
        name for name in map(str, table.columns) if name not in separate and _is_sided(table, name)
    ]
    for name in (*separate, *sides):
        if name in (score, *average_over, *columns.keys):
            continue
        values = as_text(table[name]).drop_duplicates().tolist()
        if len(values) < 2 or _is_harmless(table, name, columns):
            continue
        if any(_says_the_same(table, name, other) for other in average_over):
            continue
        if plain(name) == "site" and _numbers_cases_anew(table, name, columns):
            continue  # told as what tells the cases apart
        if plain(name) not in _OF_RUNS:
            _refuse_of_arms(table, name, columns.arm)
        scored = as_text(table.loc[table[score].notna(), name]).drop_duplicates().tolist()
        chosen = _example(name, scored or values)
        cases = ""
        if columns.case is None and len(values) > _MANY and plain(name) in NAMES["class"]:
            cases = f", or, if these are cases, --case {name}"
        raise TableError(
            f"the table has several values of {name} ({some_of(values)}): choose one first, "
            f"such as --where {name}={chosen} (in Python where={{{name!r}: {chosen!r}}})"
            f"{cases}{_OR.get(plain(name), '')}"
        )


def _says_the_same(table: pd.DataFrame, name: str, other: str) -> bool:
    """Whether two columns part the rows alike, as ``label`` and ``organ`` may."""
    pairs = table[[name, other]].drop_duplicates()
    return bool(pairs[name].is_unique and pairs[other].is_unique)


def _numbers_cases_anew(table: pd.DataFrame, name: str, columns: Columns) -> bool:
    """Whether numbers of cases come again in each value of a column, as in each hospital's."""
    return (
        columns.case is not None
        and _is_whole(table[columns.case])
        and bool(table.duplicated(columns.keys).any())
        and not table.duplicated([*columns.keys, name]).any()
    )


def _is_whole(values: pd.Series) -> bool:
    return pd.api.types.is_integer_dtype(values.dtype)


def _refuse_of_arms(table: pd.DataFrame, name: str, arm: str) -> None:
    """Raise TableError where each arm has one value of its own of a column."""
    own = table[[arm, name]].drop_duplicates()
    if len(own) > 1 and own[arm].is_unique and own[name].nunique() > 1:
        told = "; ".join(f"{row[arm]}: {row[name]}" for _, row in own.head(3).iterrows())
        raise TableError(
            f"each arm has one {name} ({told}): the arms differ in that too, and what they say of "
            "each other may be that. If it is meant so, take the column out of the table"
        )


_NO = frozenset(("false", "no", "0", "0.0", "n", "f"))


def _example(name: str, values: Sequence[str]) -> str:
    """The value that is likely wanted: the last epoch, the test side, no training row.

    >>> _example("split", ["train", "test"]), _example("is_train", ["True", "False"])
    ('test', 'False')
    >>> _example("held_out", ["no", "yes"]), _example("stage", ["tr", "other"])
    ('yes', 'other')
    """
    if plain(name) in _OF_RUNS or (
        plain(name) == "checkpoint" and all(value.strip().isdigit() for value in values)
    ):
        return values[-1]
    flags = {value: value.strip().lower() in _NO for value in values}
    if side_of(name) and len(set(flags.values())) == 2:
        wanted = side_of(name) != "test"
        return next(value for value, says_no in flags.items() if says_no == wanted)
    tested = [value for value in values if side_of(value) == "test"]
    others = [value for value in values if side_of(value) not in ("train", "val")]
    untrained = [value for value in values if side_of(value) != "train"]
    return [*tested, *others, *untrained, *values][0]


def _is_sided(table: pd.DataFrame, name: str) -> bool:
    """Whether a column, whatever it is called, says train, val or test."""
    return table[name].nunique() > 1 and (is_side(table[name]) or is_side_flag(table, name))


def _is_harmless(table: pd.DataFrame, name: str, columns: Columns) -> bool:
    """Whether a column differs between runs or cases only, as a best epoch or a hospital may."""
    if plain(name) in _OF_RUNS:
        run = [key for key in (columns.dataset, columns.arm, columns.seed) if key]
        return bool((table.groupby(run, observed=True)[name].nunique(dropna=False) < 2).all())
    of_cases = plain(name) in ("site", "severity", *NAMES["class"])
    if of_cases and columns.case and not _is_sided(table, name):
        case = [key for key in (columns.dataset, columns.group, columns.case) if key]
        return bool((table.groupby(case, observed=True)[name].nunique(dropna=False) < 2).all())
    return False


_WITHIN = frozenset(
    (
        "slice", "slice_id", "slice_number", "slice_index", "slice_no", "frame", "frame_id", "z",
        "image", "image_id", "image_name", "img", "img_id", "file", "filename", "file_name",
    )
)  # fmt: skip
"""Names of cases that may be numbered anew within something larger."""


_FEW_SETTINGS = 6
"""Values of a number that may be a setting in a table of any length."""
_SETTINGS = frozenset(
    (
        "iou_type", "tta", "ckpt", "checkpoint", "postprocess", "postprocessing", "annotator",
        "prompt", "resolution", "view", "scale", "threshold", "ensemble", "precision", "amp",
    )
)  # fmt: skip
"""Names of columns in which a measurement differs, and no case within another."""
_NO_PARTS = {name for role, names in NAMES.items() if role != "class" for name in names}
"""Names of columns that hold no parts of a case."""


def _refuse_doubled(table: pd.DataFrame, score: str, columns: Columns, keys: list[str]) -> None:
    doubled = table.duplicated(keys, keep=False)
    if not doubled.any():
        return
    first = table.loc[doubled, keys].iloc[0]
    alike = table[(table[keys] == first).all(axis=1)]
    varying = {
        str(name): f"{name} ({some_of(as_text(alike[name]).drop_duplicates().tolist())})"
        for name in table.columns
        if name not in (*keys, score)
        and alike[name].nunique(dropna=False) > 1
        and (
            not pd.api.types.is_float_dtype(table[name].dtype)
            # A setting such as a rate, and no other score.
            or table[name].nunique() <= max(_FEW_SETTINGS, len(table) // 10)
        )
    }
    seeds = table.loc[doubled, columns.seed].drop_duplicates().sort_values()
    run = columns.seed.removesuffix(" of seed")
    which = ", ".join(f"{run if name == columns.seed else name} {first[name]}" for name in keys)
    cause = "nothing tells them apart; name the column of the cases, or leave one row out"
    if columns.case and not varying:
        cause = (
            "nothing tells them apart (names that differ in zeros, spaces, capitals or endings are "
            "one case); leave one row out, or name the cases apart"
        )
    if varying:
        cause = f"they differ in {', '.join(varying.values())}; choose one value of it first"
        finer = next(
            (
                name for name in varying
                if not pd.api.types.is_float_dtype(table[name].dtype)
                and not table.duplicated([*keys, name]).any()
            ), None,
        )  # fmt: skip
        if finer and len(seeds) == 1 and not columns.case:
            cause += f", or, if each is another run, --seed {finer}"
        if finer and words(finer) in NAMES["arm"]:
            if not columns.dataset:
                cause += f", or, if {finer} names the arms, --arm {finer} --dataset {columns.arm}"
        elif columns.case and not columns.group and finer:
            image, whole = finer, columns.case
            if words(whole) in _WITHIN or _numbers_cases_anew(table, finer, columns):
                image, whole = whole, finer
            if words(finer) not in _SETTINGS:
                cause += f", or, if {whole} has several of {image}, --case {image} --group {whole}"
        if finer and words(finer) not in _SETTINGS | _NO_PARTS and not _is_whole(table[finer]):
            cause += f", or, if these are parts of one {'case' if columns.case else 'run'}, "
            cause += f"--average-over {finer}"
            if not columns.dataset and not pd.api.types.is_numeric_dtype(table[finer].dtype):
                cause += f", or, if these are data sets, --dataset {finer}"
    raise TableError(
        f"{len(alike)} rows for {which} (doubled in {run}s {some_of(seeds.tolist())}): {cause}"
    )


def some_of(values: Sequence[object], most: int = 8) -> str:
    """The first few values in words."""
    shown = ", ".join("empty" if value == "" else str(value) for value in values[:most])
    return shown + (", …" if len(values) > most else "")
