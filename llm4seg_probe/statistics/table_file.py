"""Read files of results as text: CSV of any dialect, and nnU-Net's summary.json.

Every cell stays as it stands in the file, so that printed digits can be counted and a decimal comma
be told from a thousands separator (:mod:`cells`).
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from llm4seg_probe.column_words import SIDES, plain, words
from llm4seg_probe.errors import TableError
from llm4seg_probe.reading.text import table_guard
from llm4seg_probe.scores import parse_score
from llm4seg_probe.statistics import nnunet_summary
from llm4seg_probe.statistics.cells import looks_numeric
from llm4seg_probe.statistics.roles import NAMES, SPREAD, Role, score_columns

SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class TableFile:
    """A table as it was read.

    table: all cells as text, and empty where the file has none; of nnU-Net's summaries, numbers.
    comma_separated: whether columns are separated by commas. notes: what was taken for what.
    """

    table: pd.DataFrame
    comma_separated: bool = True
    notes: tuple[str, ...] = ()
    nnunet: bool = False


@contextmanager
def named_in_errors(paths: Sequence[Path]) -> Iterator[None]:
    """Begin every refusal of a table with the file that it came from, where it is not named yet."""
    try:
        yield
    except TableError as error:
        if not paths or any(Path(path).name in str(error) for path in paths):
            raise
        further = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise TableError(f"{paths[0]}{further}: {error}") from error


def read_files(paths: Sequence[Path]) -> TableFile:
    """Read one table from one CSV file, or from nnU-Net summaries, one per arm, fold and seed.

    Raises TableError for files that are neither, or that are mixed.
    """
    files = [Path(path) for path in paths]
    if not files:
        raise TableError("name at least one file: a CSV table, or nnU-Net's summary.json")
    for file in files:
        if not file.is_file():
            raise TableError(f"no such table: {file}")
    summaries = [file for file in files if file.suffix.lower() == ".json"]
    if len(summaries) == len(files):
        table, notes = nnunet_summary.read(files)
        return TableFile(table, notes=notes, nnunet=True)
    if summaries or len(files) > 1:
        raise TableError("give one CSV table, or any number of summary.json files, not a mixture")
    return read_csv(files[0])


def read_csv(path: Path) -> TableFile:
    """Read a CSV table, whatever separates its columns (comma, semicolon, tab or bar).

    A byte-order mark, UTF-16, a line ``sep=;``, comment lines above the header and a table of
    Markdown are read too. Raises TableError that names the file, and the line where there is one.
    """
    text, notes = _decoded(path)
    # Not splitlines: a cell may hold a line separator of Unicode's.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    skipped = 0
    separator = None
    while skipped < len(lines) and (
        not lines[skipped].strip()
        or _is_comment(lines[skipped], lines[skipped + 1 :][:1])
        or _named_separator(lines[skipped])
    ):
        separator = _named_separator(lines[skipped]) or separator
        skipped += 1
    if any(line.startswith("#") for line in lines[:skipped]):
        notes.append(f"{skipped} lines above the header are left out")
    text = "\n".join(_without_frame(lines[skipped:]))
    if not text.strip():
        raise TableError(f"{path} is not a readable CSV table: it is empty")
    try:
        separator = separator or _separator(text)
        header = _rows(text.split("\n", 1)[0], separator)[0]
        if len(header) < 2:
            raise TableError(
                f"{path} is not a readable CSV table: it has one column ('{header[0][:60]}'). "
                "Separate its columns by commas, semicolons, tabs or bars"
            )
        doubled = [name for name, count in Counter(header).items() if count > 1 and name]
        if doubled:
            raise TableError(f"{path}: two columns are called '{doubled[0]}': rename one of them")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False,
                skipinitialspace=True, header=0,
                names=[name or f"unnamed {n + 1}" for n, name in enumerate(header)],
            )  # fmt: skip
    except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
        assert separator is not None  # only read_csv raises these, and it was given one
        counts = [len(row) for row in _rows(text, separator)]
        longer = next((n for n, count in enumerate(counts) if count > counts[0]), None)
        reason = " ".join(str(error).split())
        if longer is not None:
            reason = (
                f"row {longer + 1 + skipped} has more cells than the header ({counts[longer]} and "
                f"{counts[0]}): is a separator within a cell?"
            )
        raise TableError(f"{path} is not a readable CSV table: {reason}") from error
    except (ValueError, csv.Error, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path} is not a readable CSV table: {reason}") from error
    if (table.iloc[:, -1] == "").any():  # a row that is too short is filled up by pandas
        counts = [len(row) for row in _rows(text, separator)]
        short = next((n for n, count in enumerate(counts) if count < counts[0]), None)
        if short is not None:
            raise TableError(
                f"{path}: row {short + 1 + skipped} has fewer cells than the header "
                f"({counts[short]} and {counts[0]}): was a separator left out?"
            )
    return TableFile(table, separator == ",", tuple(notes))


def _rows(text: str, separator: str) -> list[list[str]]:
    """The cells of each row, stripped."""
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row]


def _decoded(path: Path) -> tuple[str, list[str]]:
    try:
        with table_guard(path, TableError):
            content = path.read_bytes()
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return content.decode("utf-16"), []
        if b"\x00" in content[:4096]:
            raise TableError(f"{path} is not a readable CSV table: it holds bytes that are no text")
        try:
            return content.decode("utf-8-sig"), []
        except UnicodeDecodeError:
            note = "the file is not UTF-8: it is read as Windows-1252, so look at accented names"
            return content.decode("cp1252"), [note]
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path} is not a readable CSV table: {reason}") from error


def _is_comment(line: str, following: list[str]) -> bool:
    """Whether a line above the header is a comment; a header may begin with # as well."""
    alike = any(
        line.count(mark) == other.count(mark) > 0 for mark in SEPARATORS for other in following
    )
    return line.startswith("#") and not alike


