"""Find the header of a CSV table, and what stands above it: titles, comments, a second line."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.roles import NAMES

SEPARATORS = (",", ";", "\t", "|")
_HEADERS = {name for names in NAMES.values() for name in names}
"""Names of columns by which a header is known."""
_OF_GROUPS = frozenset(("mean", "std", "sem", "var", "count", "median", "min", "max", "first"))
"""What pandas makes of groups, in the second line of a header."""


@dataclass(frozen=True)
class Body:
    """A table from its header on.

    text: header and rows. header: names of the columns, stripped. above: how many lines of the
    file stand above the header. notes: what was left out or joined.
    """

    text: str
    header: tuple[str, ...]
    separator: str
    above: int
    notes: tuple[str, ...]


def below_header(text: str) -> Body:
    """Take a file's text apart.

    Raises ValueError where it is no table, TableError for a header that is doubtful.
    """
    notes: list[str] = []
    # Not splitlines: a cell may hold a line separator of Unicode's.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    skipped, separator = _comments(lines)
    if any(line.startswith("#") for line in lines[:skipped]):
        notes.append(f"{skipped} lines above the header are left out")
    titles = _lines_above(lines[skipped:])
    if titles:
        notes.append(
            f"{titles} lines above the header are left out: {lines[skipped].strip()[:60]} …"
        )
    skipped += titles
    text = "\n".join(_without_frame(lines[skipped:]))
    if not text.strip():
        raise ValueError("it is empty")
    separator = separator or _separator(text)
    text, joined = _one_header(text, separator)
    notes += joined
    header = rows_of(text.split("\n", 1)[0], separator)[0]
    rows = _longer_by_one(text, separator, len(header))
    if rows and not any(row[-1] for row in rows):
        header = [*header, ""]  # each row ends in a separator, and the header does not
        text = text.replace("\n", f"{separator}\n", 1)
        notes.append("each row ends in a separator, and the header in none: it is left out")
    elif rows:
        _refuse_unquoted(header, rows)
        header = ["row names", *header]  # as R writes them, without a header of their own
        text = f'"row names"{separator}{text}'
        notes.append("the first column has no header: it is read as R's row names")
    _refuse_doubtful(header)
    return Body(text, tuple(header), separator, skipped, tuple(notes))


def _refuse_doubtful(header: list[str]) -> None:
    """Raise ValueError for a header of one column, TableError for numbers, or a name twice."""
    if len(header) < 2:
        raise ValueError(
            f"it has one column ('{header[0][:60]}'). Separate its columns by commas, semicolons, "
            "tabs or bars"
        )
    numbers = [name for name in header if re.fullmatch(r"[+-]?\d*\.\d+", name)]
    if numbers and not any(words(name) in _HEADERS for name in header):
        raise TableError(
            f"the first row holds numbers ({numbers[0]}): is the header missing? Name the columns "
            "(arm, seed, the score)"
        )
    doubled = [name for name, count in Counter(header).items() if count > 1 and name]
    if doubled:
        turned = (
            ", or, if each column is a run, turn the table (rows become columns)"
            if words(header[0]) in NAMES["arm"]
            else ""
        )
        raise TableError(f"two columns are called '{doubled[0]}': rename one of them{turned}")


def _comments(lines: list[str]) -> tuple[int, str | None]:
    """How many blank lines and comments begin a file, and the separator that they name."""
    skipped, separator = 0, None
    while skipped < len(lines) and (
        not lines[skipped].strip()
        or _is_comment(lines[skipped], lines[skipped + 1 :][:1])
        or _named_separator(lines[skipped])
    ):
        separator = _named_separator(lines[skipped]) or separator
        skipped += 1
    return skipped, separator


def rows_of(text: str, separator: str) -> list[list[str]]:
    """The cells of each row that is not blank, stripped."""
    rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if row]


def _longer_by_one(text: str, separator: str, columns: int) -> list[list[str]]:
    """The rows below the header where each has one cell more than it; none otherwise."""
    start = rows_of("\n".join(text.split("\n", 2)[:2]), separator)
    if columns < 2 or len(start) < 2 or len(start[1]) != columns + 1:
        return []
    rows = rows_of(text, separator)[1:]
    return rows if all(len(row) == columns + 1 for row in rows) else []


def _refuse_unquoted(header: list[str], rows: list[list[str]]) -> None:
    """Raise TableError where cells under the arms' name would be numbers, and names before them."""
    for place, name in enumerate(header):
        if words(name) not in NAMES["arm"]:
            continue
        under = [row[place + 1].replace(".", "").isdigit() for row in rows]
        before = [row[place].replace(".", "").isdigit() for row in rows]
        if all(under) and not any(before):
            raise TableError(
                f"the rows have {len(rows[0])} cells and the header {len(header)} names: is a "
                "decimal comma without quotes? Separate columns by semicolons, or write points"
            )


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
    bare = bool(title) and not any(mark in lines[0] for mark in SEPARATORS)
    alike = below + 1 < len(lines) and any(
        lines[below].count(mark) == lines[below + 1].count(mark) for mark in marks
    )
    return below if len(title) == 1 and (wide or (bare and alike)) else 0


def _one_header(text: str, separator: str) -> tuple[str, list[str]]:
    """The table with one line of header, where pandas wrote two: ``dice,dice`` and ``mean,std``."""
    lines = text.split("\n")
    if len(lines) < 3:
        return text, []
    first, second = (rows_of(line, separator)[0] if line.strip() else [] for line in lines[:2])
    pairs = list(zip(first, second, strict=False))
    if len(first) != len(second) or len(set(first)) == len(first):
        return text, []
    if not any(words(below) in _OF_GROUPS for below in second) or len(set(pairs)) < len(pairs):
        return text, []
    joined = [f"{above}_{below}" if above and below else above or below for above, below in pairs]
    rest = lines[2:]
    third = rows_of(rest[0], separator)[0] if rest[0].strip() else []
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
