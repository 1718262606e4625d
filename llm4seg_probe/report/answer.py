"""The answer to the question of a study, in sentences made from its verdicts; its mechanisms."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from llm4seg_probe.report.context import DatasetContext, ReportContext
from llm4seg_probe.report.results import Results
from llm4seg_probe.report.verdicts import VERDICTS, VerdictRow, primary
from llm4seg_probe.statistics.mechanisms import Alternative, Mechanism, judge_mechanisms


def facts_of(results: Results) -> dict[str, list[str]]:
    """Data, scale and machine, each as a few short lines; what has none is left out.

    Data sets after the first take a line each, so that the verdicts stay in sight; methods.md
    describes them.
    """
    context = results.context
    first, *others = context.all_datasets
    facts = {
        "Data": [*_data(first), *(_in_a_line(data) for data in others)],
        "Scale": [
            f"size: {context.size}" if context.size else "",
            *(f"{name}: {value}" for name, value in context.scale.items()),
            f"{len(context.arms)} arms, {len(context.seeds)} seeds" if context.arms else "",
            _conditions(results),
        ],
        "Machine": [
            *(f"{name}: {value}" for name, value in context.machine.items()),
            _training_time(results),
        ],
    }
    return {name: [line for line in lines if line] for name, lines in facts.items() if any(lines)}


def _data(data: DatasetContext) -> list[str]:
    described = ": ".join(part.rstrip(".") for part in (data.name, data.description) if part)
    counted = ", ".join(f"{count} {name}" for name, count in data.counts.items())
    split = f"split: {data.split}" if data.split else ""
    licence = f"licence: {data.licence}" if data.licence else ""
    return [described, "; ".join(part for part in (counted, split, licence) if part)]


def _in_a_line(data: DatasetContext) -> str:
    names = [name for name in ("cases", "test images") if name in data.counts]
    counted = ", ".join(f"{data.counts[name]} {name}" for name in names)
    return ": ".join(part for part in (data.name, counted) if part)


def _conditions(results: Results) -> str:
    scores = results.tables.get("scores.csv")
    if scores is None:
        return ""
    count = len(scores[["dataset", "arm"]].drop_duplicates())
    return f"{count} conditions" if count > len(results.context.arms) else ""


def _training_time(results: Results) -> str:
    if not results.has("runs.csv"):
        return ""
    seconds = results.tables["runs.csv"]["wall_seconds"]
    minutes = seconds.sum() / 60
    spent = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    return f"{len(seconds)} runs, {spent} of training"


MOST_NAMED = 4
"""More claims than these are counted in the second sentence, and not named."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a sentence; ``claim`` is the id of the claim that it leads to, if any."""

    text: str
    claim: str = ""


def answer(rows: list[VerdictRow]) -> tuple[list[Piece], ...]:
    """Put the verdicts into two sentences: on the primary claim, then on the others.

    Parameters
    ----------
    rows
        The verdicts as :func:`verdicts.verdict_rows` gives them.

    Returns
    -------
    tuple of list of Piece
        The sentences in pieces; one sentence where there is one claim, none without claims.
    """
    first = primary(rows)
    if first is None:
        return ()
    others = [row for row in rows if row is not first]
    return (_primary(first), *([_others(others)] if others else []))


def plain(sentences: tuple[list[Piece], ...]) -> str:
    """The sentences as text."""
    return " ".join("".join(piece.text for piece in pieces) for pieces in sentences)


def _primary(row: VerdictRow) -> list[Piece]:
    statement = Piece(f"“{row.statement}”", row.claim)
    found = f"{row.pair} is {row.effect} in {row.score}"
    if row.verdict == "not run":
        return [Piece("The primary claim, "), statement, Piece(", was not run.")]
    needed = row.seeds.partition(", ")[2].removesuffix(" needed")
    if row.verdict == "inconclusive":
        outlook = (
            f"; to find a difference as small as the margin would take {needed} seeds per arm"
            if needed
            else ""
        )
        return [
            Piece("These runs cannot tell whether "),
            statement,
            Piece(f" holds: {found}{outlook}."),
        ]
    words = {
        "supported": "Yes, in these runs ",
        "contradicted": "No, these runs contradict ",
        "equivalent": "No difference that matters was found for ",
    }
    after = " is supported" if row.verdict == "supported" else ""
    return [Piece(words[row.verdict]), statement, Piece(f"{after}: {found} (p = {row.p}).")]


