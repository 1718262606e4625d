"""Read numbers as people write them: bold, LaTeX, percent, decimal commas, minus signs, mean ± SD.

A cell is a number, empty, infinite, or not readable: four different things, and none is taken for
another. A decimal comma and a thousands separator look alike in ``1,234``; what the column's other
cells do not settle is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.decimal_marks import (
    COMMA_GROUPS,
    DOT_GROUPS,
    UNSETTLED,
    Decimal,
    commas,
    dots,
    row_of,
)

Unit = Literal["", "%", "‰"]
PER: dict[Unit, float] = {"%": 100.0, "‰": 1000.0}
"""Signs of units, with what they divide by."""

EMPTY = frozenset(
    (
        "", "nan", "na", "n/a", "-", "–", "—", "--", "---", "null", "none", "<na>", "#n/a", "nat",
        "missing", ".", "?",
    )
)  # fmt: skip
"""Cells that hold nothing, in lower case."""

_LONGEST = 500
"""Letters of a number with all its marks: a longer cell is none."""
_SHOWN = 60
_INFINITE = re.compile(r"([+-]?)(inf|infinity|∞|1\.#inf|\\infty)", re.IGNORECASE)
_BOOLEAN = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
_MARKS = "*†‡§¶#↑↓▲▼✓"
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_POWER = re.compile(r"\s*(?:×|\\times|\\cdot|·|x|\*)\s*10\s*(?:\^|\*\*)?\s*\{?([+-]?\d+)\}?\s*$")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_RAISED = re.compile("[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_GROUPED = re.compile(r"(?<=\d)[ '’_](?=\d{3}(\D|$))")
_COMMAND = re.compile(
    r"\\(?:textbf|mathbf|boldsymbol|bm|bf|textit|mathit|emph|underline|uline|textrm|mathrm|text"
    r"|textcolor\{[^{}]*\}|cellcolor\{[^{}]*\}|color\{[^{}]*\}|best|second|num|SI)\s*"
)
_FOOTNOTE = re.compile(
    r"(\^\s*\{?\s*(\\?\*|\\ast|\\dagger|\\ddagger|\\star|[*†‡§]|[a-z])+\s*\}?"
    r"|\\(dagger|ddagger|ast|star)\b|\s*\\?[*†‡§¶#↑↓▲▼]+)\s*$"
)
_PAIR = re.compile(r"^(?P<mean>.+?)\s*(?:±|\+/-|\+-|\\pm|∓)\s*(?P<sd>[^±]+)$")
_BRACKETED = re.compile(
    r"^(?P<mean>[^()\[\]]+?)\s*[(\[]\s*(?:±|\+/-|\\pm|[sS][dD]\s*=?|[sS][tT][dD]\s*=?)?\s*(?P<sd>[^()\[\],;]+?)\s*[)\]]$"
)
_UNIT_BEHIND = re.compile(r"^(?P<inner>.+[)\]])\s*(?P<unit>[%‰])$")
_SHORT = re.compile(r"^(?P<mean>[+-]?\d*[.,]\d+)\((?P<sd>\d+)\)$")


def undressed(cell: str) -> str:
    r"""A cell without what only marks it: bold, LaTeX, colours, stars, odd spaces and minus signs.

    >>> undressed("**88.4 ± 1.2**"), undressed(r"$\mathbf{88.4 \pm 1.2}$"), undressed("−0.5*")
    ('88.4 ± 1.2', '88.4 ± 1.2', '-0.5')
    """
    if len(str(cell)) > _LONGEST:
        return str(cell)
    text = re.sub(r"[\s\u200b\ufeff]+", " ", str(cell)).strip()
    text = re.sub(r"^[=]?\"(.*)\"$", r"\1", text).lstrip("'").strip()
    text = re.sub(r"[−‐‑‒–—﹣－](?=[\d.∞i])", "-", text)
    if _PLAIN.fullmatch(text):
        return text
    # Raised and lowered digits are powers or footnotes, and never digits of the number.
    text = re.sub(r"<sup[^>]*>(.*?)</sup>", r"^{\1}", text)
    text = re.sub(r"<sub[^>]*>(\s*[±+].*?)</sub>", r"\1", text)
    text = re.sub(r"<sub[^>]*>(.*?)</sub>", r"_{\1}", text)
    text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_SUPERSCRIPTS)}}}", text)
    text = re.sub(r"</?(b|strong|i|em|u|mark|span)[^>]*>", "", text)
    text = unicodedata.normalize("NFKC", text).strip()
    text = text.replace("\\%", "%").replace("\\,", "").replace("\\;", " ").replace("~", " ")
    text = re.sub(r"\\(?:textperthousand|permil)\b\s*(?:\{\})?", "‰", text)
    text = text.replace("\\pm", "±").replace("$", "")
    text = _COMMAND.sub("", text)
    text = re.sub(r"\\(scriptsize|tiny|small|footnotesize)\b", "", text)
    if "^" not in text:
        text = text.replace("{", "").replace("}", "")
    text = re.sub(r"_\{?\s*±\s*([^}]*)\}?$", r"±\1", text)
    text = re.sub(r"\*\*(?!\s*-?\d+\s*$)|__|`", "", text)
    text = re.sub(r"^\*(.+)\*$", r"\1", text)
    for _ in range(3):
        text = _FOOTNOTE.sub("", text).strip()
    text = re.sub(r"^\{(.*)\}$", r"\1", text).strip()
    return re.sub(r"^\(([^()]*±[^()]*)\)$", r"\1", text)


def is_empty(cell: str) -> bool:
    """Whether a cell holds nothing.

    >>> is_empty("n/a"), is_empty(" – "), is_empty("0")
    (True, True, False)
    """
    return " ".join(str(cell).split()).lower() in EMPTY


LARGEST = 1e100
"""Numbers beyond are typing errors, or no numbers: their squares would be infinite."""


@dataclass(frozen=True)
class Numbers:
    """A column read as numbers.

    values: NaN where empty, ±inf where infinite. percent: whether the cells carry a % sign.
    notes: what was taken for what.
    """

    values: pd.Series[float]
    percent: bool = False
    notes: tuple[str, ...] = ()


def read_numbers(
    column: pd.Series, decimal: Decimal | None = None, *, comma: bool = False
) -> Numbers:
    """Read a column of any kind as numbers.

    decimal: the decimal mark, None to find out. comma: whether the file separates columns by
    something else than commas, so that a comma in a number is likely a decimal one.

    Raises TableError that names the first row (as in the file, the header is row 1) whose cell is
    not a number, or can be read in two ways.
    """
    numbers = _read(column, decimal, comma)
    beyond = numbers.values.abs().gt(LARGEST) & ~np.isinf(numbers.values)
    if beyond.any():
        first = beyond.index[beyond][0]
        raise TableError(
            f"row {row_of(numbers.values, first)}: {column.name} {numbers.values[first]:g} is "
            "larger than anything that is measured: correct it, or leave it empty"
        )
    return numbers


def _read(column: pd.Series, decimal: Decimal | None, comma: bool) -> Numbers:
    name = str(column.name)
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        return Numbers(column.astype("Float64").astype("float64"))
    text = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    values = pd.to_numeric(text.where(text != ""), errors="coerce").astype("float64")
    rest = text[values.isna() & (text != "")]
    if rest.empty:
        values, told = dots(name, text, values, decimal, decimal_commas=False)
        return Numbers(values, notes=tuple(told))
    found = {raw: _Cell.of(raw, undressed(raw)) for raw in rest.unique()}
    kinds = {cell.kind for cell in found.values()}
    if "boolean" in kinds and kinds <= {"boolean", "empty"} and values.isna().all():
        values.update(rest.map(lambda raw: found[raw].value))
        return Numbers(values, notes=(f"{name}: true and false are read as 1 and 0",))
    plain = {raw: cell.text for raw, cell in found.items()}
    marks, notes = commas(name, rest, plain, text[values.notna()], decimal, comma)
    read = {raw: cell.number(marks.get(raw, ".")) for raw, cell in found.items()}
    for index, raw in rest.items():
        if read[raw] is None:
            shown = f"{raw[:_SHOWN]}…" if len(raw) > _SHOWN else raw
            raise TableError(
                f"row {row_of(text, index)}: {name} '{shown}' is not a number: correct it, or "
                "leave it empty"
            )
    plainly = text[values.notna()]
    values, told = dots(name, plainly, values, decimal, decimal_commas="," in marks.values())
    notes += told
    values.update(rest.map(read))
    percent = rest.map(lambda raw: found[raw].percent)
    if percent.any() and int(percent.sum()) < int(values.notna().sum()):
        first = percent.index[percent][0]
        raise TableError(
            f"row {row_of(text, first)}: {name} '{text[first]}': {int(percent.sum())} of "
            f"{int(values.notna().sum())} cells are marked as per cent and the others are not: "
            "bring all rows to one unit"
        )
    if any(cell.kind == "text" and cell.text != raw for raw, cell in found.items()):
        notes.append(f"{name}: marks beside the numbers (bold, stars, %, LaTeX, …) are left out")
    return Numbers(values, bool(percent.any()), tuple(notes))


def looks_numeric(column: pd.Series, sample: int = 200) -> bool:
    """Whether a column's cells, as far as they are filled, are numbers in some way of writing.

    >>> looks_numeric(pd.Series(["0,51", "−0,20", ""])), looks_numeric(pd.Series(["007a", "1"]))
    (True, False)
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return not pd.api.types.is_bool_dtype(column.dtype)
    cells = [_Cell.of(raw, undressed(raw)) for raw in column.dropna().astype(str).unique()[:sample]]
    filled = [cell for cell in cells if not cell.empty]
    return bool(filled) and all(
        cell.kind == "infinite" or cell.number("," if "," in cell.text else ".") is not None
        for cell in filled
    )


