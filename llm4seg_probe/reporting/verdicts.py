"""The verdicts in words: what the page's first table and the terminal say, from ``claims.csv``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from llm4seg_probe.reporting import labels

VERDICTS: dict[str, tuple[str, str]] = {
    "supported": ("Supported", "the effect was found, in the claimed direction"),
    "contradicted": ("Contradicted", "the opposite was found"),
    "equivalent": ("Equivalent", "any difference is smaller than the margin"),
    "inconclusive": ("Inconclusive", "these runs cannot tell"),
    "not run": ("Not run", "no such runs, or fewer than two seeds"),
}
"""The five verdicts: the word that is shown, and what it means."""


@dataclass(frozen=True)
class EffectPlot:
    """An effect against the margin, on an axis from -1 to 1 with zero in its middle.

    ``over_runs`` is the interval for another training run, ``over_both`` for another patient
    too; they and ``margin`` are None where the table has no number.
    """

    difference: float
    over_runs: tuple[float, float] | None
    over_both: tuple[float, float] | None
    margin: float | None


@dataclass(frozen=True)
class VerdictRow:
    """One claim as it is read: texts, the verdict's key, and the small plot."""

    claim: str
    statement: str
    measure: str
    comparison: str
    verdict: str
    word: str
    sentence: str
    effect: str
    margin: str
    p: str
    seeds: str
    in_advance: bool
    plot: EffectPlot | None


def verdict_rows(claims: pd.DataFrame) -> list[VerdictRow]:
    """Rows of ``claims.csv`` in words; effects of the same measure share the scale of their plot.

    The further columns ``margin``, ``boot_low``, ``boot_high``, ``sentence`` and ``in_advance``
    are used where the table has them.
    """
    extents = {
        measure: _extent(group) for measure, group in claims.groupby("measure", dropna=False)
    }
    return [_row(row, extents[row["measure"]]) for _, row in claims.iterrows()]


def seeds_in_words(run: float, needed: float) -> str:
    """How many seeds were run, and how many the margin would take.

    >>> seeds_in_words(5, 23.0), seeds_in_words(0, float("nan")), seeds_in_words(5, math.inf)
    ('5 run, 23 needed', 'none run', '5 run, over a million needed')
    """
    text = f"{run:.0f} run" if pd.notna(run) and run > 0 else "none run"
    if pd.isna(needed):
        return text
    return (
        f"{text}, {needed:.0f} needed"
        if math.isfinite(needed)
        else f"{text}, over a million needed"
    )


def _extent(rows: pd.DataFrame) -> float:
    wanted = ("difference", "ci_low", "ci_high", "boot_low", "boot_high", "margin")
    numbers = rows[[name for name in wanted if name in rows.columns]].to_numpy("float64")
    finite = np.abs(numbers[np.isfinite(numbers)])
    return 1.06 * float(finite.max()) if finite.any() else 1.0


def _row(row: pd.Series, extent: float) -> VerdictRow:
    margin = row.get("margin", math.nan)
    statement = row["statement"]
    return VerdictRow(
        claim=row["claim"],
        statement=statement[:1].upper() + statement[1:],
        measure=row["measure"],
        comparison=row["comparison"],
        verdict=row["verdict"],
        word=VERDICTS.get(row["verdict"], (row["verdict"], ""))[0],
        sentence=_text(row.get("sentence")),
        effect=labels.effect(row["difference"], row["ci_low"], row["ci_high"]),
        margin=f"margin ±{margin:g}" if pd.notna(margin) else "",
        p=labels.p_value(row["p_adjusted"]),
        seeds=seeds_in_words(
            row["n_seeds"], row["seeds_needed"] if row["verdict"] == "inconclusive" else math.nan
        ),
        in_advance=bool(row.get("in_advance", True)),
        plot=_plot(row, margin, extent),
    )


def _plot(row: pd.Series, margin: float, extent: float) -> EffectPlot | None:
    if pd.isna(row["difference"]):
        return None

    def scaled(low: str, high: str) -> tuple[float, float] | None:
        start, end = row.get(low, math.nan), row.get(high, math.nan)
        return None if pd.isna(start) or pd.isna(end) else (start / extent, end / extent)

    return EffectPlot(
        difference=row["difference"] / extent,
        over_runs=scaled("ci_low", "ci_high"),
        over_both=scaled("boot_low", "boot_high"),
        margin=margin / extent if pd.notna(margin) else None,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
