"""Assess pairs of conditions: estimate, tests, intervals and power, before family and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any

import numpy as np
from scipy.special import stdtr

from llm4seg_probe.statistics import bootstrap, exact_tests, paired_tests, power
from llm4seg_probe.statistics.bootstrap import FEWEST_GROUPS, Totals
from llm4seg_probe.statistics.kinds import Evidence
from llm4seg_probe.statistics.paired_tests import Estimate, Vector
from llm4seg_probe.statistics.pairs import Paired
from llm4seg_probe.statistics.units import refuse_margin_of_another_scale
from llm4seg_probe.statistics.verdicts import Rules, evidence

OUTLYING = 0.001
"""A seed that the others make less likely than this is named."""

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
    own = [_rules_of(pair, rules) for pair in pairs]
    over = intervals(pairs, own[0] if own else rules)
    return [_assessed(*each) for each in zip(pairs, own, over, strict=True)]


def _rules_of(pair: Paired, rules: Rules) -> Rules:
    """The rules with the pair's own test share, where its runs are folds and none was named."""
    if rules.test_share is not None or pair.test_share is None:
        return rules
    return replace(rules, test_share=pair.test_share)


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
        "margin": np.nan if rules.margin is None else rules.margin,
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
        notes.append(_without_spread(pair, rules))
    if estimate.n == 1:
        notes.append("one seed cannot show this")
    if pair.paired:
        notes += _outlying(a - b, pair)
    row["note"] = "; ".join(notes)
    return Assessment(pair, rules, estimate, found, row)


def _estimate(a: Vector, b: Vector, pair: Paired, rules: Rules) -> Estimate:
    if not pair.paired:
        return paired_tests.welch(a, b)
    if rules.test_share is not None:
        return paired_tests.resampled(a, b, rules.test_share)
    return paired_tests.paired(a, b)


def _tests(
    estimate: Estimate,
    a: Vector,
    b: Vector,
    pair: Paired,
    rules: Rules,
    notes: list[str],
) -> dict[str, float]:
    low, high = estimate.interval(1 - rules.alpha)
    exact, floor = np.nan, np.nan
    if not pair.paired:
        notes.append(f"seeds are not paired: Welch's test over {len(a)} and {len(b)} runs")
        if estimate.n >= 2:
            exact = exact_tests.permutation(a, b)
            floor = exact_tests.permutation_floor(len(a), len(b))
    elif rules.test_share is None and estimate.n >= 2:
        exact, floor = exact_tests.sign_flip(a - b), exact_tests.floor(estimate.n)
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
        "p_exact": exact,
        "p_exact_floor": floor if exact == exact else np.nan,
    }


def _without_spread(pair: Paired, rules: Rules) -> str:
    if rules.test_share is not None:
        return "the differences do not vary between folds: there is no test of that"
    if not pair.paired:
        return "the runs of an arm do not vary: the exact test decides, t cannot"
    return "the differences do not vary between seeds: the exact test decides, t cannot"


def _outlying(differences: Vector, pair: Paired) -> list[str]:
    """A note on the seed whose difference the others make very unlikely, such as a collapsed run.

    By the externally studentised residual, adjusted for the number of seeds.
    """
    n = len(differences)
    if n < 4 or len(pair.seeds) != n:
        return []
    furthest = int(np.abs(differences - np.median(differences)).argmax())
    rest = np.delete(differences, furthest)
    distance = abs(differences[furthest] - rest.mean())
    error = rest.std(ddof=1) * np.sqrt(1 + 1 / (n - 1))
    # Below this the others agree up to rounding, and so would the one.
    rounding = max(
        1e-9 * float(np.abs(differences).max()), 2 * paired_tests.last_digit(differences)
    )
    if distance <= rounding:
        return []
    p = 0.0 if error == 0 else 2 * n * float(stdtr(n - 2, -distance / error))
    if p >= OUTLYING:
        return []
    return [
        f"seed {pair.seeds[furthest]} ({differences[furthest]:+.3g}) lies far from the others: "
        f"without it {rest.mean():+.3g}, and the median of all is {np.median(differences):+.3g}"
    ]