def _others(rows: list[VerdictRow]) -> list[Piece]:
    kinds = ("supported", "contradicted", "equivalent", "inconclusive", "not run")
    groups = {kind: [row for row in rows if row.verdict == kind] for kind in kinds}
    groups = {kind: found for kind, found in groups.items() if found}
    pieces = [Piece(f"Of the other {len(rows)} claims " if len(rows) > 1 else "The other claim ")]
    for index, (kind, found) in enumerate(groups.items()):
        if index:
            pieces.append(Piece(" and " if index == len(groups) - 1 else ", "))
        verb = "is" if len(found) == 1 else "are"
        pieces.append(Piece(f"{len(found)} {verb} {kind}" if len(rows) > 1 else f"is {kind}"))
        if kind in ("supported", "contradicted", "equivalent") and len(found) <= MOST_NAMED:
            pieces.append(Piece(" ("))
            for place, row in enumerate(found):
                pieces += [Piece("; ")] if place else []
                pieces.append(Piece(row.statement, row.claim))
            pieces.append(Piece(")"))
    return [*pieces, Piece(".")]


RULE = (
    "A mechanism needs all claims that it names: its own, and those of which an alternative "
    "explanation predicts that they fail. It is supported where all are; contradicted, or too "
    "small to matter, where one of them is, by a p that is multiplied by their number; else it is "
    "open. An alternative is ruled out where the claims are supported of which it predicts that "
    "they fail."
)
"""How a mechanism is judged, see :mod:`statistics.mechanisms`."""


@dataclass(frozen=True)
class Needed:
    """A claim that a mechanism needs: its id, statement, verdict, and row where it has one."""

    claim: str
    statement: str
    verdict: str
    word: str
    row: VerdictRow | None


@dataclass(frozen=True)
class ShownAlternative:
    """An alternative explanation with its claims, and whether it was ruled out."""

    stated: Alternative
    standing: str
    needs: tuple[Needed, ...]


@dataclass(frozen=True)
class ShownMechanism:
    """A mechanism with its verdict."""

    stated: Mechanism
    verdict: str
    word: str
    sentence: str
    needs: tuple[Needed, ...]
    alternatives: tuple[ShownAlternative, ...]

    @property
    def anchor(self) -> str:
        """Identifier of its part of the page."""
        return f"mechanism-{self.stated.id}"


def shown_mechanisms(
    context: ReportContext, claims: pd.DataFrame | None, rows: list[VerdictRow]
) -> list[ShownMechanism]:
    """The mechanisms in the order of the analysis; empty where it names none."""
    if claims is None:
        return []
    by_claim = {row.claim: row for row in rows}
    statements = {claim.id: claim.statement for claim in context.claims}

    def needed(names: tuple[str, ...]) -> tuple[Needed, ...]:
        found = []
        for name in names:
            row = by_claim.get(name)
            verdict = row.verdict if row else "not run"
            statement = row.statement if row else statements.get(name, name)
            word = VERDICTS.get(verdict, (verdict, ""))[0]
            found.append(Needed(name, statement, verdict, word, row))
        return tuple(found)

    return [
        ShownMechanism(
            each.mechanism,
            each.verdict,
            VERDICTS[each.verdict][0],
            each.sentence,
            needed(each.mechanism.claims),
            tuple(
                ShownAlternative(stated, standing, needed(stated.claims))
                for stated, standing in zip(each.mechanism.alternatives, each.standing, strict=True)
            ),
        )
        for each in judge_mechanisms(context.mechanisms, claims)
    ]
