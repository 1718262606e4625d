"""Small plots of an effect, drawn as SVG for the page: with an axis, cut where one lies far out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup, escape

from llm4seg_probe.drawing import labels
from llm4seg_probe.report.verdicts import EffectPlot

_ARROW = 5.0


@dataclass(frozen=True)
class Size:
    """Measures of a plot in units of its view box."""

    width: float
    bar: float
    both: float
    axis: float
    height: float
    dot: float

    @property
    def half(self) -> float:
        """From the middle to the end of the axis."""
        return self.width / 2 - 14


SMALL = Size(width=240, bar=11, both=21, axis=28, height=42, dot=4)
TINY = Size(width=130, bar=9, both=9, axis=0, height=18, dot=3.4)
LARGE = Size(width=360, bar=30, both=48, axis=60, height=96, dot=6)


def effect_svg(
    plot: EffectPlot,
    text: str,
    size: Size = SMALL,
    name: str = "",
    sides: tuple[str, str] | None = None,
) -> Markup:
    """Draw an effect with its intervals and margin.

    Parameters
    ----------
    plot
        The effect, and where its axis ends; what lies beyond is cut with an arrowhead.
    text
        The numbers in words, as alternative text and tooltip.
    size
        SMALL with an axis, TINY without, or LARGE with an axis that has a name.
    name
        What the axis of a LARGE plot shows.
    sides
        What a difference on the left and on the right of zero means.
    """
    middle, half = size.width / 2, size.half
    parts = [f"<title>{escape(text)}</title>"]
    end = size.axis or size.height

    def x(value: float) -> float:
        return middle + half * max(-1.0, min(1.0, value / plot.extent))

    if plot.margin is not None:
        low, high = x(-plot.margin), x(plot.margin)
        parts.append(_rect("margin", low, 1, max(high - low, 2.0), end - 2))
    parts.append(f'<line class="zero" x1="{middle:g}" x2="{middle:g}" y1="1" y2="{end:g}"/>')
    bars = (("both", plot.over_both, size.both), ("runs", plot.over_runs, size.bar))
    for kind, bounds, y in bars:
        if bounds is not None:
            parts += _bar(kind, bounds, y, x, plot.extent)
    if abs(plot.difference) <= plot.extent:
        at = x(plot.difference)
        parts.append(f'<circle class="estimate" cx="{at:.1f}" cy="{size.bar:g}" r="{size.dot:g}"/>')
    if size.axis:
        parts += _axis(size, plot.extent, middle, half)
    for at, anchor, word in zip(
        (middle - half, middle + half), ("start", "end"), sides or (), strict=False
    ):
        parts.append(f'<text class="side {anchor}" x="{at:g}" y="11">{escape(word)}</text>')
    if name:
        label = f'<text class="name" x="{middle:g}" y="{size.height - 4:g}">{escape(name)}</text>'
        parts.append(label)
    return Markup(
        f'<svg class="effect" viewBox="0 0 {size.width:g} {size.height:g}" role="img" '
        f'aria-label="{escape(text)}">{"".join(parts)}</svg>'
    )


def _bar(
    kind: str, bounds: tuple[float, float], y: float, x: Callable[[float], float], extent: float
) -> list[str]:
    low, high = x(bounds[0]), x(bounds[1])
    parts = []
    if bounds[1] >= -extent and bounds[0] <= extent:
        parts.append(f'<line class="{kind}" x1="{low:.1f}" x2="{high:.1f}" y1="{y:g}" y2="{y:g}"/>')
    for is_cut, at, way in ((bounds[0] < -extent, low, -1), (bounds[1] > extent, high, 1)):
        if is_cut:
            tip = at + way * 2 * _ARROW
            points = f"{at:.1f},{y - _ARROW:g} {tip:.1f},{y:g} {at:.1f},{y + _ARROW:g}"
            parts.append(f'<polygon class="cut {kind}" points="{points}"/>')
    return parts


def _axis(size: Size, extent: float, middle: float, half: float) -> list[str]:
    """A line with ticks at both ends and at zero."""
    y = size.axis
    parts = [
        f'<line class="axis" x1="{middle - half:g}" x2="{middle + half:g}" y1="{y:g}" y2="{y:g}"/>'
    ]
    ends = (-extent, 0.0, extent)
    values = (-extent, -extent / 2, 0.0, extent / 2, extent) if size is LARGE else ends
    for value in values:
        at = middle + half * value / extent
        text = f"{value:+.3g}".replace("-", labels.MINUS) if value else "0"
        parts.append(f'<line class="axis" x1="{at:g}" x2="{at:g}" y1="{y:g}" y2="{y + 3:g}"/>')
        parts.append(f'<text x="{at:g}" y="{y + 13:g}">{text}</text>')
    return parts


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:g}" width="{width:.1f}" height="{height:g}"/>'
