"""All figures of a page: drawn, saved beside it in three formats, and described."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llm4seg_probe.drawing.figure_files import save_figure
from llm4seg_probe.errors import TableError
from llm4seg_probe.report.claims import ClaimSection
from llm4seg_probe.report.results import Results
from llm4seg_probe.report.sections import SECTIONS, Section

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