def _named_separator(line: str) -> str | None:
    """The separator of Excel's first line ``sep=;``."""
    bare = line.strip().strip('"')
    return bare[4] if bare.lower().startswith("sep=") and len(bare) == 5 else None


def _without_frame(lines: list[str]) -> list[str]:
    """The lines of a table of Markdown without its outer bars and its rule; others as they are."""
    if not lines or not lines[0].strip().startswith("|"):
        return lines
    rows = [line.strip().strip("|") for line in lines if line.strip().startswith("|")]
    return [
        "|".join(cell.strip() for cell in row.split("|")) for row in rows if set(row) - set("|-: ")
    ]


def _separator(text: str) -> str:
    """The mark that cuts the first lines into most columns, the same number in each."""
    head = "\n".join(text.split("\n", 30)[:30])
    best, cells = ",", 1
    for mark in SEPARATORS:
        rows = [row for row in csv.reader(io.StringIO(head), delimiter=mark) if row]
        counts = {len(row) for row in rows}
        # A decimal comma cuts the rows and not the header.
        if len(rows[0]) > cells and len(counts) == 1:
            best, cells = mark, len(rows[0])
    if cells > 1:
        return best
    first = head.split("\n")[0]
    return max(SEPARATORS, key=first.count)


_REPEATED = re.compile(
    r"(?P<before>.*?)_?(?P<kind>seed|run|rep|repeat|repetition|trial|replicate|fold|cv)_?"
    r"(?P<number>\d+)(?:_(?P<after>.+))?"
)
REGION = "region"


@dataclass(frozen=True)
class Long:
    """A table with one score per row.

    given: columns known by now. notes: what was turned. strata: columns within which arms are
    compared.
    """

    table: pd.DataFrame
    given: Mapping[Role, str]
    notes: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()


def long(table: pd.DataFrame, given: Mapping[Role, str]) -> Long:
    """Turn a wide table into a long one; another is handed back as it is.

    given: columns that the user named, by role; a ``score`` that is no column names what a wide
    table holds. Raises TableError for a chart exported from W&B, whose columns are curves.
    """
    charts = [name for name in table.columns if re.search(r"__(MIN|MAX)$", str(name))]
    if charts:
        raise TableError(
            f"column '{charts[0]}' is of a chart, a curve over steps for each run: export the "
            "table of runs instead (one row per run, with its arm, seed and final score)"
        )
    for turn in (_per_seed, _per_region, _per_arm):
        turned = turn(table, given)
        if turned is not None:
            return turned
    return Long(table, given)


def _per_seed(table: pd.DataFrame, given: Mapping[Role, str]) -> Long | None:
    """A column per seed or fold: ``seed_0, seed_1``, or ``dice_seed0``, or bare numbers."""
    found: dict[tuple[Literal["seed", "fold"], str], dict[str, int]] = {}
    for column in _numeric(table, given):
        match = _REPEATED.fullmatch(words(column))
        if match:
            repeated: Literal["seed", "fold"] = (
                "fold" if match["kind"] in ("fold", "cv") else "seed"
            )
            score = "_".join(part for part in (match["before"], match["after"]) if part)
            found.setdefault((repeated, score), {})[column] = int(match["number"])
        elif re.fullmatch(r"\d{1,4}", words(column)):
            found.setdefault(("seed", ""), {})[column] = int(words(column))
    several = {key: columns for key, columns in found.items() if len(columns) > 1}
    if not several or _named(table, next(iter(several))[0], given):
        return None
    asked = given.get("score")
    (kind, score), columns = next(
        ((key, columns) for key, columns in several.items() if asked and words(asked) == key[1]),
        next(iter(several.items())),
    )
    label = asked or score or "score"
    left = [name for key, others in several.items() if key != (kind, score) for name in others]
    kept = [name for name in table.columns if name not in columns and name not in left]
    turned = table.melt(id_vars=kept, value_vars=list(columns), var_name=kind, value_name=label)
    turned[kind] = turned[kind].map(columns)
    notes = [f"the columns {_some(columns)} are read as {kind}s, one row for each"]
    if left:
        notes.append(f"not used: {_some(left)} (--score names another)")
    return Long(turned, {**given, kind: kind, "score": label}, tuple(notes))


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
    return Long(turned, known, (note,), (kind,) if arm else ())


def _per_arm(table: pd.DataFrame, given: Mapping[Role, str]) -> Long | None:
    """A column per arm, beside one of seeds, folds or cases, and no column of arms."""
    if _named(table, "arm", given) or not any(
        _named(table, role, given) for role in ("seed", "fold", "case")
    ):
        return None
    text = [
        name for name in table.columns
        if not pd.api.types.is_numeric_dtype(table[name].dtype) and not _has_role(name)
    ]  # fmt: skip
    columns = [name for name in _numeric(table, given) if not _has_role(name)]
    scores = score_columns(table, columns)
    if (
        len(columns) < 2
        or scores
        or any(2 <= table[name].nunique() < len(table) / 2 for name in text)
    ):
        return None
    score = given.get("score", "score")
    kept = [name for name in table.columns if name not in columns]
    turned = table.melt(id_vars=kept, value_vars=columns, var_name="arm", value_name=score)
    note = (
        f"the columns {_some(columns)} are read as arms, and what they hold as '{score}' (--score "
        "NAME says which score it is)"
    )
    return Long(turned, {**given, "arm": "arm", "score": score}, (note,))


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
