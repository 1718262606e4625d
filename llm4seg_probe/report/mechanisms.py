"""The mechanisms of an analysis as the page shows them: what each needs, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from llm4seg_probe.report.context import ReportContext
from llm4seg_probe.report.verdicts import VERDICTS, VerdictRow
from llm4seg_probe.statistics.mechanisms import Alternative, Mechanism, judge_mechanisms

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
