"""Remarks beside the verdicts of a comparison: its direction, baseline, margin, absent classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.score_names import direction
from llm4seg_probe.statistics.averages import ABSENT, Absent, lacks_rows
from llm4seg_probe.statistics.compare import Question
from llm4seg_probe.statistics.findings import Finding, wide_margin
from llm4seg_probe.statistics.fold_means import fold_shares
from llm4seg_probe.statistics.pairs import chosen_baseline, pairs_in
from llm4seg_probe.statistics.reader import Reading
from llm4seg_probe.statistics.units import hundredfold
from llm4seg_probe.statistics.verdict_sentences import closed_looks


def remarks(reading: Reading, question: Question) -> list[Finding]:
    """What a reader of the verdicts must know: the direction, the margin, absent classes."""
    told = []
    way = direction(reading.score, question.lower_is_better)
    better = "lower" if way.lower_is_better else "higher"
    if way.how == "guess":
        other = "higher" if way.lower_is_better else "lower"
        told.append(
            Finding(
                "doubt",
                f"a {better} {reading.score} is taken to be better: --{other}-is-better if not",
            )
        )
    else:
        how = {"stated": "as stated", "name": "by its name"}[way.how]
        told.append(Finding("note", f"a {better} {reading.score} is better, {how}"))
    wanted = question.wanted
    if wanted.pairs is None and wanted.baseline is None and "cnn" not in reading.arms:
        told.append(Finding("note", chosen_baseline(reading.arms, None)[1]))
    margin = question.rules(reading).margin
    if margin is not None and question.margin is None:
        told.append(
            Finding("note", f"a difference of {margin:g} is taken to matter, by default: --margin")
        )
    medians = reading.table.groupby(reading.columns.arm)[reading.score].median()
    if apart := hundredfold(reading.score, medians):
        told.append(Finding("doubt", apart))
    told += wide_margin(margin, reading.score, reading.largest)
    if margin is None:
        told.append(
            Finding(
                "note",
                f"{reading.score} is not known to be a fraction and no margin was named "
                "(--margin): nothing is said about equivalence",
            )
        )
    if reading.fold is not None and question.test_share is None:
        shares = fold_shares(reading.table, reading.columns, reading.fold)
        several = len({share.told for share in shares.values()}) > 1
        for name, share in shares.items():
            words = f"{name}: {share.told}" if several else share.told
            told.append(Finding("doubt" if share.doubtful else "note", words))
    if question.design is not None and (closed := closed_looks(question.design)):
        told.append(Finding("note", closed))
    return told + _absent_classes(reading, question)


def _absent_classes(reading: Reading, question: Question) -> list[Finding]:
    """Where cases lack a class, the difference under each way to average, which may differ."""
    table, over = reading.table, reading.average_over
    filled = bool(over) and bool(table[reading.score].notna().all())
    if not over or (filled and not lacks_rows(table, reading.columns, over)):
        return []
    seen: dict[Absent, float] = {}
    lenient = replace(question.wanted, drop_unpaired=True)
    for absent in ABSENT:
        try:
            first = pairs_in(replace(reading, absent=absent), lenient)[0]
        except TableError:
            continue
        seen[absent] = float(
            np.mean(first.values_a.mean(axis=1)) - np.mean(first.values_b.mean(axis=1))
        )
    if len({f"{value:.6g}" for value in seen.values()}) < 2:
        return []
    ways = "; ".join(
        f"{value:+.3g} with --absent {absent} ({ABSENT[absent]})" for absent, value in seen.items()
    )
    return [
        Finding(
            "note" if reading.absent_asked else "doubt",
            f"some cases lack a value of {', '.join(reading.average_over)}, and how they count "
            f"changes the answer. {first.a} against {first.b}: {ways}. Here: {reading.absent}",
        )
    ]


_DOUBTFUL = ("far from the others", "left out", "in some runs only", "is taken to divide")
"""What makes a note of a comparison a doubt."""


def notes_of(rows: pd.DataFrame) -> list[Finding]:
    """The notes of the comparisons, each once, with its pair where there are several."""
    told: dict[str, list[str]] = {}
    for _, row in rows.iterrows():
        place = f" on {row['dataset']}" if row["dataset"] else ""
        for note in filter(None, str(row["note"]).split("; ")):
            told.setdefault(note, []).append(f"{row['a']} against {row['b']}{place}")
    return [
        Finding(
            "doubt" if any(sign in note for sign in _DOUBTFUL) else "note",
            note if len(pairs) == len(rows) else f"{', '.join(pairs[:4])}: {note}",
        )
        for note, pairs in told.items()
    ]
