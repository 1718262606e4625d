"""The content of the page: all that the templates show, and its figures, drawn and saved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.figure_files import save_figure
from llm4seg_probe.drawing.style import known_arms
from llm4seg_probe.errors import TableError
from llm4seg_probe.report import conditions, glossary
from llm4seg_probe.report.answer import RULE, answer, facts_of, plain, shown_mechanisms
from llm4seg_probe.report.claims import READING, ClaimSection
from llm4seg_probe.report.explorer import ONE_FILE, explorer_data
from llm4seg_probe.report.page_files import PageFiles, address
from llm4seg_probe.report.page_tables import run_listing, verdict_listing
from llm4seg_probe.report.plots import LARGE, TINY, effect_svg
from llm4seg_probe.report.probe_sections import ProbeSection, probe_sections
from llm4seg_probe.report.results import Results
from llm4seg_probe.report.sections import SECTIONS, Section
from llm4seg_probe.report.verdicts import VERDICTS, VerdictRow, primary, verdict_rows
from llm4seg_probe.statistics.nothing_to_compare import nothing_to_compare

FIGURES = "figures"
LEFT_OUT = (
    "Conditions that deviate from the base are too many for this figure: the table below holds "
    "them, and each claim draws its own."
)


@dataclass(frozen=True)
class Drawn:
    """A figure on the page: its name, its table, its SVG, and what it says in words."""

    name: str
    table: str
    svg: Path
    alt: str
    caption: str
    wide: bool = False


def place_of(section: Section, dataset: str) -> str:
    """Where the figures of a section and data set stand."""
    return f"{section.anchor}|{dataset}"


def draw_all(
    results: Results, claims: Iterable[ClaimSection], target: Path
) -> dict[str, list[Drawn]]:
    """Draw and save the figures of all sections; returns them by their place on the page.

    Places are those of :func:`place_of` and the anchors of the claims. Raises TableError, which
    names the table, where one cannot be drawn.
    """
    found: dict[str, list[Drawn]] = {}
    for number, (dataset, part) in enumerate(results.parts.items()):
        suffix = f"-{slug(dataset)}" if number else ""
        for section in SECTIONS:
            if not section.missing(part):
                found[place_of(section, dataset)] = list(_drawn(section, part, suffix, target))
    for claim in claims:
        found[claim.anchor] = [
            Drawn(
                one.name,
                one.table,
                save_figure(one.figure, target / FIGURES, one.name, target / one.table)["svg"],
                one.alt,
                one.caption,
                one.wide,
            )
            for one in claim.figures()
        ]
    return found


def slug(name: str) -> str:
    """A name as part of a file's name: letters, digits, dots and hyphens.

    >>> slug("../my data/<b>")
    'my-data-b'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")


def _drawn(section: Section, part: Results, suffix: str, target: Path) -> Iterator[Drawn]:
    shown = part.at_base()
    for drawing in section.drawings:
        try:
            figure = drawing.draw(shown)
        except TableError as error:
            raise TableError(f"{part.folder / drawing.table}: {error}") from error
        if figure is None:
            continue
        name = drawing.name + suffix
        svg = save_figure(figure, target / FIGURES, name, target / drawing.table)["svg"]
        table = drawing.table
        is_less = table in shown.tables and len(shown.tables[table]) < len(part.tables[table])
        caption = f"{drawing.caption} {LEFT_OUT}" if is_less else drawing.caption
        yield Drawn(name, table, svg, drawing.alt(shown), caption, drawing.wide)


def _nothing_to_compare(results: Results) -> list[str]:
    scores, runs = (results.tables.get(name) for name in ("scores.csv", "runs.csv"))
    if scores is None or runs is None or "run" not in scores.columns:
        return []
    return nothing_to_compare(scores, runs) if "deviation" in runs.columns else []


def page_content(
    results: Results,
    claims: Sequence[ClaimSection],
    figures: Mapping[str, Sequence[Drawn]],
    writer: PageFiles,
    cases: Sequence[str],
) -> dict[str, Any]:
    """Everything that the templates show, whichever file it comes to stand in."""
    context = results.context
    table = results.tables.get("claims.csv")
    rows = [] if table is None else verdict_rows(table)
    probes = probe_sections(results)
    shown = {claim.claim.id: claim for claim in claims}
    sentences = answer(rows)
    explorer = explorer_data(results, cases, ONE_FILE if writer.one_file else inf)
    known = conditions.condition_rows(results)
    margin = _margin(results)
    mechanisms = shown_mechanisms(context, table, rows)
    runs = results.tables.get("runs.csv")
    return {
        "context": context,
        "facts": facts_of(results),
        "left_out": results.left_out,
        "nothing_to_compare": _nothing_to_compare(results),
        "brief": _brief(results),
        "answer": sentences,
        "anchors": {claim.anchor for claim in claims},
        "primary": _primary(rows),
        "rows": [(row, f"claim-{row.claim}" if row.claim in shown else "") for row in rows],
        "tallied": _tallied(rows),
        "meanings": VERDICTS,
        "mechanisms": mechanisms,
        "mechanism_rule": RULE,
        "reading": READING,
        "claims": [_claim(claim, rows, probes, figures, writer) for claim in claims],
        "sections": [
            _section(section, results, figures, writer)
            for section in SECTIONS
            if section.is_shown(results)
        ],
        "probes": [_probe(probe, results.folder, claims, writer) for probe in probes],
        "arms": _arms(results),
        "conditions": known,
        "plots": {
            key: effect_svg(plot, _in_words(known, key), TINY)
            for key, plot in conditions.plots(known, margin).items()
        },
        "facets": conditions.facets(known),
        "score_name": labels.measure(results.main_score).name,
        "comparison": conditions.comparison_data(results, known),
        "condition_files": writer.listing(
            conditions.condition_listing(known, results.main_score) if known else None,
            "conditions",
        ),
        "explorer": explorer,
        "verdict_files": writer.listing(
            None if table is None else verdict_listing(table), "verdicts"
        ),
        "runs": writer.listing(None if runs is None else run_listing(runs), "runs"),
        "glossary": glossary.GLOSSARY,
        "paper": glossary.PAPER,
        "bibtex": glossary.bibtex(context),
        "cite": glossary.citing_sentence(context, plain(sentences)),
        "version": version("llm4seg-probe"),
        "effect_svg": effect_svg,
        "number": labels.number,
        "interval": conditions.interval,
    }


def _primary(rows: list[VerdictRow]) -> dict[str, Any] | None:
    """The plot that the page opens with, and what its axis shows."""
    row = primary(rows)
    if row is None or row.plot is None:
        return None
    sides = None
    first, separator, second = row.pair.partition(" against ")
    if separator:
        better = (f"{second} better", f"{first} better")
        sides = better[::-1] if row.lower_is_better else better
        sides = sides if max(map(len, sides)) < 26 else ("b better", "a better")
        sides = sides if not row.lower_is_better or sides in (better, better[::-1]) else sides[::-1]
    is_association = row.score.startswith("correlation")
    axis = row.score if is_association else f"difference in {row.score}"
    text = ", ".join(part for part in (row.effect, row.margin) if part)
    return {"row": row, "svg": effect_svg(row.plot, text, LARGE, axis, sides), "axis": axis}


def _tallied(rows: list[VerdictRow]) -> list[tuple[str, str, int]]:
    """Number of claims per verdict, in display order; verdicts without claims are left out."""
    count = Counter(row.verdict for row in rows)
    return [(name, word, count[name]) for name, (word, _) in VERDICTS.items() if count[name]]


def _margin(results: Results) -> float | None:
    comparison = results.tables.get("comparison.csv")
    known = None if comparison is None else comparison.loc[
        comparison["score"] == results.main_score, "margin"
    ].dropna()  # fmt: skip
    return None if known is None or known.empty else float(known.iloc[0])


