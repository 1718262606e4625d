"""What can be read of a figure at a column's width."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from llm4seg_probe.drawing.style import COLUMN, paper_style


def legible(figure: Figure) -> None:
    """Nothing is smaller than 7 points, and no title, label or legend leaves the figure."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    assert min(text.get_fontsize() for text in texts) >= 7
    # Ticks beyond the limits are never drawn.
    ticks = {
        text
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for text in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))
    }
    with paper_style():
        figure.draw_without_rendering()
        for text in texts:
            axes = text.axes
            hidden = axes is not None and not axes.axison and text not in (axes.title, *axes.texts)
            if text in ticks or hidden:
                continue
            box = text.get_window_extent()
            assert box.x0 >= figure.bbox.x0 - 1, text.get_text()
            assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
