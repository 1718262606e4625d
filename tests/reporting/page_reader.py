"""A page taken apart as a browser would."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path


class Reader(HTMLParser):
    """Elements, attributes and text of a page, as a browser would take them apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, tag: str, name: str) -> list[str]:
        return [found[name] for each, found in self.elements if each == tag and name in found]


def read_pages(folder: Path) -> dict[str, Reader]:
    """Every HTML file of a folder, by its name."""
    return {path.name: Reader(path.read_text("utf-8")) for path in sorted(folder.glob("*.html"))}


class Whole:
    """All files of a page as one, for what may stand in any of them."""

    def __init__(self, pages: dict[str, Reader]) -> None:
        self.pages = pages
        self.text = " ".join(page.text for page in pages.values())
        self.elements = [element for page in pages.values() for element in page.elements]

    def attributes(self, tag: str, name: str) -> list[str]:
        return [value for page in self.pages.values() for value in page.attributes(tag, name)]
