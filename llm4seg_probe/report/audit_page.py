"""The page of an audit: one HTML file with what was found, what is allowed, and what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.figure_files import inline_svg, save_figure
from llm4seg_probe.report.figures import p_by_correlation
from llm4seg_probe.report.html import asset, policy, style_sheet, template
from llm4seg_probe.report.page_tables import (
    Cell,
    Column,
    Listing,
    comparison_listing,
    number_cell,
    text_cell,
)
from llm4seg_probe.report.verdicts import VERDICTS
from llm4seg_probe.statistics.audit.result import Audit
from llm4seg_probe.storage import write_text

PAGE, TABLE, CURVES = "index.html", "audit.csv", "correlation.csv"
_LEVELS = {
    "fault": "The comparison cannot stand as it is.",
    "doubt": "Ask the authors.",
    "note": "Good to know.",
}


@dataclass(frozen=True)
class _Claim:
    """A verdict as the page shows it."""

    pair: str
    place: str
    verdict: str
    word: str
    effect: str
    detectable: str
    sentence: str


def write_audit_page(found: Audit, folder: Path, *, sources: Sequence[str], command: str) -> Path:
    """Write ``index.html`` beside the tables of an audit, and its figure; returns the page's path.

    sources: names of the files that were audited; command: what makes the page again. Everything
    stands in the one file, and nothing in it runs but the page's own script.
    """
    scripts = [asset("page.js")]
    text = template("audit.html").render(
        found=found,
        sources=sources,
        command=command,
        claims=_claims(found),
        answer=_answer(found),
        meanings=VERDICTS,
        levels=_LEVELS,
        svg=_figure(found, folder),
        listing=_listing(found),
        tables=[name for name in (TABLE, CURVES) if (folder / name).is_file()],
        style=style_sheet(),
        scripts=scripts,
        policy=policy(scripts, "data:"),
        version=version("llm4seg-probe"),
    )
    write_text(folder / PAGE, text)
    return folder / PAGE


def _figure(found: Audit, folder: Path) -> Markup | None:
    if found.curves.empty:
        return None
    drawn = p_by_correlation.figure(found.curves, found.comparison)
    paths = save_figure(drawn, folder / "figures", "correlation", folder / CURVES)
    alt = p_by_correlation.alt(found.comparison)
    return Markup(inline_svg(paths["svg"].read_text(encoding="utf-8"), "correlation", alt))


def _answer(found: Audit) -> str:
    """The verdicts in one sentence: how many of them, of how many comparisons."""
    rows = found.comparison
    if rows.empty:
        return "Nothing could be compared; the findings below say why."
    counts = rows["verdict"].value_counts()
    told = [f"{counts[name]} {VERDICTS[name][0].lower()}" for name in VERDICTS if name in counts]
    many = "comparison" if len(rows) == 1 else "comparisons"
    sentence = f"Of {len(rows)} {many} with {found.baseline}: {', '.join(told)}."
    if not found.curves.empty:
        sentence += (
            " How alike the results of two methods are from run to run is not printed; a verdict "
            "stands only where it holds however alike they are."
        )
    return sentence


def _claims(found: Audit) -> list[_Claim]:
    return [_claim(row) for _, row in found.comparison.iterrows()]


def _claim(row: pd.Series) -> _Claim:
    known = "ci_low" in row.index
    bounds = ("ci_low", "ci_high") if known else ("difference_low", "difference_high")
    if known:
        effect = labels.effect(row["difference"], row[bounds[0]], row[bounds[1]])
    else:
        rounding = (row[bounds[1]] - row[bounds[0]]) / 2
        effect = f"{row['difference']:+.4g} (±{rounding:.2g} by rounding)"
        effect = effect.replace("-", labels.MINUS)
    smallest = row["smallest_detectable"]
    return _Claim(
        pair=f"{row['a']} against {row['b']}",
        place=" on ".join(part for part in (row["score"], row["dataset"]) if part),
        verdict=row["verdict"],
        word=VERDICTS[row["verdict"]][0],
        effect=effect,
        detectable=f"{smallest:.2g}" if pd.notna(smallest) else "–",
        sentence=row["sentence"],
    )


def _listing(found: Audit) -> Listing | None:
    if found.comparison.empty:
        return None
    if found.curves.empty:
        return comparison_listing(found.comparison)
    rows = [tuple(cell(row) for _, cell in _OF_MEANS) for _, row in found.comparison.iterrows()]
    columns = tuple(column for column, _ in _OF_MEANS)
    return Listing("Every comparison with the baseline, a − b", columns, tuple(rows))


def _number(name: str, form: str) -> Callable[[pd.Series], Cell]:
    def cell(row: pd.Series) -> Cell:
        return number_cell(row[name], f"{row[name]:{form}}".replace("-", labels.MINUS))

    return cell


def _range(low: str, high: str, form: str) -> Callable[[pd.Series], Cell]:
    def cell(row: pd.Series) -> Cell:
        text = f"{row[low]:{form}} to {row[high]:{form}}"
        return number_cell(row[low], text.replace("-", labels.MINUS))

    return cell


_OF_MEANS: tuple[tuple[Column, Callable[[pd.Series], Cell]], ...] = (
    (Column("Data", False), lambda row: text_cell(row["dataset"])),
    (Column("Score", False), lambda row: text_cell(labels.measure(row["score"]).name)),
    (Column("a", False), lambda row: text_cell(row["a"])),
    (Column("b", False), lambda row: text_cell(row["b"])),
    (Column("Runs"), _number("n_seeds", "d")),
    (Column("a − b"), _number("difference", "+.4g")),
    (
        Column("by rounding", True, "between what the unrounded difference lies"),
        _range("difference_low", "difference_high", "+.4g"),
    ),
    (
        Column("p, uncorrelated", True, "paired t-test if the pairs did not vary together"),
        lambda row: number_cell(row["p_uncorrelated"], labels.p_value(row["p_uncorrelated"])),
    ),
    (
        Column("Crossing", True, "correlation of the pairs from which on p is below 0.05"),
        _number("crossing", ".2f"),
    ),
    (Column("by rounding"), _range("crossing_low", "crossing_high", ".2f")),
    (
        Column("Detectable", True, "smallest effect that uncorrelated runs could have shown, 80 %"),
        _number("smallest_detectable", ".3g"),
    ),
    (Column("Verdict", False), lambda row: text_cell(VERDICTS[row["verdict"]][0])),
)
