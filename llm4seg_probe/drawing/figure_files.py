"""Write figures as files whose bytes depend on what they show alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure

from llm4seg_probe.drawing.axes import TIP
from llm4seg_probe.drawing.style import BAND, GRID, INK, MUTED, PAPER, page_colours, paper_style
from llm4seg_probe.errors import TableError
from llm4seg_probe.reading.bounds import as_error, bound, refuse_more
from llm4seg_probe.reading.text import read_text
from llm4seg_probe.storage import atomically

_THEME = {
    INK.lower(): "var(--ink)",
    MUTED.lower(): "var(--muted)",
    GRID.lower(): "var(--grid)",
    BAND.lower(): "var(--band)",
    PAPER.lower(): "var(--paper)",
    **{colour.lower(): f"var(--c-{colour[1:].lower()})" for colour in page_colours()},
}
_HEX = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"""(?:url\(|href=")#([^")]+)""")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_COORDINATES = ("d", "points", "x", "y", "transform")
_USUAL = {"stroke-linejoin: round", "stroke-linecap: butt", "stroke-miterlimit: 10"}
_SVG = "{http://www.w3.org/2000/svg}"
_SHAPES = frozenset({"path", "rect", "circle", "ellipse", "line", "polyline", "polygon"})
_ELEMENTS = _SHAPES | {
    *("svg", "g", "defs", "use", "text", "tspan", "image", "clipPath", "pattern", "title"),
    *("linearGradient", "radialGradient", "stop"),
}
_STYLES = frozenset(
    {
        *("fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity"),
        *("stroke-linecap", "stroke-linejoin", "stroke-dasharray", "stroke-dashoffset"),
        *("stroke-miterlimit", "opacity", "stop-color", "stop-opacity", "clip-path", "clip-rule"),
        *("font", "font-family", "font-size", "font-style", "font-weight", "font-stretch"),
        *("font-variant", "text-anchor", "dominant-baseline", "white-space"),
        *("shape-rendering", "image-rendering", "text-rendering", "vector-effect"),
    }
)
"""Properties of a style; none of them moves a figure over what stands around it."""
_ATTRIBUTES = _STYLES | {
    *("id", "d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "dx", "dy"),
    *("width", "height", "viewBox", "version", "points", "transform", "preserveAspectRatio"),
    *("clipPathUnits", "clipPathunits", "offset", "gradientUnits", "gradientTransform"),
    *("patternUnits", "patternTransform", "textLength", "lengthAdjust", "rotate"),
}
_INLINE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=\s]*\Z")
_WITHIN = re.compile(r"#[\w.:-]+\Z")
_LOADS = re.compile(r"url\s*\(\s*(?!#)|@import|expression|[\\<>&]|javascript:", re.IGNORECASE)
"""What a style or a paint must not hold: anything that fetches, and escapes that could hide it."""


def colour_variables() -> tuple[str, str]:
    """The page's variables for the colours of arms, as CSS: on light, and on dark."""
    tones = page_colours().items()
    light = [f"--c-{colour[1:].lower()}: {colour};" for colour, _ in tones]
    dark = [f"--c-{colour[1:].lower()}: {tone};" for colour, tone in tones]
    return " ".join(light), " ".join(dark)


def read_svg(path: Path) -> str:
    """A figure's file, of bounded size. Raises TableError for one that is no text."""
    return read_text(path, TableError)


