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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.reading.names import refuse_other_than_file
from llm4seg_probe.reading.text import table_guard
from llm4seg_probe.statistics import nnunet_summary
from llm4seg_probe.statistics.csv_header import Body, below_header, rows_of


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
    try:
        body = below_header(text)
        table = _cells(body)
    except TableError as error:
        raise TableError(f"{path}: {error}") from error
    except (ValueError, csv.Error, OverflowError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path} is not a readable CSV table: {reason}") from error
    empty = (table == "").all(axis=1)
    filled = int(np.flatnonzero(~empty)[-1]) + 1 if not empty.all() else len(table)
    if empty.iloc[:filled].any():
        row = int(np.flatnonzero(empty)[0]) + 2 + body.above
        raise TableError(f"{path}: row {row} is empty, with results below it: delete it")
    notes += body.notes
    if filled < len(table):
        notes.append(f"{len(table) - filled} empty rows below the table are left out")
    return TableFile(table.iloc[:filled], body.separator == ",", tuple(notes))


def _cells(body: Body) -> pd.DataFrame:
    """The cells as text.

    Raises ValueError for a row with more of them than the header, TableError for one with fewer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(body.text), sep=body.separator, dtype=str, keep_default_na=False,
                index_col=False, skipinitialspace=True, header=0,
                names=[name or f"unnamed {n + 1}" for n, name in enumerate(body.header)],
            )  # fmt: skip
    except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
        counts = [len(row) for row in rows_of(body.text, body.separator)]
        longer = next((n for n, count in enumerate(counts) if count > counts[0]), None)
        if longer is None:
            raise
        raise ValueError(
            f"row {longer + 1 + body.above} has more cells than the header ({counts[longer]} and "
            f"{counts[0]}): is a separator within a cell?"
        ) from error
    if (table.iloc[:, -1] == "").any():  # a row that is too short is filled up by pandas
        counts = [len(row) for row in rows_of(body.text, body.separator)]
        short = next((n for n, count in enumerate(counts) if count < counts[0]), None)
        if short is not None:
            raise TableError(
                f"row {short + 1 + body.above} has fewer cells than the header "
                f"({counts[short]} and {counts[0]}): was a separator left out?"
            )
    return table


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
        if b"\x00" in content[:4096] or b"\x1b" in content[:4096]:  # ESC: ISO-2022, or colours
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


_NO_TEXT = {
    b"PK\x03\x04": ("a workbook of Excel, or an archive", "save its sheet as CSV (UTF-8)"),
    b"\xd0\xcf\x11\xe0": ("a workbook of Excel", "save its sheet as CSV (UTF-8)"),
    b"\x1f\x8b": ("compressed", "unpack it (gunzip)"),
    b"PAR1": ("a Parquet file", "write it as CSV, such as by pandas.read_parquet(…).to_csv(…)"),
    b"{": ("JSON", "write one row for each result, such as by pandas.read_json(…).to_csv(…)"),
}
"""How files begin that are often tried, and what becomes of them."""
