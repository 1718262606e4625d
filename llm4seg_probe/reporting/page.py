"""The page: one HTML file that holds all it needs, made from the tables and their figures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llm4seg_probe.reporting.explorer import explorer_data
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.reporting.sections import SECTIONS, Drawing, Section
from llm4seg_probe.reporting.style import known_arms
from llm4seg_probe.reporting.svg import inline_svg
from llm4seg_probe.reporting.verdicts import VERDICTS, verdict_rows
from llm4seg_probe.storage import write_text

PAGE = "index.html"
_FILES = ("*.csv", "maps.npz", "analysis.yaml", "figures/*.*")


def write_page(results: Results, figures: Mapping[str, Path], folder: Path) -> Path:
    """Write ``index.html`` into a folder that holds the tables, and return its path.

    figures: the SVG of each drawing by its name; one that is missing was not drawn. The page
    works from disk and offline; nothing in it runs but its own two scripts, whose hashes stand
    in its content security policy.
    """
    environment = Environment(
        loader=PackageLoader("llm4seg_probe.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [_asset("sorting.js"), _asset("explorer.js")]
    path = folder / PAGE
    text = environment.get_template("page.html").render(
        context=results.context,
        facts=_facts(results),
        arms=_arms(results),
        verdicts=_verdicts(results),
        meanings=VERDICTS,
        sections=[_section(section, results, figures) for section in SECTIONS],
        explorer=explorer_data(results),
        downloads=_downloads(folder),
        version=version("llm4seg-probe"),
        style=_asset("page.css"),
        scripts=scripts,
        policy="; ".join(
            [
                "default-src 'none'",
                f"script-src {' '.join(_hash(script) for script in scripts)}",
                "style-src 'unsafe-inline'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            ]
        ),
    )
    write_text(path, text)
    return path


def _asset(name: str) -> Markup:
    folder = files("llm4seg_probe.reporting") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _facts(results: Results) -> dict[str, list[str]]:
    """What stands at the top: data, scale and machine, each as a few short lines."""
    context = results.context
    data = context.dataset
    described = ": ".join(part for part in (data.name, data.description) if part)
    counted = ", ".join(f"{count} {name}" for name, count in data.counts.items())
    split = f"split: {data.split}" if data.split else ""
    facts = {
        "Data": [described, counted, split, f"licence: {data.licence}" if data.licence else ""],
        "Scale": [
            f"size: {context.size}" if context.size else "",
            *(f"{name}: {value}" for name, value in context.scale.items()),
            f"{len(context.arms)} arms, {len(context.seeds)} seeds" if context.arms else "",
        ],
        "Machine": [
            *(f"{name}: {value}" for name, value in context.machine.items()),
            _training_time(results),
        ],
    }
    return {name: [line for line in lines if line] for name, lines in facts.items() if any(lines)}


def _training_time(results: Results) -> str:
    if not results.has("runs.csv"):
        return ""
    seconds = results.tables["runs.csv"]["wall_seconds"]
    minutes = seconds.sum() / 60
    spent = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    return f"{len(seconds)} runs, {spent} of training"


def _arms(results: Results) -> list[dict[str, str]]:
    names = results.context.arms
    if results.has("scores.csv"):
        names = (*names, *results.tables["scores.csv"]["arm"].unique())
    return [
        {"name": arm, "label": style.label, "colour": style.colour, "meaning": style.meaning}
        for arm, style in known_arms(names).items()
    ]


def _verdicts(results: Results) -> list[Any]:
    claims = results.tables.get("claims.csv")
    return [] if claims is None else list(verdict_rows(claims))


def _section(section: Section, results: Results, figures: Mapping[str, Path]) -> dict[str, Any]:
    """A section as the template shows it; without content where it was not run."""
    missing = section.missing(results)
    shown: dict[str, Any] = {
        "section": section,
        "missing": " and ".join(missing),
        "command": section.command(results),
        "drawings": [],
        "listing": None,
    }
    if missing:
        return shown
    shown["drawings"] = [
        _drawing(drawing, results, figures[drawing.name])
        for drawing in section.drawings
        if drawing.name in figures
    ]
    if section.listing is not None:
        shown["listing"] = section.listing(results)
    return shown


def _drawing(drawing: Drawing, results: Results, path: Path) -> dict[str, Any]:
    svg = inline_svg(path.read_text(encoding="utf-8"), drawing.name, drawing.alt(results))
    return {"drawing": drawing, "svg": Markup(svg)}


def _downloads(folder: Path) -> list[str]:
    found = [path for pattern in _FILES for path in sorted(folder.glob(pattern))]
    return [path.relative_to(folder).as_posix() for path in found]