@dataclass(frozen=True)
class _Cell:
    """One cell, before it is known what a comma in it means."""

    kind: Literal["empty", "infinite", "boolean", "text"]
    text: str = ""
    value: float = np.nan
    percent: bool = False

    @property
    def empty(self) -> bool:
        return self.kind == "empty"

    @classmethod
    def of(cls, raw: str, bare: str) -> _Cell:
        if is_empty(raw) or is_empty(bare):
            return cls("empty")
        infinite = _INFINITE.fullmatch(bare)
        if infinite:
            return cls("infinite", value=-np.inf if infinite[1] == "-" else np.inf)
        if bare.lower() in _BOOLEAN:
            return cls("boolean", value=_BOOLEAN[bare.lower()])
        percent = bare.endswith("%")
        text = bare.rstrip("%").strip() if percent else bare
        power = _POWER.search(text)
        if power:
            text = f"{text[: power.start()].strip()}e{power[1]}"
        return cls("text", _GROUPED.sub("", text), percent=percent)

    def number(self, decimal: Decimal) -> float | None:
        """The value, None for a cell that is not a number."""
        if self.kind in ("empty", "infinite"):
            return self.value
        if self.kind == "boolean":
            return None
        text = self.text
        if "," in text:
            is_grouped = COMMA_GROUPS.fullmatch(text) or UNSETTLED.fullmatch(text)
            if decimal == "." and is_grouped:
                text = text.replace(",", "")
            elif decimal == "," and text.count(",") == 1:
                text = text.replace(".", "").replace(",", ".")
        elif decimal == "," and DOT_GROUPS.fullmatch(text):
            text = text.replace(".", "")
        return float(text) if _PLAIN.fullmatch(text) else None


