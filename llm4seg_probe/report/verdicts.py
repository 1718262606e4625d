"""The verdicts in words and plots: what the page's list and the terminal say of ``claims.csv``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import condition_style

VERDICTS: dict[str, tuple[str, str]] = {
    "supported": ("Supported", "the effect was found, in the claimed direction"),
    "contradicted": ("Contradicted", "the opposite was found"),
    "equivalent": ("Equivalent", "any difference is smaller than the margin"),
    "inconclusive": ("Inconclusive", "these runs cannot tell"),
    "not run": ("Not run", "no such runs, or fewer than two seeds"),
}
"""The five verdicts: the word that is shown, and what it means."""

_SHARE = 0.8
"""The scale of a measure's plots holds this share of its effects whole; of the others those are cut
that reach further than ``_OUTLYING`` times as far."""
_OUTLYING = 2.0


@dataclass(frozen=True)
class EffectPlot:
    """An effect against the margin, on an axis from −extent to extent with zero in its middle.

    ``over_runs`` is the interval for another training run, ``over_both`` for another patient
    too; they and ``margin`` are None where the table has no number.
    """

    difference: float
    over_runs: tuple[float, float] | None
    over_both: tuple[float, float] | None
    margin: float | None
    extent: float


@dataclass(frozen=True)
class VerdictRow:
    """One claim as it is read: texts, the verdict's key, and the small plot."""

    claim: str
    statement: str
    measure: str
    comparison: str
    pair: str
    score: str
    verdict: str
    word: str
    sentence: str
    effect: str
    margin: str
    p: str
    seeds: str
    family: str
    in_advance: bool
    lower_is_better: bool
    plot: EffectPlot | None
    details: tuple[tuple[str, str], ...]


def verdict_rows(claims: pd.DataFrame) -> list[VerdictRow]:
    """Rows of ``claims.csv`` in words; effects of the same measure share scale and precision.

    The further columns ``margin``, ``boot_low``, ``boot_high``, ``sentence``, ``in_advance`` and
    so on are used where the table has them.
    """
    extents = {measure: _extent(rows) for measure, rows in claims.groupby("measure", dropna=False)}
    decimals = {
        measure: max(map(labels.decimals_for, rows["ci_high"] - rows["ci_low"]))
        for measure, rows in claims.groupby("measure", dropna=False)
    }
    return [
        _row(row, extents[row["measure"]], decimals[row["measure"]]) for _, row in claims.iterrows()
    ]


def primary(rows: list[VerdictRow]) -> VerdictRow | None:
    """The claim that the page opens with: the first of the family ``primary``, else the first."""
    of_family = [row for row in rows if row.family == "primary"]
    return next(iter([*of_family, *rows]), None)


def seeds_in_words(run: float, needed: float) -> str:
    """Say how many seeds were run, and how many the margin would take.

    >>> seeds_in_words(5, 23.0), seeds_in_words(0, float("nan")), seeds_in_words(5, math.inf)
    ('5 run, 23 needed', 'none run', '5 run, over a million needed')
    """
    text = f"{run:.0f} run" if pd.notna(run) and run > 0 else "none run"
    return text if pd.isna(needed) else f"{text}, {labels.about(needed)} needed"


def _extent(rows: pd.DataFrame) -> float:
    """Where the axis of a measure ends: around most of its intervals, and all of its margins."""
    bounds = ("difference", "ci_low", "ci_high")
    reach = rows[list(bounds)].abs().max(axis=1).dropna()
    reach = reach[np.isfinite(reach)]
    margins = rows["margin"].dropna() if "margin" in rows.columns else reach[:0]
    most = max(reach.max() if len(reach) else 0.0, margins.max() if len(margins) else 0.0)
    if most == 0:
        return 1.0
    usual = float(reach.quantile(_SHARE, interpolation="lower")) if len(reach) else 0.0
    if reach.max() <= _OUTLYING * usual:
        usual = reach.max()
    return labels.round_up(1.05 * (max(usual, *margins, 0.0) or most))


