"""Verdicts on a mechanism from several claims, and on other explanations of the same gain.

A mechanism needs all of its claims: those of what it says, and those that an alternative
explanation predicts to fail. In this order: one of them contradicted, ``contradicted``; one whose
difference is smaller than its margin, ``equivalent``; all supported, ``supported``; none run,
``not run``; else ``inconclusive``. Of n claims each had a chance to count against it: for the first
two the p of that claim is multiplied by n. That all hold needs no such factor: it is as sure as the
least sure of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from pydantic import Field

from llm4seg_probe.config import Section
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.statistics.verdicts import Verdict

Standing = Literal["ruled out", "stands", "open"]
ClaimIds = tuple[str, ...]


class Alternative(Section):
    """Another explanation, and the claims that would fail if it were enough."""

    explanation: str = Field(min_length=1, description="in a few words, such as 'any layer'")
    predicts: str = Field(min_length=1, description="what would be seen if it were enough")
    claims: ClaimIds = Field(
        min_length=1, description="ids of the claims of which it predicts that they fail"
    )


class Mechanism(Section):
    """Why the layer is said to help: what would have to be true, and what else might explain it."""

    id: str = Field(min_length=1, pattern=r"^[a-z0-9-]+$", description="short name")
    title: str = Field(min_length=1)
    would_be_true: str = Field(min_length=1, description="what would have to be true, in words")
    claims: ClaimIds = Field(min_length=1, description="ids of the claims that state it")
    alternatives: tuple[Alternative, ...] = ()

    @property
    def needs(self) -> ClaimIds:
        """Every claim that it needs, its own first, each once."""
        others = (claim for one in self.alternatives for claim in one.claims)
        return tuple(dict.fromkeys((*self.claims, *others)))


def refuse_unknown_claims(mechanisms: Iterable[Mechanism], claims: Iterable[str]) -> None:
    """Raise ConfigError for a claim that is not there, and for two mechanisms of one id."""
    known, ids = list(claims), set()
    for mechanism in mechanisms:
        if mechanism.id in ids:
            raise ConfigError(f"mechanisms: two have the id '{mechanism.id}'")
        ids.add(mechanism.id)
        for name in mechanism.needs:
            if name not in known:
                raise ConfigError(f"mechanism '{mechanism.id}': {unknown('claim', name, known)}")


@dataclass(frozen=True)
class JudgedMechanism:
    """A mechanism with its verdict, the standing of its alternatives, and a sentence."""

    mechanism: Mechanism
    verdict: Verdict
    standing: tuple[Standing, ...]
    sentence: str


def judge_mechanisms(
    mechanisms: Sequence[Mechanism], claims: pd.DataFrame, alpha: float = 0.05
) -> list[JudgedMechanism]:
    """Judge mechanisms by the verdicts in ``claims.csv``; a claim without a row was not run."""
    rows = {str(row["claim"]): row for _, row in claims.iterrows()}
    return [_judged(mechanism, rows, alpha) for mechanism in mechanisms]


def _judged(mechanism: Mechanism, rows: Mapping[str, pd.Series], alpha: float) -> JudgedMechanism:
    verdicts = {name: _verdict(rows, name) for name in mechanism.needs}
    count = len(verdicts)
    against = [
        name for name, verdict in verdicts.items()
        if verdict == "contradicted" and _sure(rows[name], "p_adjusted", count, alpha)
    ]  # fmt: skip
    small = [
        name for name, verdict in verdicts.items()
        if verdict == "equivalent" and _sure(rows[name], "p_equivalence", count, alpha)
    ]  # fmt: skip
    held = [name for name, verdict in verdicts.items() if verdict == "supported"]
    found: Verdict
    if against:
        found = "contradicted"
    elif small:
        found = "equivalent"
    elif len(held) == count:
        found = "supported"
    else:
        found = "not run" if set(verdicts.values()) == {"not run"} else "inconclusive"
    standing = tuple(_standing(one, verdicts) for one in mechanism.alternatives)
    return JudgedMechanism(
        mechanism, found, standing, _sentence(mechanism, found, verdicts, standing, against, small)
    )


def _verdict(rows: Mapping[str, pd.Series], name: str) -> str:
    return str(rows[name]["verdict"]) if name in rows else "not run"


def _sure(row: pd.Series, column: str, count: int, alpha: float) -> bool:
    """Whether p stays below alpha where each of so many claims had the chance."""
    return bool(count * row.get(column, float("nan")) < alpha)


def _standing(alternative: Alternative, verdicts: Mapping[str, str]) -> Standing:
    found = {verdicts[name] for name in alternative.claims}
    if found == {"supported"}:
        return "ruled out"
    return "stands" if found & {"contradicted", "equivalent"} else "open"


_HEADS = {
    "ruled out": "Ruled out as the whole explanation",
    "stands": "Not ruled out, and enough by these runs",
    "open": "Neither ruled out nor found enough",
}


def _sentence(
    mechanism: Mechanism,
    found: Verdict,
    verdicts: Mapping[str, str],
    standing: Sequence[Standing],
    against: Sequence[str],
    small: Sequence[str],
) -> str:
    count = len(verdicts)
    groups = {
        word: [name for name, verdict in verdicts.items() if verdict == word]
        for word in ("supported", "contradicted", "equivalent", "inconclusive", "not run")
    }
    told = ", ".join(f"{len(names)} {word}" for word, names in groups.items() if names)
    why = {
        "contradicted": f": {', '.join(against)} came out the other way",
        "equivalent": f": in {', '.join(small)} there is no difference that matters",
    }.get(found, "")
    parts = [f"{found.capitalize()}{why}. Of the {count} claims that it needs: {told}."]
    for word in ("ruled out", "stands", "open"):
        named = [
            alternative.explanation
            for alternative, how in zip(mechanism.alternatives, standing, strict=True)
            if how == word
        ]
        if named:
            parts.append(f"{_HEADS[word]}: {', '.join(named)}.")
    return " ".join(parts)