@dataclass(frozen=True)
class Printed:
    """A number as printed: its value and half a unit of its last digit."""

    value: float
    half: float

    @property
    def range(self) -> tuple[float, float]:
        """Between what the unrounded value lies."""
        return self.value - self.half, self.value + self.half


def printed(text: str) -> Printed:
    """Value and rounding of a number as it stands on paper, whatever unit stands behind it.

    >>> printed("71.56"), printed("3.12e-05").value
    (Printed(value=71.56, half=0.005), 3.12e-05)
    """
    bare = _parted(undressed(text))[0]
    cell = _Cell.of(bare, bare)
    bare = cell.text
    if "," in bare:
        bare = bare.replace(",", "") if COMMA_GROUPS.fullmatch(bare) else bare.replace(",", ".")
    if cell.kind != "text" or not _PLAIN.fullmatch(bare):
        raise TableError(f"'{text}' is not a number as printed")
    mantissa, _, exponent = bare.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    return Printed(float(bare), 0.5 * 10.0**-decimals)


def unit_of(text: str) -> Unit:
    """The sign behind a number: per cent, per mille or none.

    >>> unit_of("4.0 %"), unit_of("4.0 \\\\%"), unit_of("40‰"), unit_of("0.04")
    ('%', '%', '‰', '')
    """
    return _parted(undressed(text))[1]


def _parted(bare: str) -> tuple[str, Unit]:
    """A number and the sign behind it."""
    for unit in PER:
        if bare.endswith(unit):
            return bare.rstrip(unit).strip(), unit
    return bare, ""


def mean_and_sd(cell: str) -> tuple[str, str] | None:
    r"""The two numbers of a cell such as ``71.56 ± 2.43`` or ``0.72 (0.02)``, None if it is none.

    Each keeps the sign of per cent behind it; one behind brackets around both is that of both.
    ``0.853(21)`` is the short form of 0.853 ± 0.021.

    >>> mean_and_sd("71.56 ± 2.43"), mean_and_sd(r"\textbf{88.4} \pm 1.2*")
    (('71.56', '2.43'), ('88.4', '1.2'))
    >>> mean_and_sd("0.853(21)"), mean_and_sd("0.80 ± 4.0 %"), mean_and_sd("(80 ± 4) %")
    (('0.853', '0.021'), ('0.80', '4.0%'), ('80%', '4%'))
    """
    bare = undressed(cell)
    around = _UNIT_BEHIND.fullmatch(bare)
    if around:
        inner = mean_and_sd(around["inner"])
        if inner is None or any(unit_of(part) for part in inner):
            return None
        return f"{inner[0]}{around['unit']}", f"{inner[1]}{around['unit']}"
    short = _SHORT.fullmatch(bare)
    if short:
        digits = len(re.split("[.,]", short["mean"])[1])
        return short["mean"], f"{int(short['sd']) / 10**digits:.{digits}f}"
    for pattern in (_PAIR, _BRACKETED):
        match = pattern.fullmatch(bare)
        # [12] beside a fraction is a reference.
        is_reference = match is not None and bare.endswith("]") and match["sd"].strip().isdigit()
        if match and not is_reference:
            both = tuple(
                "".join(_parted(undressed(part)))
                for part in (match["mean"], match["sd"].rstrip(") ]"))
            )
            if all(_is_number(part) for part in both):
                return both[0], both[1]
    return None


def _is_number(text: str) -> bool:
    try:
        printed(text)
    except TableError:
        return False
    return True


def share_of_means(cells: Iterable[str]) -> float:
    """Share of the filled cells that read like a mean with its SD; 0 where none is filled."""
    filled = [cell for cell in map(str, cells) if not is_empty(cell)]
    return sum(mean_and_sd(cell) is not None for cell in filled) / len(filled) if filled else 0.0
