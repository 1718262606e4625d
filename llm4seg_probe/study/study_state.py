"""Memory of a study with looks: its rule, its last look, its seeds, its budget."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import storage
from llm4seg_probe.arms import Term, parse_condition
from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.rows import as_text, matching
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.runs import settings


def needed(configs: Sequence[Config], base: Config, claims: Sequence[Claim]) -> list[bool]:
    """Whether any of the claims is about each run; configs: all of the analysis."""
    table = settings(configs, base)
    wanted = pd.Series(False, index=table.index)
    for claim in claims:
        for term in terms_of(claim):
            wanted |= runs_of(table, term, claim)
    return wanted.tolist()


def terms_of(claim: Claim) -> list[Term]:
    """Every condition that a claim's comparisons name, once."""
    texts = [text for pair in claim.comparisons for text in (pair.a, pair.b)]
    return list(dict.fromkeys(term for text in texts for _, term in parse_condition(text).terms))


def runs_of(table: pd.DataFrame, term: Term, claim: Claim) -> pd.Series[bool]:
    """Rows of :func:`settings` that a condition selects; filters within a run select none."""
    fits = matching(table["arm"], term.arm)
    named = {**claim.where, **dict(term.filters)}
    for column, value in named.items():
        if column in table.columns:
            fits &= matching(table[column], value)
    deviating = as_text(table["deviation"])
    allowed = [
        {item.partition("=")[0] for item in text.split(",") if item} <= set(named)
        for text in deviating
    ]
    return fits & pd.Series(allowed, index=table.index)


NAME = "until-decided.json"


@dataclass(frozen=True)
class Budget:
    """What a study may cost. max_seeds: of each arm; hours: of runs, added up over workers."""

    max_seeds: int | None = None
    hours: float | None = None

    def __post_init__(self) -> None:
        if self.max_seeds is not None and self.max_seeds < 1:
            raise ConfigError(f"--max-seeds {self.max_seeds} leaves nothing to run")
        if self.hours is not None and not self.hours > 0:
            raise ConfigError(f"--hours {self.hours:g} leaves no time to run anything")


@dataclass
class State:
    """What a study must remember: its rule, the last look judged, and what came before it.

    look: from 1, 0 before the first. first_seed: the one that its seeds begin with. earlier: one
    entry per rule given up, with the look and the seeds that had been seen under it.
    """

    rule: dict[str, Any]
    look: int = 0
    first_seed: int | None = None
    earlier: list[dict[str, Any]] = field(default_factory=list)

    def write(self, out: Path) -> None:
        """Write it beside the results."""
        storage.write_json(out / NAME, vars(self))


def with_seeds(analysis: Analysis, seeds: Sequence[int]) -> Analysis:
    """The analysis with other seeds in its first grid, and in all that name none."""
    return analysis.model_copy(update={"factors": {**analysis.factors, "seed": tuple(seeds)}})


def seeds_of(analysis: Analysis, state: State, count: int) -> list[int]:
    """The first seeds of a study: those that the analysis names, then the numbers after them."""
    if state.first_seed is not None:
        return list(range(state.first_seed, state.first_seed + count))
    named = sorted({int(seed) for seed in analysis.factors.get("seed", (0,))})
    return [*named, *range(named[-1] + 1, named[-1] + 1 + max(0, count - len(named)))][:count]


def stored_state(analysis: Analysis, claims: Sequence[Claim], out: Path, new_study: bool) -> State:
    """The study's state; begun, or begun afresh where that is asked for."""
    rule = _rule(analysis, claims)
    path = out / NAME
    if not path.is_file():
        state = State(rule)
        state.write(out)
        return state
    try:
        state = State(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no state of a study ({error})") from error
    if new_study and state.look:
        looks = state.rule["looks"]
        used = seeds_of(with_seeds(analysis, state.rule["seeds"]), state, looks[state.look - 1])
        seen = {
            "look": state.look, "seeds": looks[state.look - 1], "looks": looks,
            "spending": state.rule["spending"],
        }  # fmt: skip
        state = State(rule, 0, max(used) + 1, [*state.earlier, seen])
    elif state.look == 0:
        state.rule = rule
    changed = [name for name in rule if state.rule.get(name) != rule[name]]
    if changed:
        raise ConfigError(
            f"{path}: look {state.look} was seen under another rule ({', '.join(changed)} "
            "changed). A rule holds from the first look on: take the change back, or add "
            "--new-study, which starts afresh with seeds that nobody has seen"
        )
    state.write(out)
    return state


def _rule(analysis: Analysis, claims: Sequence[Claim]) -> dict[str, Any]:
    """What must not change once a look was seen; plain values. A budget may."""
    assert analysis.decide is not None
    factors = {name: levels for name, levels in analysis.factors.items() if name != "seed"}
    made = json.dumps([analysis.base, factors, analysis.further], sort_keys=True, default=str)
    named = [int(seed) for seed in analysis.factors.get("seed", (0,))]
    said = {"statement", "in_advance"}
    return {
        "looks": list(analysis.decide.looks),
        "spending": analysis.decide.spending,
        "claims": [claim.model_dump(mode="json", exclude=said) for claim in claims],
        "runs": hashlib.sha256(made.encode()).hexdigest()[:16],
        "seeds": sorted(named),
    }
