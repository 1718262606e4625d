"""Style: one colour, marker and label per arm, and matplotlib's settings in a context."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import matplotlib

from llm4seg_probe.arms import ARMS, ArmName, Term, parse_condition
from llm4seg_probe.drawing import labels
from llm4seg_probe.errors import ConfigError

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
# simulated protanopia, deuteranopia and tritanopia, and stand out from white by 3:1; the tests
# compute it. On a dark page each has a lighter tone, see PAGE_COLOURS.
_LOOKS: dict[ArmName, tuple[str, str]] = {
    "cnn": ("#69607E", "o"),
    "llm": ("#1855A9", "D"),
    "llm-trainable": ("#668AEE", "d"),
    "transformer": ("#C23B02", "s"),
    "random-frozen": ("#974638", "v"),
    "shuffled-frozen": ("#E4740B", "^"),
    "adapters": ("#08A782", "P"),
    "mlp": ("#759B4B", "X"),
    "attention-only": ("#7B5DF9", "<"),
    "mlp-only": ("#B27FBD", ">"),
    "llm-lora": ("#8710FD", "p"),
    "llm-mix": ("#353668", "*"),
    "random-mix": ("#770528", "$\\clubsuit$"),
    "llm-gated": ("#5709AD", "$\\spadesuit$"),
    "random-gated": ("#613300", "$\u2665$"),
}
ARM_STYLES: dict[ArmName, ArmStyle] = {
    name: ArmStyle(ARMS[name].label, colour, marker, ARMS[name].description)
    for name, (colour, marker) in _LOOKS.items()
}

_ON_DARK: dict[ArmName, str] = {
    "cnn": "#6D6382",
    "llm": "#3463B8",
    "llm-trainable": "#6794FE",
    "transformer": "#C53D09",
    "random-frozen": "#A8513E",
    "shuffled-frozen": "#EB7800",
    "adapters": "#11A279",
    "mlp": "#84B16A",
    "attention-only": "#7B5AF2",
    "mlp-only": "#AA77BC",
    "llm-lora": "#891BFF",
    "llm-mix": "#B5F8FD",
    "random-mix": "#F5BFB9",
    "llm-gated": "#C7C6F9",
    "random-gated": "#CEDB49",
}
"""The arms' tones on a dark page, told apart and standing out as the others do on a light one."""

_BY_NAME: dict[str, ArmStyle] = {str(name): style for name, style in ARM_STYLES.items()}
_OTHER_MARKERS = ("h", "p", "8", "H")
_DARKER = (0.0, 0.22, 0.42)


def arm_style(condition: str) -> ArmStyle:
    """Style of a condition: an arm, with what deviates or the site in it, or any other name.

    A condition that deviates has its arm's colour, perhaps darker, and another marker: the
    marker goes by the field that deviates, the darkness by its value.

    >>> arm_style("llm[layer=10]@after").label
    'LLM, frozen, layer 10, after'
    >>> arm_style("their method").label
    'their method'
    """
    term = _term(condition)
    style = _BY_NAME.get(term.arm) if term else None
    if term is None or style is None:
        return ArmStyle(condition, MUTED, "o")
    deviating = [(name, value) for name, value in term.filters if name != "site"]
    words = [labels.setting(name, value) for name, value in term.filters]
    label = ", ".join([style.label, *words])
    if not deviating:
        return replace(style, label=label)
    deviation = ",".join(f"{name}={value}" for name, value in deviating)
    field = crc32(deviating[0][0].encode())
    return replace(
        style,
        label=label,
        marker=_OTHER_MARKERS[field % len(_OTHER_MARKERS)],
        colour=_mixed(style.colour, "#000000", _DARKER[crc32(deviation.encode()) % len(_DARKER)]),
    )


def _term(condition: str) -> Term | None:
    """The one term of a condition; None for a contrast, a mean, or what is no condition."""
    try:
        terms = parse_condition(condition).terms
    except ConfigError:
        return None
    return terms[0][1] if len(terms) == 1 else None


def _mixed(colour: str, other: str, share: float) -> str:
    """A colour mixed with so much of another one."""
    parts = ((int(c[at : at + 2], 16) for c in (colour, other)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(one + share * (two - one)):02X}" for one, two in parts)


def condition_style(condition: str) -> ArmStyle:
    """Style of what a claim compares: an arm, or a contrast, mean or SD, like its first arm.

    >>> condition_style("llm@after - llm@before").label
    'LLM, frozen, after − LLM, frozen, before'
    >>> condition_style("mean(llm[layer=1], llm[layer=2])").label
    'mean of 2: LLM, frozen, layer 1 …'
    """
    try:
        parsed = parse_condition(condition)
    except ConfigError:
        return arm_style(condition)
    terms, several = parsed.terms, "SD" if parsed.spread else "mean"
    label = ""
    index = 0
    while index < len(terms):
        weight, term = terms[index]
        count = round(1 / abs(weight))  # a mean of n conditions is written as n terms of 1/n
        sign = ("" if weight > 0 else labels.MINUS) if not index else "+-"[weight < 0]
        sign = sign.replace("-", labels.MINUS)
        named = arm_style(str(term)).label
        named = named if count == 1 else f"{several} of {count}: {named} …"
        label = f"{label} {sign} {named}" if index else f"{sign}{named}"
        index += count
    return replace(arm_style(str(terms[0][1])), label=label)


def page_colours() -> dict[str, str]:
    """Every colour of an arm or condition, and its tone on a dark page."""
    return {
        _mixed(style.colour, "#000000", share): _mixed(_ON_DARK[arm], "#FFFFFF", share)
        for arm, style in ARM_STYLES.items()
        for share in _DARKER
    }


def known_arms(names: Iterable[str]) -> dict[str, ArmStyle]:
    """Those of the names that are arms, in their fixed order, with their styles."""
    wanted = set(names)
    return {name: style for name, style in _BY_NAME.items() if name in wanted}


def in_order(conditions: Iterable[str]) -> list[str]:
    """Conditions without repeats, arms first in their fixed order, the others as they come."""
    order = {arm: rank for rank, arm in enumerate(_BY_NAME)}

    def rank(condition: str) -> int:
        term = _term(condition)
        return order.get(term.arm, len(order)) if term else len(order)

    return sorted(dict.fromkeys(conditions), key=rank)


@contextmanager
def style() -> Iterator[None]:
    """Draw figures of one's own as those of the package look, as long as a ``with`` block runs.

    Matplotlib's settings are put back on leaving. The colours of the arms follow the conditions
    that :func:`arm_style` gives.

    Examples
    --------
    >>> from matplotlib import pyplot
    >>> with style():
    ...     figure, axes = pyplot.subplots()
    >>> axes.spines["top"].get_visible()
    False
    >>> pyplot.close(figure)
    """
    with paper_style():
        yield


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
    "figure.constrained_layout.w_pad": 0.07,  # inches; 21 of a page's pixels at 300 per inch
    "figure.constrained_layout.h_pad": 0.06,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