def _row(row: pd.Series, extent: float, decimals: int) -> VerdictRow:
    margin = row.get("margin", math.nan)
    statement = row["statement"]
    is_open = row["verdict"] == "inconclusive"
    return VerdictRow(
        claim=row["claim"],
        statement=statement[:1].upper() + statement[1:],
        measure=row["measure"],
        comparison=row["comparison"],
        pair=_pair(row),
        score=_score(row),
        verdict=row["verdict"],
        word=VERDICTS.get(row["verdict"], (row["verdict"], ""))[0],
        sentence=_text(row.get("sentence")),
        effect=labels.effect(row["difference"], row["ci_low"], row["ci_high"], decimals),
        margin=f"margin ±{margin:g}" if pd.notna(margin) else "",
        p=labels.p_value(row["p_adjusted"]),
        seeds=seeds_in_words(row["n_seeds"], row["seeds_needed"] if is_open else math.nan),
        family=_text(row.get("family")),
        in_advance=bool(row.get("in_advance", True)),
        lower_is_better=bool(row.get("lower_is_better") is True),
        plot=_plot(row, margin, extent),
        details=_details(row, decimals),
    )


def _pair(row: pd.Series) -> str:
    """What the effect is of, in the words of the figures: the pair that decided, if it is said."""
    text = _text(row.get("decided_by")) or row["comparison"]
    if row.get("kind") == "association":
        return str(row["comparison"])
    first, separator, second = text.partition(" against ")
    if not separator:
        for sign in (" not worse (>) than ", " not worse (<) than ", " > ", " < ", " ≈ "):
            first, separator, second = text.partition(sign)
            if separator:
                break
    if not separator or " and " in second:
        return str(row["comparison"])
    return f"{condition_style(first).label} against {condition_style(second).label}"


def _score(row: pd.Series) -> str:
    """The measure in words: of ``iou of scores.csv where split=test``, "test IoU"."""
    if row.get("kind") == "association":
        return "correlation of runs within arms"
    column, _, rest = str(row["measure"]).partition(" of ")
    table = rest.partition(".csv")[0]
    name = labels.measure(column, table or "scores").name
    return f"test {name}" if "split=test" in rest else name


def _details(row: pd.Series, decimals: int) -> tuple[tuple[str, str], ...]:
    """What stands folded under a verdict: names and texts."""

    def interval(low: str, high: str) -> str:
        if pd.isna(row.get(low)) or pd.isna(row.get(high)):
            return ""
        bounds = [labels.number(row[name], decimals, signed=True) for name in (low, high)]
        return f"{bounds[0]} to {bounds[1]}"

    floor = row.get("p_exact_floor")
    exact = row.get("p_exact")
    shown = {
        "Stated as": str(row["comparison"]),
        "Measured": str(row["measure"]),
        "p, adjusted in its family": labels.p_value(row["p_adjusted"]),
        "p, exact": f"{exact:.4g} (with these seeds at least {floor:.4g})"
        if pd.notna(exact) and pd.notna(floor)
        else "",
        "95 % interval, another patient too": interval("boot_low", "boot_high"),
        "95 % interval, another patient": interval("case_low", "case_high"),
        "Seeds": seeds_in_words(row["n_seeds"], row["seeds_needed"]),
        "Family": _text(row.get("family")),
        "Kind": _text(row.get("kind")),
        "Stated": "before the runs" if row.get("in_advance", True) else "after the runs (post hoc)",
        "Note": _text(row.get("note")),
    }
    both = (row.get("boot_low", math.nan), row.get("boot_high", math.nan))
    decided = row["verdict"] in ("supported", "contradicted") and all(map(pd.notna, both))
    if decided and both[0] < 0 < both[1]:
        shown["Beware"] = (
            "the interval over runs and patients reaches across zero: with other patients the "
            "effect may be gone"
        )
    return tuple((name, text) for name, text in shown.items() if text)


def _plot(row: pd.Series, margin: float, extent: float) -> EffectPlot | None:
    if pd.isna(row["difference"]):
        return None

    def bounds(low: str, high: str) -> tuple[float, float] | None:
        start, end = row.get(low, math.nan), row.get(high, math.nan)
        return None if pd.isna(start) or pd.isna(end) else (float(start), float(end))

    return EffectPlot(
        difference=float(row["difference"]),
        over_runs=bounds("ci_low", "ci_high"),
        over_both=bounds("boot_low", "boot_high"),
        margin=float(margin) if pd.notna(margin) else None,
        extent=extent,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
