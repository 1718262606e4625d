"""What the figures share: arms or conditions as rows, first on top, and null bands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.style import BAND, CENTIMETRE, COLUMN, MUTED, arm_style

_NULL_STYLES: tuple[dict[str, object], ...] = (
    {"facecolor": BAND, "edgecolor": "none", "linewidth": 0},
    {"facecolor": "none", "edgecolor": MUTED, "linewidth": 0.6, "linestyle": (0, (3, 1.5))},
    {"facecolor": "none", "edgecolor": MUTED, "linewidth": 0.6, "linestyle": "solid"},
    {"facecolor": "none", "edgecolor": MUTED, "linewidth": 0.8, "linestyle": (0, (1, 1))},
)


def tall_figure(rows: float, *, row_height: float = 0.72, extra: float = 1.4) -> Figure:
    """Figure of a column's width that grows with its rows (heights in centimetres)."""
    height = (rows * row_height + extra) * CENTIMETRE
    return Figure(figsize=(COLUMN, height), layout="constrained")


def arm_axis(axes: Axes, names: Sequence[str]) -> None:
    """Label the rows 0, 1, … from top to bottom; no spine or ticks beside them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def row_label(condition: str) -> str:
    """Label of a row: the arm, and on a line each what deviates in it.

    >>> row_label("llm[layer=10,dataset=spine]")
    'LLM, frozen\\nlayer 10\\ndataset spine'
    """
    arm = arm_style(condition.partition("[")[0]).label
    rest = arm_style(condition).label.removeprefix(arm).removeprefix(", ")
    return "\n".join([arm, *rest.split(", ")]) if rest else arm


def arm_labels(conditions: Sequence[str], width: int = 22) -> tuple[list[str], float]:
    """Labels of rows, broken into lines, and how much higher rows must be for them."""
    texts = [fill(arm_style(name).label, width, break_on_hyphens=False) for name in conditions]
    return texts, max(1.0, 0.52 * most_lines(texts))


def most_lines(texts: Iterable[str]) -> int:
    """Lines of the text that has most of them; 1 where there is none."""
    return max((text.count("\n") + 1 for text in texts), default=1)


def null_band(
    axes: Axes, style: int, low: float, high: float, middle: float, height: float
) -> None:
    """Draw what a measure is where nothing was learned, from ``low`` to ``high``, in one row."""
    axes.barh(middle, high - low, left=low, height=height, zorder=1.5, **_NULL_STYLES[style % 4])  # type: ignore[arg-type]


def null_handles(names: Sequence[str]) -> list[Patch]:
    """Legend entries of the null bands, in the order of their styles."""
    return [
        Patch(label=labels.null(name), **_NULL_STYLES[place % 4])  # type: ignore[arg-type]
        for place, name in enumerate(names)
    ]
