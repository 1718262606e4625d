"""Tell what commas and dots in numbers are: decimal marks, or separators of thousands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError

Decimal = Literal[".", ","]


def row_of(text: pd.Series, index: object) -> int:
    """Row of the file, of which the first is the header."""
    return int(np.flatnonzero(text.index == index)[0]) + 2


_COMMA_DECIMAL = re.compile(
    r"[+-]?(\d*,(?!\d{3}$)\d+|0?,\d+|\d{4,},\d+|\d+,\d+[eE][+-]?\d+|\d{1,3}(\.\d{3})+,\d+)([eE][+-]?\d+)?"
)
COMMA_GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)|[+-]?\d{1,3}(,\d{3}){2,}")
UNSETTLED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


DOT_GROUPS = re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}")


def commas(
    name: str,
    rest: pd.Series[str],
    found: Mapping[str, str],
    plainly: pd.Series[str],
    decimal: Decimal | None,
    comma: bool,
) -> tuple[dict[str, Decimal], list[str]]:
    """Tell what the comma in each cell is: a decimal mark or a separator of thousands.

    rest: the cells that are no plain numbers; found: each without marks; plainly: those that are.
    Raises TableError where a cell can be read in two ways and no other cell settles it.
    """
    with_comma = {raw: text for raw, text in found.items() if "," in text}
    grouped: dict[str, Decimal] = {
        raw: "," for raw, text in found.items() if DOT_GROUPS.fullmatch(text)
    }
    if decimal is not None:
        return dict.fromkeys(with_comma, decimal) | (grouped if decimal == "," else {}), []
    decimals = {raw for raw, bare in with_comma.items() if _COMMA_DECIMAL.fullmatch(bare)}
    groups = {raw for raw, bare in with_comma.items() if COMMA_GROUPS.fullmatch(bare)}
    unsettled = {raw for raw, bare in with_comma.items() if UNSETTLED.fullmatch(bare)}
    if unsettled:
        others = plainly.str.contains(r"^[+-]?[1-9]\d{2,}$|\.", regex=True).any()
        if decimals and not groups:
            decimals |= unsettled
        elif groups and not decimals:
            groups |= unsettled
        elif comma and not others and not groups:
            decimals |= unsettled
        else:
            first = rest[rest.isin(list(unsettled))].index[0]
            bare = with_comma[rest[first]]
            raise TableError(
                f"{name} '{rest[first]}' may be {bare.replace(',', '.')} or "
                f"{bare.replace(',', '')}: say which mark is the decimal one, --decimal , or "
                "--decimal ."
            )
    notes = []
    if decimals:
        count = int(rest.isin(list(decimals)).sum())
        notes.append(f"{name}: the comma is the decimal mark in {count} cells (else: --decimal .)")
    if groups:
        notes.append(f"{name}: the comma separates thousands (else: --decimal ,)")
    marks: dict[str, Decimal] = dict.fromkeys(decimals, ",")
    return marks | (grouped if decimals else {}) | dict.fromkeys(groups, "."), notes


DOTTED = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")


def dots(
    name: str,
    plainly: pd.Series[str],
    values: pd.Series[float],
    decimal: Decimal | None,
    *,
    decimal_commas: bool,
) -> tuple[pd.Series[float], list[str]]:
    """Tell what the dot in plain numbers is, where all of them may be thousands: ``1.234``.

    decimal_commas: whether the comma is the decimal mark in other cells. Raises TableError where a
    number has a decimal dot although the comma was named, or nothing settles what the dots are.
    """
    dotted = plainly[plainly.str.contains(".", regex=False)]
    if decimal == "." or dotted.empty:
        return values, []
    grouped = dotted.str.fullmatch(DOTTED)
    if not grouped.all():
        if decimal == ",":
            first = dotted.index[~grouped][0]
            raise TableError(
                f"row {row_of(values, first)}: {name} '{dotted[first]}' has a decimal dot, but "
                "--decimal , says that the comma is the decimal mark"
            )
        return values, []
    if not decimal_commas and decimal is None:
        # 1.234 beside 998: thousands in a column of whole numbers, or a decimal dot.
        if plainly.str.contains(r"^[+-]?[1-9]\d{2,}$", regex=True).any():
            raise TableError(
                f"{name} '{dotted.iloc[0]}' may be {dotted.iloc[0]} or "
                f"{dotted.iloc[0].replace('.', '')}: say which mark is the decimal one, "
                "--decimal . or --decimal ,"
            )
        return values, []
    values = values.copy()
    values.update(dotted.str.replace(".", "", regex=False).astype("float64"))
    return values, [
        f"{name}: the dot separates thousands in {len(dotted)} cells (else: --decimal .)"
    ]