def inline_svg(text: str, name: str, alt: str, path: Path | str = "figure") -> str:
    """SVG markup for the inside of an HTML page, from what matplotlib wrote.

    Identifiers that something refers to get ``name`` in front, so that two figures never share
    one, and the others go. The figures' neutral colours and those of the arms become the page's
    variables, so that they follow its light or dark theme, but for the letters inside of coloured
    cells. Coordinates keep two decimals. ``alt`` is what a screen reader says. Raises TableError,
    which names ``path``, for a text that is no SVG.
    """
    with as_error(path, TableError, "is not a readable SVG figure"):
        root = _parsed(text, path)
        if root.tag not in (f"{_SVG}svg", "svg"):
            raise TableError(f"{path}: is no SVG figure")
        for title in [child for child in root if _local(str(child.tag)) == "title"]:
            root.remove(title)
        _keep_drawings(root)
        _drop_nested_uses(root)
        used = set(_REFERENCE.findall(text))
        for element in root.iter():
            _clean(element, name, used)
        for size in ("width", "height", "version"):
            root.attrib.pop(size, None)
        root.attrib.update({"role": "img", "aria-label": alt})
        return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Leave the element its plain name, what is harmless of its attributes, and no indentation."""
    element.tag = _local(element.tag)
    found = {_local(key): value for key, value in element.attrib.items()}
    element.attrib.clear()
    element.attrib.update(
        {
            key: _attribute(key, value, name)
            for key, value in found.items()
            if _is_harmless(key, value) and (key != "id" or value in used)
        }
    )
    if not element.attrib.get("style", "-"):
        del element.attrib["style"]
    element.tail = None
    if element.text is not None and not element.text.strip():
        element.text = None


def _parsed(text: str, path: Path | str) -> ElementTree.Element:
    """The tree, whose depth is known before anything walks it by calling itself."""
    parser: Any = ElementTree.XMLPullParser(("start", "end"))
    depth, most = 0, bound("depth")
    root: ElementTree.Element | None = None
    for start in range(0, len(text), 65536):
        parser.feed(text[start : start + 65536])
        for event, element in parser.read_events():
            depth += 1 if event == "start" else -1
            root = element if root is None else root
            if depth > most:
                refuse_more("depth", depth, f"{path}: is nested {depth} deep", TableError)
    parser.close()
    if root is None:
        raise TableError(f"{path}: is no SVG figure")
    return root


def _keep_drawings(root: ElementTree.Element) -> None:
    """Drop every element that is none of ``_ELEMENTS``, with all that is inside it."""
    for parent in root.iter():
        for child in list(parent):
            tag = child.tag if isinstance(child.tag, str) else ""
            namespace, brace, local = tag.rpartition("}")
            if local not in _ELEMENTS or (brace and f"{namespace}}}" != _SVG):
                parent.remove(child)


def _drop_nested_uses(root: ElementTree.Element) -> None:
    """Keep only uses of single shapes: uses of uses multiply, ten lines make a billion shapes."""
    shapes = {item.get("id") for item in root.iter() if _local(str(item.tag)) in _SHAPES}
    for parent in root.iter():
        for child in list(parent):
            if _local(str(child.tag)) == "use":
                target = child.get("{http://www.w3.org/1999/xlink}href") or child.get("href") or ""
                if target[1:] not in shapes:
                    parent.remove(child)


def _styled(value: str) -> str:
    """The declarations of a style that are among ``_STYLES``, without those that say the usual."""
    parts = [part.strip() for part in value.split(";")]
    kept = [part for part in parts if part.partition(":")[0].strip() in _STYLES]
    return ";".join(part for part in kept if part not in _USUAL)


def _is_harmless(key: str, value: str) -> bool:
    if key == "href":
        return bool(_WITHIN.match(value) or _INLINE.match(value))
    return (key in _ATTRIBUTES or key == "style") and not _LOADS.search(value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    if key in _COORDINATES:
        value = " ".join(_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", value).split())
    value = _styled(value) if key == "style" else value
    value = value.replace("url(#", f"url(#{name}-")
    return _HEX.sub(lambda match: _THEME.get(match[0].lower(), match[0]), value)


def _with_tips(text: str) -> str:
    """An SVG in which marks with tooltips have them as titles: see :data:`axes.TIP`."""
    if TIP not in text:
        return text
    for prefix, address in _NAMESPACES.items():
        ElementTree.register_namespace(prefix, address)
    root = ElementTree.fromstring(text)
    for group in root.iter(f"{_SVG}g"):
        if not group.get("id", "").startswith(TIP):
            continue
        tips = json.loads(group.attrib.pop("id").removeprefix(TIP))
        marks = list(group.iter(f"{_SVG}use"))
        for mark, tip in zip(marks, tips if len(marks) == len(tips) else (), strict=False):
            ElementTree.SubElement(mark, f"{_SVG}title").text = tip
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


_NAMESPACES = {
    "": "http://www.w3.org/2000/svg",
    "xlink": "http://www.w3.org/1999/xlink",
    "dc": "http://purl.org/dc/elements/1.1/",
    "cc": "http://creativecommons.org/ns#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
_LAYOUTS = 2  # the first moves tick labels, which the second then makes room for
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
        figure.set_dpi(max(formats.values()))  # letters are as wide as in the finest format
        for _ in range(_LAYOUTS):
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, and the same in each format
        for kind, path in paths.items():
            with atomically(path) as partial:
                figure.savefig(partial, format=kind, dpi=formats[kind], metadata=metadata[kind])
                if kind == "svg":
                    written = Path(partial)
                    written.write_text(_with_tips(written.read_text("utf-8")), "utf-8")
    return paths
