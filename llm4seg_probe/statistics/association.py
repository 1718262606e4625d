"""Judge claims that two measurements of a run rise together, within arms.

Correlated are means of runs (:mod:`correlation`). Verdicts as for a comparison, with r in the place
of the difference: ``supported`` where it is above zero, ``contradicted`` where below,
``equivalent`` where it is surely smaller than the margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.arms import parse_condition
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes import registry
from llm4seg_probe.statistics.claims import FROM_COMPARISON, Association, Measurement
from llm4seg_probe.statistics.conditions import NotThere, run_means
from llm4seg_probe.statistics.correlation import (
    FEWEST_DF,
    Correlation,
    fitted,
    repeated_measures,
)
from llm4seg_probe.statistics.multiplicity import Adjust
from llm4seg_probe.statistics.verdict_sentences import association_sentence
from llm4seg_probe.statistics.verdicts import verdict


@dataclass(frozen=True)
class JudgedAssociation:
    """A claim of an association, its points, and why it could not be run, if so.

    points: columns ``dataset, arm, seed, x, y``, one row per run.
    """

    claim: Association
    points: pd.DataFrame
    correlation: Correlation | None
    alpha: float
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def p(self) -> float:
        """Two-sided p of no correlation; NaN where the claim was not run."""
        return nan if self.reason or self.correlation is None else self.correlation.p

    @property
    def within(self) -> float:
        """p of a correlation smaller than the margin; NaN where the claim was not run."""
        if self.reason or self.correlation is None:
            return nan
        return self.correlation.within(self.claim.margin)

    def comparison_rows(self, adjust: Adjust) -> list[dict[str, Any]]:
        """None: nothing was compared."""
        return []

    def claim_row(self, adjust: Adjust) -> dict[str, Any]:
        """Row of claims.csv; ``difference`` is r, and the margin a correlation."""
        claim = self.claim
        seeds = self.points.groupby("arm").size()
        return {
            "claim": claim.id,
            "statement": claim.statement,
            "measure": claim.measure,
            "comparison": claim.comparison,
            **dict.fromkeys(FROM_COMPARISON),
            "n_seeds": int(seeds.min()) if len(seeds) else None,
            "lower_is_better": False,
            "decided_by": "",
            **(self._not_run() if self.reason else self._decided(adjust)),
            "note": "; ".join(self.notes),
            "margin": claim.margin,
            "kind": claim.kind,
            "family": claim.family or claim.id,
            "in_advance": claim.in_advance,
            "reason": self.reason,
        }

    def _decided(self, adjust: Adjust) -> dict[str, Any]:
        found, margin = self.correlation, self.claim.margin
        assert found is not None
        adjusted, within = adjust.p(found.p), adjust.within(found.within(margin))
        supports, opposes = (adjusted, 1.0) if found.r > 0 else (1.0, adjusted)
        low, high = found.interval(1 - self.alpha)
        row = {
            "difference": found.r,
            "ci_low": low,
            "ci_high": high,
            "p_equivalence": found.within(margin),
            "smallest_detectable": found.smallest_detectable(self.alpha),
            "seeds_needed": found.per_group_needed(margin, self.alpha),
            "p_adjusted": adjusted,
            "verdict": verdict(found.n, supports, opposes, within, self.alpha),
        }
        names = (self.claim.x.score, self.claim.y.score)
        return {**row, "sentence": association_sentence(row, names, found, margin, self.alpha)}

    def _not_run(self) -> dict[str, Any]:
        return {"p_adjusted": nan, "verdict": "not run", "sentence": f"Not run: {self.reason}."}


def judged(
    claim: Association, found: Mapping[str, pd.DataFrame], alpha: float
) -> JudgedAssociation:
    """Correlate what a claim names; what cannot be made leaves its reason.

    found: tables as :func:`claims.ready` gives them. Raises ConfigError for a filter that fits
    nothing, TableError for runs that have one measurement and not the other.
    """
    try:
        points = _points(claim, found)
    except NotThere as reason:
        return JudgedAssociation(claim, _NO_POINTS, None, alpha, reason=str(reason))
    correlation = repeated_measures(*_arrays(points))
    few = f"{len(points)} runs of {correlation.groups} arms cannot show a correlation within arms"
    if correlation.df < FEWEST_DF:
        return JudgedAssociation(claim, points, None, alpha, reason=few)
    if np.isnan(correlation.r):
        flat = f"within no arm do {claim.x.score} and {claim.y.score} both vary"
        return JudgedAssociation(claim, points, None, alpha, reason=flat)
    notes = [f"df = {correlation.df}, {correlation.n} runs"]
    if not np.isnan(correlation.across):
        notes.append(f"r across the {correlation.groups} arm means: {correlation.across:+.2f}")
    return JudgedAssociation(claim, points, correlation, alpha, tuple(notes))


def association_table(
    claims: Sequence[Any], found: Mapping[str, pd.DataFrame], alpha: float = 0.05
) -> pd.DataFrame:
    """``association.csv``: the runs behind each association that is claimed, and its line.

    Columns ``claim, dataset, arm, seed, x, y, fitted, x_score, y_score``; ``fitted`` is y on the
    line of the one slope through the arm's mean. Claims that were not run have no rows. found: see
    :func:`claims.ready`.
    """
    parts = []
    for claim in claims:
        if not isinstance(claim, Association):
            continue
        one = judged(claim, found, alpha)
        if one.correlation is None:
            continue
        line = fitted(*_arrays(one.points), one.correlation.slope)
        parts.append(
            one.points.assign(
                claim=claim.id, fitted=line, x_score=claim.x.score, y_score=claim.y.score
            )
        )
    empty = pd.DataFrame(columns=list(tables.ASSOCIATION.columns))
    return tables.conform(pd.concat(parts) if parts else empty, tables.ASSOCIATION)


_NO_POINTS = pd.DataFrame({"dataset": [], "arm": [], "seed": [], "x": [], "y": []})


def _points(claim: Association, found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per run, the arms in the claim's order. Raises NotThere, ConfigError, TableError."""
    parts = []
    for arm in claim.arms:
        x, y = (_of_runs(arm, measurement, found) for measurement in (claim.x, claim.y))
        both = pd.concat([x, y], axis=1, keys=["x", "y"])
        alone = both.index[both.isna().any(axis=1)]
        if len(alone):
            raise TableError(
                f"{arm}: seeds {', '.join(map(str, alone))} have only one of {claim.x.score} and "
                f"{claim.y.score}"
            )
        parts.append(
            pd.DataFrame(
                {
                    "dataset": x.name, "arm": arm, "seed": both.index,
                    "x": both["x"].to_numpy(), "y": both["y"].to_numpy(),
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _of_runs(
    arm: str, measurement: Measurement, found: Mapping[str, pd.DataFrame]
) -> pd.Series[float]:
    table = found.get(measurement.table)
    if table is None or table.empty:
        raise NotThere(f"there is no {measurement.table}.csv")
    (_, term), *_ = parse_condition(arm).terms
    return run_means(
        table, measurement.score, term, measurement.where, measurement.average_over,
        usual=registry.usual(measurement.table),
    )  # fmt: skip


def _arrays(points: pd.DataFrame) -> tuple[Any, Any, Any]:
    group = pd.factorize(points["arm"])[0].astype(np.int64)
    return points["x"].to_numpy(np.float64), points["y"].to_numpy(np.float64), group