def _planning(
    estimate: Estimate, a: Vector, b: Vector, pair: Paired, rules: Rules
) -> dict[str, float]:
    """What these seeds could have shown, and how many others would take."""
    found = dict.fromkeys(_PLANNING, np.nan)
    if not estimate.has_spread:
        return found
    found["smallest_detectable"] = power.smallest_detectable(
        estimate.error, estimate.df, rules.alpha
    )
    margin = rules.margin
    if margin is not None:
        found["equivalence_power"] = paired_tests.tost_power(
            estimate.error, estimate.df, margin, alpha=rules.alpha
        )
    if rules.test_share is not None:
        return found
    spread = power.paired_spread(estimate.sd) if pair.paired else power.welch_spread(_sd(a), _sd(b))
    if margin is not None:
        found["seeds_needed"] = power.seeds_needed(margin, spread, rules.alpha)
    found["seeds_observed"] = power.seeds_needed(estimate.difference, spread, rules.alpha)
    near, far = _ends(estimate, rules)
    found["seeds_observed_low"] = power.seeds_needed(far, spread, rules.alpha)
    found["seeds_observed_high"] = power.seeds_needed(near, spread, rules.alpha)
    if pair.paired and margin is not None:
        low, high = power.sd_interval(estimate.sd, estimate.n)
        for name, sd in (("seeds_needed_low", low), ("seeds_needed_high", high)):
            found[name] = power.seeds_needed(margin, power.paired_spread(sd), rules.alpha)
    return found


def _ends(estimate: Estimate, rules: Rules) -> tuple[float, float]:
    """Smallest and largest effect that the interval allows; NaN for one that holds zero.

    No number of seeds is sure to find an effect that may be none.
    """
    low, high = estimate.interval(1 - rules.alpha)
    near = np.nan if low <= 0 <= high else min(abs(low), abs(high))
    return near, max(abs(low), abs(high))


def _sd(values: Vector) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan


EMPTY = (nan, nan)


@dataclass(frozen=True)
class Intervals:
    """boot: over seeds and groups. case: over groups, the runs as they are. note: what is not.

    boot_coverage: how often such an interval held the truth in simulation; NaN where that was not
    measured (other levels than 95 %, fewer than ten groups).
    """

    boot: tuple[float, float] = EMPTY
    boot_coverage: float = nan
    case: tuple[float, float] = EMPTY
    note: str = ""


def intervals(pairs: Sequence[Paired], rules: Rules) -> list[Intervals]:
    """The intervals of each pair; pairs on the same seeds and cases share their resamples.

    Empty without resamples, for seeds that are not paired, and for folds, which are no sample.
    """
    if rules.bootstrap == 0 or rules.test_share is not None:
        return [Intervals()] * len(pairs)
    data = {index: _totals(pair) for index, pair in enumerate(pairs) if pair.paired}
    alike: dict[tuple[int, bytes], list[int]] = {}
    for index, each in data.items():
        alike.setdefault((len(each.sums), each.sizes.tobytes()), []).append(index)
    each_pair = [Intervals()] * len(pairs)
    for members in alike.values():
        resampled = bootstrap.resample(
            [data[index] for index in members], rules.bootstrap, rules.bootstrap_seed
        )
        for index, means in zip(members, resampled, strict=True):
            each_pair[index] = _resampled(pairs[index], data[index], *means, 1 - rules.alpha)
    return each_pair


def _totals(pair: Paired) -> Totals:
    groups = pair.groups if pair.groups is not None else np.zeros(1, np.int64)
    return bootstrap.totals(pair.values_a - pair.values_b, groups)


def _resampled(
    pair: Paired, data: Totals, both: bootstrap.Matrix, groups: bootstrap.Matrix, level: float
) -> Intervals:
    n_seeds, n_groups = data.sums.shape
    has_cases = pair.groups is not None
    boot, covered = EMPTY, nan
    if n_seeds >= 2 and (n_groups >= 2 or not has_cases):
        boot = bootstrap.interval(both, data.df, level)
        if level == 0.95 and (n_groups >= FEWEST_GROUPS or not has_cases):
            covered = bootstrap.coverage(n_seeds, has_cases)
    if not has_cases:
        note = "no cases in the table: boot_* resamples seeds alone"
        return Intervals(boot, covered, note=note)
    if n_groups < FEWEST_GROUPS:
        few = f"{n_groups} groups are too few for an interval over patients"
        return Intervals(boot, covered, note=f"{few} (at least {FEWEST_GROUPS})")
    return Intervals(boot, covered, bootstrap.interval(groups, n_groups - 1, level))
