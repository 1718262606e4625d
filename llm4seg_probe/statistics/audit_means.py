"""Audit of a table as papers print them: means, SDs, n.

``comparison`` has one row per data set and arm: ``dataset, score, a, b, n_seeds, difference,
difference_low, difference_high`` (by rounding), ``p_uncorrelated, crossing, crossing_low,
crossing_high`` (the correlation from which on p is below alpha), ``smallest_detectable``
(uncorrelated), ``margin, verdict, sentence``. ``curves``: ``dataset, score, a, b`` and those of
:func:`reported.curve`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics import reported
from llm4seg_probe.statistics.audit_runs import chosen_baseline, half_a_point
from llm4seg_probe.statistics.audited import Audit, Design, Test
from llm4seg_probe.statistics.power import smallest_detectable
from llm4seg_probe.statistics.recognising import NAMES, SCORES, Match, plain, recognise
from llm4seg_probe.statistics.reported import Reported, mean_and_sd, printed
from llm4seg_probe.statistics.scales import is_lower_better
from llm4seg_probe.statistics.selecting import as_text
from llm4seg_probe.statistics.suspicions import Finding


@dataclass(frozen=True)
class Place:
    """Where a printed result stands: results are compared within one data set and score."""

    dataset: str
    score: str


def is_means(table: pd.DataFrame, given: Mapping[str, str]) -> bool:
    """Whether a table holds means with their SDs instead of single results."""
    return "sd" in given or _sd_column(table) is not None or bool(_cells(table))


def audited(
    table: pd.DataFrame,
    given: Mapping[str, str],
    *,
    baseline: str | None,
    n: int | None,
    margin: float | None,
    alpha: float,
) -> Audit:
    """Audit a table of means; see :func:`audit.audit`."""
    table = table.apply(as_text)
    results, matches = _results(table, given, n)
    arms = list(dict.fromkeys(each.arm for _, each in results))
    base, how = chosen_baseline(arms, baseline)
    margins = {
        score: half_a_point(score, _largest(results, score), margin)
        for score in dict.fromkeys(place.score for place, _ in results)
    }
    pairs = [
        (place, each, against)
        for place, each in results
        for other, against in results
        if other == place and against.arm == base and each.arm != base
    ]
    if not pairs:
        raise TableError(f"no arm stands in the same data set as the baseline '{base}'")
    rows = [_row(place, a, b, margins[place.score], alpha) for place, a, b in pairs]
    curves = [
        reported.curve(a, b).assign(dataset=place.dataset, score=place.score, a=a.arm, b=b.arm)
        for place, a, b in pairs
    ]
    datasets = len({place.dataset for place, _ in results})
    runs = max(each.n for _, each in results)
    design = Design("means", (), len(arms), runs, None, None, datasets, len(rows))
    findings = [*_findings(len(rows)), Finding("note", how)]
    return Audit(
        design, ", ".join(margins), base, max(margins.values()), matches, tuple(findings),
        _tests(), pd.DataFrame(rows), pd.concat(curves, ignore_index=True),
    )  # fmt: skip


def _largest(results: list[tuple[Place, Reported]], score: str) -> float:
    return max(each.mean.value for place, each in results if place.score == score)


def _cells(table: pd.DataFrame) -> list[str]:
    """Columns in which most cells read like ``71.56 ± 2.43``."""
    return [
        str(name)
        for name in table.columns
        if pd.api.types.is_string_dtype(table[name].dtype)
        and as_text(table[name].head(100)).map(lambda cell: mean_and_sd(cell) is not None).mean()
        > 0.5
    ]


def _results(
    table: pd.DataFrame, given: Mapping[str, str], n: int | None
) -> tuple[list[tuple[Place, Reported]], tuple[Match, ...]]:
    """Each printed result with its data set and score, and what the columns were taken for.

    Of several columns of means, those named like a score are scores; others are data sets.
    """
    cells = _cells(table)
    combined = [name for name in cells if given.get("mean", name) == name]
    found = recognise(table, _means_and_sds(table, combined, given))
    columns = combined or [found["mean"].column]
    scores = {column: _score_in(column) for column in columns}
    usual = next(filter(None, scores.values()), "iou")
    results = []
    for _, row in table.iterrows():
        runs = _runs(row, found["n"].column if "n" in found else None, n)
        arm = row[found["arm"].column]
        dataset = row[found["dataset"].column] if "dataset" in found else ""
        for column, score in scores.items():
            both = mean_and_sd(row[column]) if combined else (row[column], row[found["sd"].column])
            if both is None or "" in both:
                continue
            is_dataset = len(columns) > 1 and score is None
            place = Place(column if is_dataset else dataset, score or usual)
            results.append((place, Reported(arm, printed(both[0]), printed(both[1]), runs)))
    told = [Match("mean", name, "content" if name in cells else "name") for name in columns]
    given_mean = [found["mean"]] if "mean" in given else told
    return results, (*given_mean, *(one for role, one in found.items() if role != "mean"))


def _score_in(column: str) -> str | None:
    """The score that a column's name tells, such as ``iou`` for "IoU (%)"."""
    name = plain(column)
    return next((SCORES[part] for part in (name, *name.split("_")) if part in SCORES), None)


def _means_and_sds(
    table: pd.DataFrame, combined: list[str], given: Mapping[str, str]
) -> dict[str, str]:
    """The columns given, with those of the means and SDs, which their names or cells tell."""
    if combined:
        return {"mean": combined[0], **given}
    sd = _sd_column(table)
    known = {**({"sd": sd} if sd else {}), **given}
    if "mean" not in known:
        means = [
            str(column)
            for name in (*NAMES["mean"], *SCORES)
            for column in table.columns
            if plain(column) == name or (plain(column).endswith("_mean") and name == "mean")
        ]
        if not means:
            raise TableError("which column holds the means? Name it, as in columns={'mean': …}")
        known["mean"] = means[0]
    return known


def _sd_column(table: pd.DataFrame) -> str | None:
    """The column of SDs by its name, ``sd`` or one that ends so, such as ``iou_std``."""
    for column in table.columns:
        if plain(column) in NAMES["sd"] or plain(column).endswith(("_sd", "_std")):
            return str(column)
    return None


def _runs(row: pd.Series, column: str | None, n: int | None) -> int:
    if n is not None:
        return n
    if column is None:
        raise TableError("how many runs are behind each mean? The table does not say: give n")
    value = printed(row[column]).value
    if value != int(value):
        raise TableError(f"column {column} holds {row[column]!r}, which is no number of runs")
    return int(value)


def _row(place: Place, a: Reported, b: Reported, margin: float, alpha: float) -> dict[str, Any]:
    here, low, high = reported.crossing(a, b, alpha)
    spread, p = reported.uncorrelated(a, b)
    difference, half = a.mean.value - b.mean.value, a.mean.half + b.mean.half
    better = (difference < 0) == is_lower_better(place.score, None)
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
        "margin": margin,
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
    rounding = f" ({low:.2f} to {high:.2f} by rounding)" if high - low > 0.01 else ""
    return (
        f"{start} significant at {alpha:g} only if the pairs correlate above "
        f"{row['crossing']:.2f}{rounding}; uncorrelated, p = {row['p_uncorrelated']:.2g}."
    )


def _findings(comparisons: int) -> list[Finding]:
    found = [
        Finding("doubt", "only means and SDs: whether and how the runs were paired is unknown"),
        Finding(
            "note",
            "each SD is taken for that of the runs (n − 1), not of cases, nor a standard error",
        ),
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
