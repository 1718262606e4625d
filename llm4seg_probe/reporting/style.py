"""How things look: one colour, marker and label per arm, and matplotlib's style in a context."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import matplotlib

from llm4seg_probe.config import Arm

CENTIMETRE = 1 / 2.54
COLUMN = 8.5 * CENTIMETRE
"""Width of a journal's column, in inches."""
PAGE = 17.6 * CENTIMETRE
"""Width of two columns with the gap between them, in inches."""

INK = "#1F2933"
MUTED = "#616E7C"
GRID = "#E1E6EB"
BAND = "#CFD8E0"
PAPER = "#FEFEFE"
"""The figures' own colours; the page exchanges them for those of its light or dark theme."""


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn and named, the same in every figure and table."""

    label: str
    colour: str
    marker: str
    meaning: str = ""


# The colours differ by at least 17 units of CIELAB in every pair, for normal sight and under
# simulated protanopia, deuteranopia and tritanopia; the tests compute it.
ARM_STYLES: dict[Arm, ArmStyle] = {
    "cnn": ArmStyle("CNN", "#605577", "o", "nothing between encoder and decoder"),
    "llm": ArmStyle("LLM, frozen", "#055EB4", "D", "a pre-trained decoder layer, frozen"),
    "llm-trainable": ArmStyle(
        "LLM, trained", "#6E92F5", "d", "a pre-trained decoder layer, trained with the rest"
    ),
    "transformer": ArmStyle(
        "Transformer", "#D45309", "s", "the same architecture from random weights, trained"
    ),
    "random-frozen": ArmStyle(
        "Random, frozen", "#944336", "v", "the same architecture, random weights, frozen"
    ),
    "shuffled-frozen": ArmStyle(
        "Shuffled, frozen",
        "#FF871A",
        "^",
        "pre-trained weights, permuted within each tensor, frozen",
    ),
    "adapters": ArmStyle("Adapters only", "#27AD8B", "P", "the two linear projections alone"),
    "mlp": ArmStyle("MLP", "#8FB25A", "X", "the two projections with a GELU between"),
    "attention-only": ArmStyle(
        "Attention half", "#7B56EB", "<", "the frozen layer with its MLP bypassed"
    ),
    "mlp-only": ArmStyle(
        "MLP half", "#C38CC9", ">", "the frozen layer with its attention bypassed"
    ),
    "llm-lora": ArmStyle(
        "LLM, LoRA", "#8F00FF", "p", "a pre-trained decoder layer, frozen, with low-rank adapters"
    ),
}

_BY_NAME: dict[str, ArmStyle] = {str(name): style for name, style in ARM_STYLES.items()}
_CONDITION = re.compile(
    r"(?P<arm>[^\s\[\]@,()]+)(\[(?P<deviation>[^\[\]]*)\])?(@(?P<site>[^\s\[\]@,()]+))?"
)


_OTHER_MARKERS = ("h", "p", "8", "H")
_LIGHTER = (0.0, 0.22, 0.42)


def arm_style(condition: str) -> ArmStyle:
    """Style of a condition: an arm, with what deviates or the site in it, or any other name.

    A condition that deviates has its arm's colour, perhaps lighter, and another marker: the
    marker goes by the field that deviates, the lightness by its value.

    >>> arm_style("llm[layer=10]@after").label
    'LLM, frozen, layer 10, after'
    >>> arm_style("their method").label
    'their method'
    """
    parts = _CONDITION.fullmatch(condition)
    style = _BY_NAME.get(parts["arm"]) if parts else None
    if parts is None or style is None:
        return ArmStyle(condition, MUTED, "o")
    deviation = parts["deviation"] or ""
    words = deviation.replace("=", " ").replace(",", ", ")
    label = ", ".join(part for part in (style.label, words, parts["site"]) if part)
    if not deviation:
        return replace(style, label=label)
    field = crc32(deviation.partition("=")[0].encode())
    return replace(
        style,
        label=label,
        marker=_OTHER_MARKERS[field % len(_OTHER_MARKERS)],
        colour=_lighter(style.colour, _LIGHTER[crc32(deviation.encode()) % len(_LIGHTER)]),
    )


def _lighter(colour: str, share: float) -> str:
    """A colour mixed with so much white."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * (255 - part)):02X}" for part in parts)


def condition_style(condition: str) -> ArmStyle:
    """Style of what a claim compares: an arm, or a contrast or mean, which looks like its first.

    >>> condition_style("llm@after - llm@before").label
    'LLM, frozen, after − LLM, frozen, before'
    >>> condition_style("mean(llm[layer=1], llm[layer=2])").label
    'mean of 2: LLM, frozen, layer 1 …'
    """
    signs = {"+": "+", "-": "\N{MINUS SIGN}"}
    pieces = re.split(r"\s([+-])\s", condition.strip())
    parts = [signs[piece] if piece in signs else _term_label(piece) for piece in pieces]
    return replace(arm_style(_terms(pieces[0])[0]), label=" ".join(parts))


def _term_label(piece: str) -> str:
    terms = _terms(piece)
    label = arm_style(terms[0]).label
    return label if len(terms) == 1 else f"mean of {len(terms)}: {label} …"


def _terms(piece: str) -> list[str]:
    inner = re.fullmatch(r"mean\((.*)\)", piece)
    return re.split(r",\s*(?![^\[]*\])", inner[1]) if inner else [piece]


def known_arms(names: Iterable[str]) -> dict[str, ArmStyle]:
    """Those of the names that are arms, in their fixed order, with their styles."""
    wanted = set(names)
    return {name: style for name, style in _BY_NAME.items() if name in wanted}


def in_order(conditions: Iterable[str]) -> list[str]:
    """Conditions without repeats, arms first in their fixed order, the others as they come."""
    order = {arm: place for place, arm in enumerate(_BY_NAME)}

    def place(condition: str) -> int:
        parts = _CONDITION.fullmatch(condition)
        return order.get(parts["arm"], len(order)) if parts else len(order)

    return sorted(dict.fromkeys(conditions), key=place)


@contextmanager
def paper_style(salt: str = "figure") -> Iterator[None]:
    """Matplotlib's settings for a figure at column width; on leaving they are what they were.

    The user's own settings are left aside, so that the same table gives the same bytes. ``salt``
    makes the names inside an SVG differ between the figures of one page.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        matplotlib.rcParams["svg.hashsalt"] = salt
        yield


_SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.solid_capstyle": "butt",
    "savefig.dpi": 300,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
