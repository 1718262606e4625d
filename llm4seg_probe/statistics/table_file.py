"""Read files of results as text: CSV of any dialect, and nnU-Net's summary.json.

Every cell stays as it stands in the file, so that printed digits can be counted and a decimal comma
be told from a thousands separator (:mod:`cells`).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.reading.names import refuse_other_than_file
from llm4seg_probe.reading.text import table_guard
from llm4seg_probe.statistics import nnunet_summary
from llm4seg_probe.statistics.roles import NAMES

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
        refuse_other_than_file(file, TableError)
        if not file.is_file():
            raise TableError(f"no such table: {file}")
    summaries = [file for file in files if file.suffix.lower() == ".json"]
    if len(summaries) == len(files):
        table, notes = nnunet_summary.read(files)
        return TableFile(table, notes=notes, nnunet=True)
    if summaries:
        raise TableError("give one CSV table, or any number of summary.json files, not a mixture")
    if len(files) > 1:
        raise TableError(
            f"{len(files)} CSV tables: one at a time is compared. Join them, with a column that "
            "says what each one is (the arm, the seed, the data set)"
        )
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
    above = _lines_above(lines[skipped:])
    if above:
        notes.append(
            f"{above} lines above the header are left out: {lines[skipped].strip()[:60]} …"
        )
    skipped += above
    text = "\n".join(_without_frame(lines[skipped:]))
    if not text.strip():
        raise TableError(f"{path} is not a readable CSV table: it is empty")
    try:
        separator = separator or _separator(text)
        text, more = _one_header(text, separator)
        notes += more
        header = _rows(text.split("\n", 1)[0], separator)[0]
        if _has_row_names(text, separator, len(header)):
            header = ["row names", *header]  # as R writes them, without a header of their own
            text = f'"row names"{separator}{text}'
            notes.append("the first column has no header: it is read as R's row names")
        if len(header) < 2:
            raise TableError(
                f"{path} is not a readable CSV table: it has one column ('{header[0][:60]}'). "
                "Separate its columns by commas, semicolons, tabs or bars"
            )
        numbers = [name for name in header if re.fullmatch(r"[+-]?\d*\.\d+", name)]
        if numbers and not any(words(name) in _HEADERS for name in header):
            raise TableError(
                f"{path}: the first row holds numbers ({numbers[0]}): is the header missing? Name "
                "the columns (arm, seed, the score)"
            )
        doubled = [name for name, count in Counter(header).items() if count > 1 and name]
        if doubled:
            turned = (
                ", or, if each column is a run, turn the table (rows become columns)"
                if words(header[0]) in NAMES["arm"]
                else ""
            )
            raise TableError(
                f"{path}: two columns are called '{doubled[0]}': rename one of them{turned}"
            )
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
    empty = (table == "").all(axis=1)
    filled = int(np.flatnonzero(~empty)[-1]) + 1 if not empty.all() else len(table)
    if empty.iloc[:filled].any():
        row = int(np.flatnonzero(empty)[0]) + 2 + skipped
        raise TableError(f"{path}: row {row} is empty, with results below it: delete it")
    if filled < len(table):
        notes.append(f"{len(table) - filled} empty rows below the table are left out")
    return TableFile(table.iloc[:filled], separator == ",", tuple(notes))


def _has_row_names(text: str, separator: str, columns: int) -> bool:
    """Whether every row has one cell more than the header, as R's write.table makes it."""
    start = _rows("\n".join(text.split("\n", 2)[:2]), separator)
    if columns < 2 or len(start) < 2 or len(start[1]) != columns + 1:
        return False
    return all(len(row) == columns + 1 for row in _rows(text, separator)[1:])


def _rows(text: str, separator: str) -> list[list[str]]:
    """The cells of each row, stripped."""
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row]


