"""The verdicts and comparisons as plain text for the terminal, in the words of the page."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from io import StringIO

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from llm4seg_probe.drawing import labels
from llm4seg_probe.report.page_tables import table_of
from llm4seg_probe.report.verdicts import VERDICTS, verdict_rows

_BESIDE, _SEEDS = 65, 13
"""Columns that the table of verdicts takes beside its first one, and that its last one takes."""


def verdict_text(claims: pd.DataFrame, width: int | None = None) -> str:
    """The verdicts of ``claims.csv`` as a table, each with its sentence below.

    Comparisons of long conditions would be broken within words: they stand with the sentences.
    width: columns of the terminal; that of the real one unless given, at least 80.
    """
    rows = verdict_rows(claims)
    parts = [row.comparison.replace(" and ", "\nand ") for row in rows]
    longest = max((len(line) for part in parts for line in part.splitlines()), default=0)
    room = _columns(width) - _BESIDE
    fits = longest <= room
    table = _table(("Claim", "Verdict", "Effect, 95 % interval", "p, adj.", "Seeds"))
    for row, comparison in zip(rows, parts, strict=True):
        effect = "\n".join(part for part in (row.effect, row.margin) if part)
        run, comma, needed = row.seeds.partition(", ")
        seeds = f"{run},\n{_filled(needed, _SEEDS)}" if comma else run
        claim = _filled(row.claim, room) + (f"\n{comparison}" if fits else "")
        table.add_row(claim, row.word, effect, row.p, seeds)
        table.add_section()
    sentences = [
        f"{row.claim} (“{row.statement}”{'' if fits else f': {row.comparison}'}): {row.sentence}"
        for row in rows
    ]
    return "\n".join([_printed(table, width), "", *sentences])


def comparison_text(comparison: pd.DataFrame, width: int | None = None) -> str:
    """The main columns of ``comparison.csv`` as one table per data set and measure.

    Below them the least p that the exact test can give, and the rows' sentences, if any.
    """
    parts = []
    tables = comparison.apply(table_of, axis=1)
    for (dataset, score, of), rows in comparison.groupby(["dataset", "score", tables], sort=False):
        name = labels.measure(str(score), str(of)).name
        parts += [f"{name} on {dataset}" if dataset else name, _compared(rows, width)]
    for n_seeds, floor in sorted(set(zip(*_floors(comparison), strict=True))):
        parts.append(f"With {n_seeds} seeds the exact test cannot give less than p = {floor:.4g}.")
    sentences = comparison["sentence"].tolist() if "sentence" in comparison.columns else []
    if comparison["dataset"].nunique() > 1:
        places = zip(comparison["dataset"], sentences, strict=False)
        sentences = [f"On {dataset}: {sentence}" for dataset, sentence in places]
    return "\n".join([*parts, *map(str, sentences)])


def _compared(rows: pd.DataFrame, width: int | None) -> str:
    table = _table(("a − b", "Effect, 95 % interval", "p, adj.", "p, exact", "Verdict"))
    for _, row in rows.iterrows():
        table.add_row(
            f"{row['a']}\n− {row['b']}",
            labels.effect(row["difference"], row["ci_low"], row["ci_high"]),
            labels.p_value(row["p_adjusted"]),
            labels.p_value(row["p_exact"]),
            VERDICTS.get(row["verdict"], (row["verdict"],))[0],
        )
    return _printed(table, width)


def _floors(comparison: pd.DataFrame) -> tuple[list[int], list[float]]:
    known = comparison.dropna(subset=["p_exact_floor", "n_seeds"])
    return known["n_seeds"].tolist(), known["p_exact_floor"].tolist()


def _table(titles: Sequence[str]) -> Table:
    """Only the first column may be broken into lines where the terminal is narrow."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, title in enumerate(titles):
        table.add_column(title, no_wrap=place > 0, overflow="fold")
    return table


def _printed(table: Table, width: int | None) -> str:
    stream = StringIO()
    console = Console(
        file=stream, width=_columns(width), markup=False, highlight=False, no_color=True
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()).strip("\n")


def _columns(width: int | None) -> int:
    return width or max(80, shutil.get_terminal_size().columns)


def _filled(text: str, room: int) -> str:
    """Text on lines of at most ``room`` characters, broken at spaces and behind hyphens."""
    return textwrap.fill(text, room, break_long_words=False)
