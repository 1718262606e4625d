"""Files beside the page: tables written for a paper, figures, and links to what exists."""

from __future__ import annotations

import base64
import csv
import io
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup, escape

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.figure_files import inline_svg, read_svg
from llm4seg_probe.reading.names import is_own
from llm4seg_probe.reading.pictures import open_picture
from llm4seg_probe.report.page_tables import MISSING, Cell, Listing
from llm4seg_probe.storage import write_text

TABLES = "tables"
FORMATS = ("csv", "md", "tex")

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
}
_INTERVAL = re.compile(r"[-+][\d.,% ]*(?:to [-+\d.,% ]+)?")
"""Numbers alone, as intervals are written: arithmetic at most, and nothing that a name could be."""
_MARKDOWN = frozenset("\\`*_[]|<>#~$")


def write_listing(listing: Listing, folder: Path, name: str) -> dict[str, Path]:
    """Write a table of the page in each of FORMATS; returns the paths by format."""
    texts = {"csv": as_csv(listing), "md": as_markdown(listing), "tex": as_latex(listing, name)}
    paths = {kind: folder / f"{name}.{kind}" for kind in FORMATS}
    for kind, path in paths.items():
        write_text(path, texts[kind])
    return paths


def as_csv(listing: Listing) -> str:
    """The table as CSV: in full precision where a cell shows one number, empty for none.

    A spreadsheet takes text that begins with ``=`` and the like for a formula, and names come
    from other people's files: such text gets an apostrophe in front. The tables that other
    programs read (``scores.csv`` and so on) hold names as they are.
    """
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_no_formula(column.title) for column in listing.columns])
    for row in listing.rows:
        writer.writerow([_exact(cell) for cell in row])
    return stream.getvalue()


def as_markdown(listing: Listing) -> str:
    """The table in Markdown, its caption above it."""
    heads = [_markdown(column.title) for column in listing.columns]
    rules = ["---:" if column.numeric else "---" for column in listing.columns]
    rows = [[_markdown(cell.text) for cell in row] for row in listing.rows]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]
    return "\n".join([_markdown(listing.caption), "", *lines, ""])


def as_latex(listing: Listing, label: str) -> str:
    """The table in LaTeX, for ``\\usepackage{booktabs}``."""
    heads = [_latex(column.title) for column in listing.columns]
    rows = [[_latex(cell.text) for cell in row] for row in listing.rows]
    lines = [f"  {' & '.join(cells)} \\\\" for cells in (heads, *rows)]
    alignment = "".join("r" if column.numeric else "l" for column in listing.columns)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(listing.caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _exact(cell: Cell) -> float | str:
    if cell.value == "" and cell.text == MISSING:
        return ""
    text = cell.text.replace(labels.MINUS, "-")
    try:
        float(text)
    except ValueError:
        return _no_formula(text)
    return cell.value


def _no_formula(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet would compute with names in it.

    >>> _no_formula("=cmd|' /C calc'!A0"), _no_formula("-0.50 to +0.10")
    ("'=cmd|' /C calc'!A0", '-0.50 to +0.10')
    """
    starts = text.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{text}" if starts and not _INTERVAL.fullmatch(text) else text


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _markdown(text: str) -> str:
    return "".join(
        f"\\{letter}" if letter in _MARKDOWN else letter for letter in " ".join(text.split())
    )


_LARGEST_BITMAP = 24_000
"""Characters of bitmaps in an SVG from which on it is shown as an image file instead."""
_EMBEDDED_WIDTH = 1400


@dataclass
class PageFiles:
    """What templates need to show files: only those that lie beside the page are linked."""

    folder: Path
    one_file: bool

    def exists(self, name: str) -> bool:
        """Whether the page may link to a file, relative to it."""
        return not self.one_file and is_own(self.folder / name, self.folder)

    def link(self, name: str, text: str = "") -> Markup:
        """A link to a file, or its name alone where it does not lie beside the page."""
        shown = escape(text or name)
        if self.exists(name):
            return Markup(f'<a href="{quote(name)}" download>{shown}</a>')
        return Markup(f'<span class="file">{escape(name)}</span>')

    def listing(self, listing: Listing | None, name: str) -> dict[str, Any] | None:
        """A table as the template shows it, with the names of its files."""
        if listing is None:
            return None
        found: dict[str, str] = {}
        if not self.one_file:
            paths = write_listing(listing, self.folder / TABLES, name)
            found = {kind: f"{TABLES}/{path.name}" for kind, path in paths.items()}
        hidden = sum(column.more for column in listing.columns)
        return {"listing": listing, "id": f"{name}-table", "files": found, "hidden": hidden}

    def figure(
        self, svg: Path, base: Path, name: str, alt: str, caption: str, **more: Any
    ) -> dict[str, Any]:
        """A figure as the template shows it: inline, or an image where it is made of bitmaps.

        base: the folder in which it lies as it does, or will, beside the page.
        """
        text = read_svg(svg)
        shape = {"name": name, "alt": alt, "caption": caption, "svg": None, "image": None, **more}
        if _bitmaps(text) > _LARGEST_BITMAP and is_own(svg.with_suffix(".png"), self.folder):
            png = svg.with_suffix(".png")
            shape["image"] = _embedded(png) if self.one_file else address(png, base)
        else:
            shape["svg"] = Markup(inline_svg(text, name, alt, svg))
        names = [address(svg.with_suffix(f".{kind}"), base) for kind in ("svg", "pdf", "png")]
        shape["files"] = [
            (name.rpartition(".")[2].upper(), name) for name in names if self.exists(name)
        ]
        return shape


def address(path: Path, base: Path) -> str:
    """A file's address on the page."""
    return path.relative_to(base).as_posix()


def _bitmaps(text: str) -> int:
    """Characters of the bitmaps inside an SVG."""
    return sum(len(part.partition('"')[0]) for part in text.split("data:image/png;base64,")[1:])


def _embedded(png: Path) -> str:
    """A picture as part of the page, no wider than a screen shows it."""
    from PIL import Image

    with open_picture(png) as picture:
        shown = picture.convert("RGB")
        if shown.width > _EMBEDDED_WIDTH:
            height = round(shown.height * _EMBEDDED_WIDTH / shown.width)
            shown = shown.resize((_EMBEDDED_WIDTH, height), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        shown.save(stream, "WEBP", quality=85, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
