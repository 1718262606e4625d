"""The page's tables as files for a paper: CSV in full precision, Markdown, LaTeX with booktabs."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.listings import MISSING, Cell, Listing
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
_MARKDOWN = frozenset("\\`*_[]|<>#~$")


def write_listing(listing: Listing, folder: Path, name: str) -> dict[str, Path]:
    """Write a table of the page in each of FORMATS; returns the paths by format."""
    texts = {"csv": as_csv(listing), "md": as_markdown(listing), "tex": as_latex(listing, name)}
    paths = {kind: folder / f"{name}.{kind}" for kind in FORMATS}
    for kind, path in paths.items():
        write_text(path, texts[kind])
    return paths


def as_csv(listing: Listing) -> str:
    """The table as CSV: in full precision where a cell shows one number, empty for none."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.title for column in listing.columns])
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
        return text
    return cell.value


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _markdown(text: str) -> str:
    return "".join(
        f"\\{letter}" if letter in _MARKDOWN else letter for letter in " ".join(text.split())
    )
