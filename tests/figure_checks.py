"""What no figure may have or do: ink at its edge, texts on one another, settings left changed."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from llm4seg_probe.drawing.figure_files import save_figure
from llm4seg_probe.drawing.style import PAPER, paper_style

EDGE = 2
"""Pixels at the border, at 150 per inch, that stay blank: four at the 300 of a file."""
TOUCH = 0.12
"""Share of the smaller of two texts that may lie in the other's box: boxes are larger than ink."""


def settings() -> dict[str, object]:
    """Matplotlib's settings but the backend, which is chosen by looking at it."""
    return {name: value for name, value in dict.items(matplotlib.rcParams) if name != "backend"}


def edges_with_ink(figure: Figure, folder: Path) -> list[str]:
    """Sides on which the figure, saved as the report saves it, has ink in the outer pixels."""
    paths = save_figure(figure, folder, "figure", folder / "table.csv", {"png": 150})
    with Image.open(paths["png"]) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    paper = np.array([int(PAPER[at : at + 2], 16) for at in (1, 3, 5)])
    ink = np.abs(pixels - paper).max(axis=2) > 12
    sides = {
        "left": ink[:, :EDGE], "right": ink[:, -EDGE:], "top": ink[:EDGE], "bottom": ink[-EDGE:],
    }  # fmt: skip
    return [side for side, part in sides.items() if part.any()]


def texts_on_one_another(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap; the figure has been laid out already."""
    with paper_style():
        figure.draw_without_rendering()
        shown = [
            (text.get_text(), text.get_window_extent())
            for text in figure.findobj(Text)
            if text.get_visible() and text.get_text().strip() and text not in undrawn(figure)
        ]
    found = []
    for (one, first), (two, second) in combinations(shown, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        smaller = min(first.width * first.height, second.width * second.height)
        if width > 0 and height > 0 and width * height > TOUCH * smaller:
            found.append((one, two))
    return found


def undrawn(figure: Figure) -> set[Text]:
    """Tick labels beyond the limits of their axis, or of an axis switched off."""
    found: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            room = 1e-6 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not axes.axison or not low - room <= tick.get_loc() <= high + room:
                    found |= {tick.label1, tick.label2}
        if not axes.axison:
            found |= {axes.xaxis.label, axes.yaxis.label}
    return found
