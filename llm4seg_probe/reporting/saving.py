"""A figure as SVG, PDF and PNG: equal bytes from equal tables, with the table's path inside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from llm4seg_probe.reporting.style import paper_style
from llm4seg_probe.storage import atomically

FORMATS = {"svg": 150, "pdf": 300, "png": 300}
"""Formats, with the dots per inch of what cannot be a line: maps and images."""


def save_figure(
    figure: Figure,
    folder: Path,
    name: str,
    table_path: Path,
    formats: Mapping[str, int] = FORMATS,
) -> dict[str, Path]:
    """Write ``name`` in each of the formats into a folder; returns the paths by format.

    The metadata names the table that was drawn, relative to the folder, and no date.
    """
    source = os.path.relpath(table_path, folder).replace(os.sep, "/")
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Title": name, "Source": source, "Date": None},
        "pdf": {"Title": name, "Subject": source, "CreationDate": None},
        "png": {"Title": name, "Source": source},
    }
    paths = {kind: Path(folder) / f"{name}.{kind}" for kind in formats}
    with paper_style(salt=name):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, and the same in each format
        for kind, path in paths.items():
            with atomically(path) as partial:
                figure.savefig(partial, format=kind, dpi=formats[kind], metadata=metadata[kind])
    return paths
