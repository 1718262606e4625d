"""A figure's SVG made ready to stand inside the page: its own names, the page's colours."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from llm4seg_probe.reporting.style import BAND, GRID, INK, MUTED, PAPER

_THEME = {
    INK.lower(): "var(--ink)",
    MUTED.lower(): "var(--muted)",
    GRID.lower(): "var(--grid)",
    BAND.lower(): "var(--band)",
    PAPER.lower(): "var(--paper)",
}
_HEX = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"""(?:url\(|href=")#([^")]+)""")
_DROPPED = {"metadata", "style", "title"}


def inline_svg(text: str, name: str, alt: str) -> str:
    """SVG markup for the inside of an HTML page, from what matplotlib wrote.

    Identifiers that something refers to get ``name`` in front, so that two figures never share
    one, and the others go. The figures' neutral colours become the page's variables, so that they
    follow its light or dark theme. ``alt`` is what a screen reader says.
    """
    root = ElementTree.fromstring(text)
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in _DROPPED:
                parent.remove(child)
    used = set(_REFERENCE.findall(text))
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            _local(key): _attribute(_local(key), value, name)
            for key, value in element.attrib.items()
            if key != "id" or value in used
        }
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib.update({"role": "img", "aria-label": alt})
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    value = value.replace("url(#", f"url(#{name}-")
    return _HEX.sub(lambda match: _THEME.get(match[0].lower(), match[0]), value)