def _decoded(path: Path) -> tuple[str, list[str]]:
    try:
        with table_guard(path, TableError):
            content = path.read_bytes()
        if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return content.decode("utf-32"), []
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return content.decode("utf-16"), []
        for start, (what, remedy) in _NO_TEXT.items():
            if content.startswith(start):
                raise TableError(f"{path} is {what}, and no CSV table: {remedy}")
        if b"\x00" in content[:4096]:
            raise TableError(
                f"{path} is not a readable CSV table: it holds bytes that are no text. Save it as "
                "UTF-8"
            )
        try:
            return content.decode("utf-8-sig"), []
        except UnicodeDecodeError as error:
            text = _as_windows(content)
            if text is None:
                raise TableError(
                    f"{path} is not a readable CSV table: it is neither UTF-8 nor Windows-1252. "
                    "Save it as UTF-8"
                ) from error
            note = "the file is not UTF-8: it is read as Windows-1252, so look at accented names"
            return text, [note]
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path} is not a readable CSV table: {reason}") from error


def _as_windows(content: bytes) -> str | None:
    """Bytes as text of Windows-1252; None where they are another's.

    Accented letters stand alone there; whole words of them are Chinese, Japanese, Russian or Greek.
    """
    accented = re.findall(rb"[\x80-\xff]+", content)
    together = sum(len(run) for run in accented if len(run) > 1)
    if 2 * together > sum(map(len, accented)):
        return None
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return None


_HEADERS = {name for names in NAMES.values() for name in names}
"""Names of columns by which a header is known."""
_OF_GROUPS = frozenset(("mean", "std", "sem", "var", "count", "median", "min", "max", "first"))
"""What pandas makes of groups, in the second line of a header."""
_NO_TEXT = {
    b"PK\x03\x04": ("a workbook of Excel, or an archive", "save its sheet as CSV (UTF-8)"),
    b"\xd0\xcf\x11\xe0": ("a workbook of Excel", "save its sheet as CSV (UTF-8)"),
    b"\x1f\x8b": ("compressed", "unpack it (gunzip)"),
    b"PAR1": ("a Parquet file", "write it as CSV, such as by pandas.read_parquet(…).to_csv(…)"),
    b"{": ("JSON", "write one row for each result, such as by pandas.read_json(…).to_csv(…)"),
}
"""How files begin that are often tried, and what becomes of them."""


def _lines_above(lines: list[str], most: int = 20) -> int:
    """How many lines of prose or title stand above a table, none where the first is its header."""
    bars = [number for number, line in enumerate(lines) if line.strip().startswith("|")]
    if bars and 0 < bars[0] <= most and len(bars) > 2 and "|" not in lines[0]:
        return bars[0]
    title = [cell for cell in re.split("[,;\t|]", lines[0]) if cell.strip()] if lines else []
    below = next((number for number, line in enumerate(lines[1:], 1) if line.strip()), 0)
    marks = [mark for mark in SEPARATORS if below and lines[below].count(mark) > 0]
    wide = any(
        len([cell for cell in lines[below].split(mark) if cell.strip()]) > 1
        and lines[below].count(mark) == lines[0].count(mark)
        for mark in marks
    )
    return below if len(title) == 1 and wide else 0


def _one_header(text: str, separator: str) -> tuple[str, list[str]]:
    """The table with one line of header, where pandas wrote two: ``dice,dice`` and ``mean,std``."""
    lines = text.split("\n")
    if len(lines) < 3:
        return text, []
    first, second = (_rows(line, separator)[0] if line.strip() else [] for line in lines[:2])
    pairs = list(zip(first, second, strict=False))
    if len(first) != len(second) or len(set(first)) == len(first):
        return text, []
    if not any(words(below) in _OF_GROUPS for below in second) or len(set(pairs)) < len(pairs):
        return text, []
    joined = [f"{above}_{below}" if above and below else above or below for above, below in pairs]
    rest = lines[2:]
    third = _rows(rest[0], separator)[0] if rest[0].strip() else []
    if third and third[0] and not any(third[1:]):  # the name of the index
        joined[0], rest = third[0], rest[1:]
    written = io.StringIO()
    csv.writer(written, delimiter=separator, lineterminator="").writerow(joined)
    return "\n".join([written.getvalue(), *rest]), [
        f"the header has two lines: they are joined ({joined[-1]})"
    ]


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
