"""Audit of a table as papers print them: means, SDs, n.

``comparison`` has one row per data set and arm: ``dataset, score, a, b, n_seeds, difference,
difference_low, difference_high`` (by rounding), ``p_uncorrelated, crossing, crossing_low,
crossing_high`` (the correlation from which on p is below alpha), ``smallest_detectable``
(uncorrelated), ``margin, verdict, sentence``. ``curves``: ``dataset, score, a, b`` and those of
:func:`unknown_correlation.curve`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.score_names import default_margin, direction, speaks_of_a_score
from llm4seg_probe.statistics.audit import unknown_correlation
from llm4seg_probe.statistics.audit.printed_table import Place, printed_results
from llm4seg_probe.statistics.audit.result import Audit, Design, Test
from llm4seg_probe.statistics.audit.spreads import without_spread
from llm4seg_probe.statistics.audit.unknown_correlation import Reported
from llm4seg_probe.statistics.compare import Question
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.key_columns import named
from llm4seg_probe.statistics.pairs import chosen_baseline
from llm4seg_probe.statistics.power import smallest_detectable
from llm4seg_probe.statistics.reader import Asked
from llm4seg_probe.statistics.rows import as_text, rows_where
from llm4seg_probe.statistics.table_file import TableFile
from llm4seg_probe.statistics.units import refuse_mixed_scales


def audited(file: TableFile, asked: Asked, question: Question, n: int | None) -> Audit:
    """Audit a table of means; see :func:`audit.audit`."""
    if asked.average_over:
        raise TableError(
            f"these are printed means: there is no {', '.join(asked.average_over)} to average over "
            "(--average-over)"
        )
    # Rows are told by their place in the file, whichever of them are audited.
    table = rows_where(named(file.table).apply(as_text).reset_index(drop=True), asked.where)
    findings = [Finding("note", note) for note in file.notes]
    found = printed_results(table, asked.columns, n, findings, question.wanted.baseline)
    results, matches = found.results, found.matches
    arms = list(dict.fromkeys(each.arm for _, each in results))
    base, how = chosen_baseline(arms, question.wanted.baseline)
    margins = {score: _margin(results, score, question) for score in _scores(results)}
    lower = {place: _lower_is_better(place, question) for place, _ in results}
    _refuse_mixed(results)
    pairs = [
        (place, each, against)
        for place, each in results
        for other, against in results
        if other == place and against.arm == base and each.arm != base
    ]
    if not pairs:
        raise TableError(f"no arm stands in the same data set as the baseline '{base}'")
    pairs = _of_equal_n(pairs, findings)
    alpha = question.alpha
    rows = [_row(place, a, b, margins[place.score], lower[place], alpha) for place, a, b in pairs]
    curves = [
        unknown_correlation.curve(a, b).assign(
            dataset=place.dataset, score=place.score, a=a.arm, b=b.arm
        )
        for place, a, b in pairs
    ]
    datasets = len({place.dataset for place, _ in results})
    runs = max(each.n for _, each in results)
    design = Design("means", (), len(arms), runs, None, None, datasets, len(rows))
    known_margins = [margin for margin in margins.values() if margin is not None]
    ordered = [*_findings(found.spreads, len(rows)), *findings, Finding("note", how)]
    ordered.sort(key=lambda finding: ("fault", "doubt", "note").index(finding.level))
    return Audit(
        design, ", ".join(margins), base, max(known_margins, default=None), matches,
        tuple(ordered), _tests(), pd.DataFrame(rows), pd.concat(curves, ignore_index=True),
    )  # fmt: skip


def _scores(results: Sequence[tuple[Place, Reported]]) -> list[str]:
    return list(dict.fromkeys(place.score for place, _ in results))


def _lower_is_better(place: Place, question: Question) -> bool:
    """As stated, else as the column says by its own name, else as its score usually is."""
    column = without_spread(place.column)
    name = column if speaks_of_a_score(column) else place.score
    return direction(name, question.lower_is_better).lower_is_better


def _margin(
    results: Sequence[tuple[Place, Reported]], score: str, question: Question
) -> float | None:
    if question.margin is not None:
        return question.margin
    return default_margin(
        score, max(each.mean.value for place, each in results if place.score == score)
    )


def _refuse_mixed(results: Sequence[tuple[Place, Reported]]) -> None:
    for score in _scores(results):
        means = {
            f"{place.dataset} {each.arm}".strip(): each.mean.value
            for place, each in results
            if place.score == score
        }
        refuse_mixed_scales(score, pd.Series(means))


def _of_equal_n(
    pairs: list[tuple[Place, Reported, Reported]], findings: list[Finding]
) -> list[tuple[Place, Reported, Reported]]:
    """The pairs whose runs could be paired; raises TableError where none could."""
    kept, reasons = [], []
    for place, a, b in pairs:
        try:
            unknown_correlation.pairs_of(a, b)
            kept.append((place, a, b))
        except TableError as error:
            reasons.append(error)
    if not kept:
        raise reasons[0]
    findings += [
        Finding("doubt", f"not compared: {reason}") for reason in dict.fromkeys(map(str, reasons))
    ]
    return kept


def _row(
    place: Place, a: Reported, b: Reported, margin: float | None, lower: bool, alpha: float
) -> dict[str, Any]:
    here, low, high = unknown_correlation.crossing(a, b, alpha)
    spread, p = unknown_correlation.uncorrelated(a, b)
    difference, half = a.mean.value - b.mean.value, a.mean.half + b.mean.half
    better = (difference < 0) == lower
    row = {
        "dataset": place.dataset,
        "score": place.score,
        "a": a.arm,
        "b": b.arm,
        "n_seeds": a.n,
        "difference": difference,
        "difference_low": difference - half,
        "difference_high": difference + half,
        "p_uncorrelated": p,
        "crossing": here,
        "crossing_low": low,
        "crossing_high": high,
        "smallest_detectable": smallest_detectable(spread / np.sqrt(a.n), a.n - 1, alpha),
        "margin": np.nan if margin is None else margin,
        "verdict": "inconclusive" if high >= -1 else "supported" if better else "contradicted",
    }
    return {**row, "sentence": _sentence(row, alpha)}


def _sentence(row: dict[str, Any], alpha: float) -> str:
    low, high = row["crossing_low"], row["crossing_high"]
    start = (
        f"{row['a']} against {row['b']}: {row['difference']:+.4g} in {row['score']} over "
        f"{row['n_seeds']} runs is"
    )
    if low > 1:
        return f"{start} not significant at {alpha:g}, however the pairs correlate."
    if high < -1:
        return f"{start} significant at {alpha:g}, however the pairs correlate."
    end = f"uncorrelated, p = {row['p_uncorrelated']:.2g}."
    here = row["crossing"]
    if here > 1:
        return (
            f"{start} not significant at {alpha:g} by the printed digits, however the pairs "
            f"correlate; by rounding it may be, above {low:.2f} at best; {end}"
        )
    if here < -1:
        worst = "not at all" if high > 1 else f"only above {high:.2f}"
        return (
            f"{start} not surely significant at {alpha:g}: it is by the printed digits, however "
            f"the pairs correlate, and by rounding {worst} at worst; {end}"
        )
    rounding = _by_rounding(low, high)
    return (
        f"{start} significant at {alpha:g} only if the pairs correlate above "
        f"{here:.2f}{rounding}; {end}"
    )


def _by_rounding(low: float, high: float) -> str:
    """Range of the crossing in words; no correlation lies outside of −1 to 1."""
    if high - low <= 0.01:
        return ""
    if low >= -1 and high <= 1:
        return f" ({low:.2f} to {high:.2f} by rounding)"
    best = "always" if low < -1 else f"above {low:.2f}"
    worst = "never" if high > 1 else f"above {high:.2f}"
    return f" (by rounding: {best} at best, {worst} at worst)"


def _findings(spreads: str, comparisons: int) -> list[Finding]:
    found = [
        Finding("doubt", "only means and SDs: whether and how the runs were paired is unknown"),
        Finding("note", spreads),
    ]
    if comparisons > 1:
        found.append(
            Finding(
                "note",
                f"{comparisons} comparisons with the baseline, unadjusted: the best may be chance",
            )
        )
    return found


def _tests() -> tuple[Test, ...]:
    lost = "the single results are not printed"
    return (
        Test("paired t-test, as a curve over the correlation", True, "means, SDs and n are enough"),
        Test("paired t-test with one p", False, "the correlation of the pairs is not printed"),
        Test("exact sign-flip test over seeds", False, lost),
        Test(
            "equivalence within the margin (TOST)",
            False,
            "the correlation of the pairs is not printed",
        ),
        Test("interval over patients", False, lost),
    )
