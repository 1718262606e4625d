"""Everything that one pair of conditions says, before its family's adjustment and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm4seg_probe.statistics import equivalence, estimates, power, signflip
from llm4seg_probe.statistics.estimates import Estimate
from llm4seg_probe.statistics.intervals import Intervals, intervals
from llm4seg_probe.statistics.pairing import Paired
from llm4seg_probe.statistics.rules import Rules
from llm4seg_probe.statistics.scales import refuse_margin_of_another_scale
from llm4seg_probe.statistics.verdicts import Evidence, evidence

_PLANNING = (
    "smallest_detectable",
    "equivalence_power",
    "seeds_needed",
    "seeds_needed_low",
    "seeds_needed_high",
    "seeds_observed",
    "seeds_observed_low",
    "seeds_observed_high",
)


@dataclass(frozen=True)
class Assessment:
    """One comparison's numbers: ``row`` has the columns of comparison.csv that need no family."""

    pair: Paired
    rules: Rules
    estimate: Estimate
    evidence: Evidence
    row: dict[str, Any]


def assess(pairs: Sequence[Paired], rules: Rules) -> list[Assessment]:
    """Estimate, intervals, tests and power of pairs of conditions, from the same resamples.

    Raises ConfigError where the margin cannot be in the unit of the scores.
    """
    over = intervals(pairs, rules)
    return [_assessed(pair, rules, each) for pair, each in zip(pairs, over, strict=True)]


def _assessed(pair: Paired, rules: Rules, over: Intervals) -> Assessment:
    a, b = pair.values_a.mean(axis=1), pair.values_b.mean(axis=1)
    largest = float(max(np.abs(pair.values_a).max(), np.abs(pair.values_b).max()))
    refuse_margin_of_another_scale(pair.score, largest, rules.margin)
    estimate = _estimate(a, b, pair, rules)
    found = evidence(rules.kind, estimate, rules.margin, rules.lower_is_better)
    notes = list(pair.notes)
    row = {
        "dataset": pair.dataset,
        "score": pair.score,
        "a": pair.a,
        "b": pair.b,
        "n_seeds": estimate.n,
        "n_cases": pair.n_cases,
        "n_groups": pair.n_groups,
        "mean_a": a.mean(),
        "mean_b": b.mean(),
        "sd_a": _sd(a),
        "sd_b": _sd(b),
        "margin": rules.margin,
        **_tests(estimate, a, b, pair, rules, notes),
        "boot_low": over.boot[0],
        "boot_high": over.boot[1],
        "boot_coverage": over.boot_coverage,
        "case_low": over.case[0],
        "case_high": over.case[1],
        "p_equivalence": found.within_margin,
        **_planning(estimate, a, b, pair, rules),
    }
    if over.note:
        notes.append(over.note)
    if estimate.error == 0:
        notes.append("the differences do not vary between seeds: the exact test decides, t cannot")
    if estimate.n == 1:
        notes.append("one seed cannot show this")
    row["note"] = "; ".join(notes)
    return Assessment(pair, rules, estimate, found, row)


def _estimate(a: estimates.Vector, b: estimates.Vector, pair: Paired, rules: Rules) -> Estimate:
    if not pair.paired:
        return estimates.welch(a, b)
    if rules.test_share is not None:
        return estimates.resampled(a, b, rules.test_share)
    return estimates.paired(a, b)


def _tests(
    estimate: Estimate,
    a: estimates.Vector,
    b: estimates.Vector,
    pair: Paired,
    rules: Rules,
    notes: list[str],
) -> dict[str, float]:
    low, high = estimate.interval(1 - rules.alpha)
    exact = pair.paired and rules.test_share is None and estimate.n >= 2
    if not pair.paired:
        notes.append("seeds are not paired: Welch's test, and no exact one")
    if rules.test_share is not None:
        notes.append("folds share training data: the corrected resampled t-test, and no exact one")
    return {
        "difference": estimate.difference,
        "sd_difference": estimate.sd,
        "ci_low": low,
        "ci_high": high,
        "t": estimate.t,
        "df": estimate.df if estimate.n >= 2 else np.nan,
        "p_t": estimate.p,
        "p_exact": signflip.sign_flip(a - b) if exact else np.nan,
        "p_exact_floor": signflip.floor(estimate.n) if exact else np.nan,
    }


def _planning(
    estimate: Estimate, a: estimates.Vector, b: estimates.Vector, pair: Paired, rules: Rules
) -> dict[str, float]:
    """What these seeds could have shown, and how many others would take."""
    found = dict.fromkeys(_PLANNING, np.nan)
    if not estimate.has_spread:
        return found
    found["smallest_detectable"] = power.smallest_detectable(
        estimate.error, estimate.df, rules.alpha
    )
    found["equivalence_power"] = equivalence.tost_power(
        estimate.error, estimate.df, rules.margin, alpha=rules.alpha
    )
    if rules.test_share is not None:
        return found
    spread = power.paired_spread(estimate.sd) if pair.paired else power.welch_spread(_sd(a), _sd(b))
    found["seeds_needed"] = power.seeds_needed(rules.margin, spread, rules.alpha)
    found["seeds_observed"] = power.seeds_needed(estimate.difference, spread, rules.alpha)
    near, far = _ends(estimate, rules)
    found["seeds_observed_low"] = power.seeds_needed(far, spread, rules.alpha)
    found["seeds_observed_high"] = power.seeds_needed(near, spread, rules.alpha)
    if pair.paired:
        low, high = power.sd_interval(estimate.sd, estimate.n)
        for name, sd in (("seeds_needed_low", low), ("seeds_needed_high", high)):
            found[name] = power.seeds_needed(rules.margin, power.paired_spread(sd), rules.alpha)
    return found


def _ends(estimate: Estimate, rules: Rules) -> tuple[float, float]:
    """Smallest and largest effect that the interval allows; NaN for one that holds zero.

    No number of seeds is sure to find an effect that may be none.
    """
    low, high = estimate.interval(1 - rules.alpha)
    near = np.nan if low <= 0 <= high else min(abs(low), abs(high))
    return near, max(abs(low), abs(high))


def _sd(values: estimates.Vector) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan
