"""The page: one HTML file that holds all it needs, made from the tables and their figures."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from llm4seg_probe.reporting.claims import BEARS_ON, READING, SHOWS, ClaimSection
from llm4seg_probe.reporting.drawing import Drawn, place_of, slug
from llm4seg_probe.reporting.explorer import explorer_data
from llm4seg_probe.reporting.exporting import TABLES, write_listing
from llm4seg_probe.reporting.facts import facts_of
from llm4seg_probe.reporting.listings import Listing, run_listing, verdict_listing
from llm4seg_probe.reporting.probes import ProbeSection, probe_sections
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.reporting.sections import SECTIONS, Section
from llm4seg_probe.reporting.style import known_arms
from llm4seg_probe.reporting.svg import inline_svg
from llm4seg_probe.reporting.templating import template
from llm4seg_probe.reporting.verdicts import VERDICTS, VerdictRow, verdict_rows
from llm4seg_probe.storage import write_text

PAGE = "index.html"
_FILES = (
    *("methods.md", "*.csv", "maps*.npz", "analysis.yaml"),
    *("tables/*.*", "figures/*.*", "*/*.csv", "*/*.npz"),
)
_SCRIPTS = ("sorting.js", "explorer-drawing.js", "explorer.js")


def write_page(
    results: Results,
    claims: Sequence[ClaimSection],
    figures: Mapping[str, Sequence[Drawn]],
    folder: Path,
    cases: Sequence[str] = (),
) -> Path:
    """Write ``index.html`` into a folder that holds the tables, and return its path.

    figures: those of :func:`drawing.draw_all`; what is missing was not drawn. The tables of the
    page are written under ``tables/``. The page works from disk and offline; nothing in it runs
    but its own scripts, whose hashes stand in its content security policy.
    """
    probes = probe_sections(results)
    scripts = [_asset(name) for name in _SCRIPTS]
    writer = _Tables(folder / TABLES)
    content = {
        "verdicts": _verdicts(results, claims),
        "tallied": _tallied(results),
        "claims": [_claim(claim, results, probes, figures, writer) for claim in claims],
        "sections": [_section(section, results, figures, writer) for section in SECTIONS],
        "probes": [_probe(probe, results.folder) for probe in probes],
        "summary": _summary(results, writer),
    }
    text = template("page.html").render(
        context=results.context,
        facts=facts_of(results),
        arms=_arms(results),
        meanings=VERDICTS,
        reading=READING,
        explorer=explorer_data(results, cases),
        downloads=_downloads(folder),
        version=version("llm4seg-probe"),
        style=_asset("page.css"),
        scripts=scripts,
        policy=_policy(scripts),
        **content,
    )
    path = folder / PAGE
    write_text(path, text)
    return path


class _Tables:
    """The tables of the page, written for a paper as they are shown."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def shown(self, listing: Listing | None, name: str) -> dict[str, Any] | None:
        """A table as the template shows it, with the names of its files."""
        if listing is None:
            return None
        paths = write_listing(listing, self._folder, name)
        files = {kind: f"{TABLES}/{path.name}" for kind, path in paths.items()}
        return {"listing": listing, "id": f"{name}-table", "files": files}


def _asset(name: str) -> Markup:
    folder = files("llm4seg_probe.reporting") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def _policy(scripts: Sequence[str]) -> str:
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    ]
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(hashes)}",
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _arms(results: Results) -> list[dict[str, str]]:
    names = results.context.arms
    if results.has("scores.csv"):
        names = (*names, *results.tables["scores.csv"]["arm"].unique())
    return [
        {"name": arm, "label": style.label, "colour": style.colour, "meaning": style.meaning}
        for arm, style in known_arms(names).items()
    ]


def _verdicts(
    results: Results, claims: Sequence[ClaimSection]
) -> list[tuple[VerdictRow, str | None]]:
    """The verdicts, each with the section of its claim, if there is one."""
    table = results.tables.get("claims.csv")
    anchors = {claim.claim.id: claim.anchor for claim in claims}
    return [] if table is None else [(row, anchors.get(row.claim)) for row in verdict_rows(table)]


def _tallied(results: Results) -> list[tuple[str, str, int]]:
    """How many claims have each verdict, those that decide first; none that nothing has."""
    claims = results.tables.get("claims.csv")
    count = Counter(() if claims is None else claims["verdict"])
    return [(name, word, count[name]) for name, (word, _) in VERDICTS.items() if count[name]]


def _summary(results: Results, writer: _Tables) -> dict[str, Any]:
    """The verdicts and the runs as tables for a paper."""
    claims, runs = results.tables.get("claims.csv"), results.tables.get("runs.csv")
    return {
        "verdicts": writer.shown(None if claims is None else verdict_listing(claims), "verdicts"),
        "runs": writer.shown(None if runs is None else run_listing(runs), "runs"),
    }


def _claim(
    claim: ClaimSection,
    results: Results,
    probes: Sequence[ProbeSection],
    figures: Mapping[str, Sequence[Drawn]],
    writer: _Tables,
) -> dict[str, Any]:
    """A claim as the template shows it, with the probes that bear on it."""
    stated = claim.claim
    rows = {row.claim: row for row, _ in _verdicts(results, ())}
    return {
        "claim": stated,
        "data": claim.datasets,
        "anchor": claim.anchor,
        "row": rows.get(stated.id),
        "shows": SHOWS.get(stated.kind, ""),
        "cannot": claim.cannot,
        "command": claim.command,
        "drawings": [_inlined(one) for one in figures.get(claim.anchor, ())],
        "listing": writer.shown(claim.listing, slug(claim.anchor)),
        "bears": [probe for probe in probes if probe.name in BEARS_ON.get(stated.id, ())],
    }


def _section(
    section: Section, results: Results, figures: Mapping[str, Sequence[Drawn]], writer: _Tables
) -> dict[str, Any]:
    """A section as the template shows it, by data set; without parts where it was not run."""
    parts = []
    for number, (dataset, part) in enumerate(results.parts.items()):
        if section.missing(part):
            continue
        name = f"{section.anchor}-{slug(dataset)}" if number else section.anchor
        listing = section.listing(part) if section.listing is not None else None
        drawings = [_inlined(one) for one in figures.get(place_of(section, dataset), ())]
        shown = writer.shown(listing, name)
        data = [one for one in results.context.all_datasets if one.name == dataset]
        parts.append({"dataset": dataset, "data": data, "drawings": drawings, "listing": shown})
    return {
        "section": section,
        "missing": " and ".join(section.missing(results)),
        "command": section.command(results),
        "parts": parts,
    }


def _probe(probe: ProbeSection, folder: Path) -> dict[str, Any]:
    """A probe as the template shows it, its files relative to the page."""
    drawings = []
    for name, path in probe.figures.items():
        alt = f"{probe.about.summary or probe.title}. {probe.numbers}".strip()
        svg = inline_svg(path.read_text(encoding="utf-8"), f"{probe.anchor}-{slug(name)}", alt)
        others = [path.with_suffix(f".{kind}") for kind in ("svg", "pdf", "png")]
        there = [other.relative_to(folder).as_posix() for other in others if other.is_file()]
        drawings.append({"svg": Markup(svg), "files": there, "title": name})
    shown = [path.relative_to(folder).as_posix() for path in probe.files]
    return {"probe": probe, "drawings": drawings, "files": shown}


def _inlined(drawn: Drawn) -> dict[str, Any]:
    svg = inline_svg(drawn.svg.read_text(encoding="utf-8"), drawn.name, drawn.alt)
    return {"drawing": drawn, "svg": Markup(svg)}


def _downloads(folder: Path) -> list[str]:
    found = [path for pattern in _FILES for path in sorted(folder.glob(pattern))]
    return list(dict.fromkeys(path.relative_to(folder).as_posix() for path in found))
