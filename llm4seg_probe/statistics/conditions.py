"""Conditions as claims write them: an arm, what deviates in it, a site, and contrasts of such.

| written | means |
| --- | --- |
| ``llm`` | the arm |
| ``llm[layer=10]`` | its runs with that layer; several with commas |
| ``llm@after`` | what was measured at that site |
| ``llm@after - llm@before`` | a difference, run by run; ``+`` and ``-`` stand between spaces |
| ``mean(llm[layer=3], llm[layer=4])`` | the mean of several |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from llm4seg_probe.errors import ConfigError

_TERM = re.compile(
    r"(?P<arm>[^\s\[\]@,()]+)(\[(?P<filters>[^\[\]]*)\])?(@(?P<site>[^\s\[\]@,()]+))?"
)


@dataclass(frozen=True)
class Term:
    """One arm, with the columns that select its rows; the site is one of them."""

    arm: str
    filters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        site = "".join(f"@{value}" for column, value in self.filters if column == "site")
        rest = ",".join(f"{column}={value}" for column, value in self.filters if column != "site")
        return self.arm + (f"[{rest}]" if rest else "") + site


@dataclass(frozen=True)
class Condition:
    """A weighted sum of terms, as text and taken apart."""

    text: str
    terms: tuple[tuple[float, Term], ...]


def parse(text: str) -> Condition:
    """Take a condition apart; raises ConfigError that shows how one is written.

    >>> [(weight, str(term)) for weight, term in parse("llm@after - llm@before").terms]
    [(1.0, 'llm@after'), (-1.0, 'llm@before')]
    """
    pieces = re.split(r"\s([+-])\s", text.strip())
    signs = [1.0, *(1.0 if sign == "+" else -1.0 for sign in pieces[1::2])]
    terms: list[tuple[float, Term]] = []
    for sign, piece in zip(signs, pieces[::2], strict=True):
        inner = re.fullmatch(r"mean\((.*)\)", piece.strip())
        members = _split(inner[1]) if inner else [piece]
        terms += [(sign / len(members), _term(member.strip(), text)) for member in members]
    return Condition(" ".join(text.split()), tuple(terms))


def _split(text: str) -> list[str]:
    """Members between commas, of which those inside square brackets do not count."""
    return re.split(r",(?![^\[]*\])", text)


def _term(text: str, whole: str) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"'{whole}' is not a condition: write an arm, as in llm, llm[layer=10], llm@after, "
            "or llm@after - llm@before"
        )
    filters = []
    for item in filter(None, (match["filters"] or "").split(",")):
        column, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"'{whole}': write '{item}' as column=value")
        filters.append((column.strip(), value.strip()))
    if match["site"]:
        filters.append(("site", match["site"]))
    return Term(match["arm"], tuple(filters))


def by_condition(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The table with each arm written as its condition: what deviates in a run follows the arm.

    The data set is a column of its own, and no part of the name. runs: a ``runs.csv``.
    """
    stored = runs["deviation"].astype(object).where(runs["deviation"].notna(), "")
    deviation = dict(zip(runs["run"], stored, strict=True))
    written = {
        run: ",".join(item for item in text.split(",") if item and not item.startswith("dataset="))
        for run, text in deviation.items()
    }
    told = table["run"].map(lambda run: f"[{written[run]}]" if written.get(run) else "")
    return table.assign(arm=table["arm"].astype(str) + told)
