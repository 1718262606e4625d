"""What the notebooks share: where a figure is kept that one of them has drawn."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from llm4seg_probe.reporting.saving import save_figure

FOLDER = "notebooks"
_FORMATS = {"svg": 100, "png": 150}


def kept(figure: Figure, reports: Path, name: str, source: Path) -> str:
    """Write a figure as SVG and PNG under ``reports/notebooks``; returns the PNG's path.

    source: the table that was drawn, or the notebook that made it.
    """
    paths = save_figure(figure, Path(reports) / FOLDER, name, source, _FORMATS)
    return str(paths["png"])