def _in_words(rows: Sequence[conditions.Condition], key: str) -> str:
    row = next(row for row in rows if row.key == key)
    return labels.effect(row.difference, row.difference_low, row.difference_high, 3)


def _brief(results: Results) -> str:
    """What was run, on one line."""
    context = results.context
    runs = results.tables.get("runs.csv")
    size = str(context.scale.get("image size", ""))
    parts = [
        f"{len(runs)} runs" if runs is not None else "",
        f"{len(context.seeds)} seeds" if context.seeds else "",
        ", ".join(data.name for data in context.all_datasets),
        f"{size} pixels" if size and "pixel" not in size else size,
        str(context.scale.get("language model", "")),
        f"size {context.size}" if context.size else "",
    ]
    return " · ".join(part for part in parts if part)


def _arms(results: Results) -> list[dict[str, str]]:
    names = [*results.context.arms, *(name.partition("[")[0] for name in results.conditions)]
    return [
        {"name": arm, "label": style.label, "colour": style.colour, "meaning": style.meaning}
        for arm, style in known_arms(names).items()
    ]


def _claim(
    claim: ClaimSection,
    rows: Sequence[VerdictRow],
    probes: Sequence[ProbeSection],
    figures: Mapping[str, Sequence[Drawn]],
    writer: PageFiles,
) -> dict[str, Any]:
    """A claim as the template shows it, with the probes that bear on it."""
    row = next((row for row in rows if row.claim == claim.claim.id), None)
    titles = {probe.name: (probe.anchor, probe.title) for probe in probes}
    titles |= {"rank": ("rank", "Effective rank"), "maps": ("activation", "Activation maps")}
    return {
        "claim": claim.claim,
        "anchor": claim.anchor,
        "row": row,
        "shows": claim.shows,
        "cannot": claim.cannot,
        "command": claim.command,
        "drawings": [_drawing(one, writer) for one in figures.get(claim.anchor, ())],
        "listing": writer.listing(claim.listing, slug(claim.anchor)),
        "bears": [titles[name] for name in claim.bears_on if name in titles],
    }


def _section(
    section: Section, results: Results, figures: Mapping[str, Sequence[Drawn]], writer: PageFiles
) -> dict[str, Any]:
    """A section as the template shows it, by data set; without parts where it was not run."""
    parts = []
    for number, (dataset, part) in enumerate(results.parts.items()):
        if section.missing(part):
            continue
        name = f"{section.anchor}-{slug(dataset)}" if number else section.anchor
        listing = section.listing(part) if section.listing is not None else None
        drawings = [_drawing(one, writer) for one in figures.get(place_of(section, dataset), ())]
        shown = writer.listing(listing, name)
        parts.append({"dataset": dataset, "anchor": name, "drawings": drawings, "listing": shown})
    return {
        "section": section,
        "missing": " and ".join(section.missing(results)),
        "command": section.command(results),
        "parts": parts,
    }


def _probe(
    probe: ProbeSection, folder: Path, claims: Sequence[ClaimSection], writer: PageFiles
) -> dict[str, Any]:
    """A probe as the template shows it: what its descriptor says, and what its folder holds."""
    figures = [
        writer.figure(
            path, folder, f"{probe.anchor}-{slug(name)}", probe.alt, probe.caption(name),
            table=probe.table, wide=False,
        )
        for name, path in probe.figures.items()
    ]  # fmt: skip
    return {
        "anchor": probe.anchor,
        "title": probe.title,
        "summary": probe.about.summary,
        "shows": probe.about.shows,
        "cannot": probe.about.cannot,
        "command": probe.about.command,
        "drawings": figures,
        "files": [address(path, folder) for path in probe.files],
        "claims": [
            (claim.anchor, claim.claim.statement) for claim in claims if claim.table == probe.name
        ],
    }


def _drawing(drawn: Drawn, writer: PageFiles) -> dict[str, Any]:
    base = drawn.svg.parent.parent
    return writer.figure(
        drawn.svg, base, drawn.name, drawn.alt, drawn.caption, table=drawn.table, wide=drawn.wide
    )
