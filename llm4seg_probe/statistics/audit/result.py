"""The result of an audit: the design that was found, what is doubtful, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.roles import Match


@dataclass(frozen=True)
class Design:
    """How the results were made, as far as the table shows it.

    paired_by: what the runs of two arms share (``seed``, ``fold``, ``case``); empty for none.
    mixed: whether some arms share their seeds and others do not.
    seeds: of the arm that has most. cases, groups: None where the table does not tell.
    """

    kind: Literal["per case", "per seed", "per fold", "means"]
    paired_by: tuple[str, ...]
    arms: int
    seeds: int
    cases: int | None
    groups: int | None
    datasets: int
    comparisons: int
    mixed: bool = False

    @property
    def sentence(self) -> str:
        """The design in one sentence."""
        runs = {"per fold": "fold", "means": "run"}.get(self.kind, "seed")
        parts = [f"{self.arms} arms", f"{self.seeds} {runs}{'s' if self.seeds != 1 else ''}"]
        if self.cases is not None:
            parts.append(f"{self.cases} cases")
        if self.groups is not None:
            parts.append(f"{self.groups} patients")
        if self.datasets > 1:
            parts.append(f"{self.datasets} data sets")
        pairing = f"paired by {' and '.join(self.paired_by)}" if self.paired_by else "not paired"
        if self.mixed:
            pairing += ", the arms that share seeds; the others are not"
        if self.kind == "means":
            pairing = "only means and SDs, so the pairing is unknown"
        made = "Printed means" if self.kind == "means" else f"Results {self.kind}"
        return f"{made}: {', '.join(parts)}; {pairing}."


@dataclass(frozen=True)
class Test:
    """A test, whether the design allows it, and why (not)."""

    __test__ = False  # not one of pytest's

    name: str
    allowed: bool
    why: str


@dataclass(frozen=True)
class Audit:
    """Everything that an audit found.

    matches: what each column was taken for. comparison: comparison.csv, with a sentence per row
    for one's paper or review; for means, columns of their own (:mod:`audit.means`); empty where
    the table allows none. curves: for means, p by correlation; else empty.
    """

    design: Design
    score: str
    baseline: str
    margin: float | None
    matches: tuple[Match, ...]
    findings: tuple[Finding, ...]
    tests: tuple[Test, ...]
    comparison: pd.DataFrame
    curves: pd.DataFrame

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdicts in words."""
        if self.comparison.empty:
            return ()
        return tuple(
            f"On {dataset}: {sentence}" if dataset else sentence
            for dataset, sentence in zip(
                self.comparison["dataset"], self.comparison["sentence"], strict=True
            )
        )
