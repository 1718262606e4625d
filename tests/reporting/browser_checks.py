"""What no page may have: dead links, text that is cut or covered, axe-core's serious faults."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from page_reader import Reader

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {1440: 900, 1180: 820, 768: 1024, 390: 844}
THEMES = ("light", "dark")
_SPEC = find_spec("axe_playwright_python")
AXE = Path(_SPEC.submodule_search_locations[0]) / "axe.min.js" if _SPEC else None

# Every visible piece of text with its box, cut to what its scrolling ancestors show.
TEXT_FAULTS = """
() => {
  const faults = [];
  const shown = [];
  const style = new Map();
  const of = (element) => style.get(element) || style.set(element, getComputedStyle(element)).get(element);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const loose = (element) => {
    for (let outer = element; outer && outer !== document.body; outer = outer.parentElement) {
      const { position } = of(outer);
      if (position === "sticky" || position === "fixed" || position === "absolute") return true;
    }
    return false;
  };
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, style, noscript, option, title, .skip, .spoken")) continue;
    if (!element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const name = node.textContent.trim().slice(0, 60);
    const drawing = element.closest("svg");
    if (drawing && element.tagName === "text") {
      const [box, frame] = [element.getBoundingClientRect(), drawing.getBoundingClientRect()];
      const clipped = of(drawing).overflow !== "visible";
      const room = 1.5;
      if (clipped && (box.left < frame.left - room || box.right > frame.right + room || box.top < frame.top - room || box.bottom > frame.bottom + room))
        faults.push(`leaves its figure: ${name}`);
    }
    for (const rect of range.getClientRects()) {
      let [left, right, top, bottom] = [rect.left, rect.right, rect.top, rect.bottom];
      let scrolls = false;
      for (let outer = element; outer && outer !== document.documentElement; outer = outer.parentElement) {
        const { overflowX, overflowY, textOverflow } = of(outer);
        if (overflowX === "visible" && overflowY === "visible") continue;
        if (outer.tagName === "svg" || outer.closest("svg")) continue;
        const frame = outer.getBoundingClientRect();
        if (overflowX === "hidden" && textOverflow !== "ellipsis" && right > frame.right + 2) faults.push(`is cut: ${name}`);
        scrolls = true;
        [left, right] = [Math.max(left, frame.left), Math.min(right, frame.right)];
        [top, bottom] = [Math.max(top, frame.top), Math.min(bottom, frame.bottom)];
      }
      if (right - left < 2 || bottom - top < 2) continue;
      if (!scrolls && (right > innerWidth + 1 || left < -1)) faults.push(`leaves the window: ${name}`);
      if (!loose(element)) shown.push({ left, right, top, bottom, name, element });
    }
  }
  shown.sort((one, other) => one.top - other.top);
  for (let i = 0; i < shown.length; i += 1) {
    for (let j = i + 1; j < shown.length && shown[j].top < shown[i].bottom; j += 1) {
      const [one, other] = [shown[i], shown[j]];
      if (one.element === other.element) continue;
      const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      const least = Math.min((one.right - one.left) * (one.bottom - one.top), (other.right - other.left) * (other.bottom - other.top));
      if (width > 2 && height > 0 && width * height > 0.25 * least) faults.push(`on one another: ${one.name} / ${other.name}`);
    }
  }
  return Array.from(new Set(faults));
}
"""  # noqa: E501


def address(page: Path, part: str) -> str:
    """Where a part of a page's report opens in a browser."""
    return (page.parent / f"{part}.html").as_uri()


def status(tab: Any) -> str:
    """What the explorer in the tab says of the case that it shows."""
    return tab.locator("#explorer .note").inner_text()


def dead_links(path: Path) -> list[str]:
    """Links and pictures of a page that lead to no file, or to no place in it."""
    read = Reader(path.read_text(encoding="utf-8"))
    places: dict[Path, set[str]] = {}

    def ids(page: Path) -> set[str]:
        if page not in places:
            found = Reader(page.read_text(encoding="utf-8"))
            places[page] = {one["id"] or "" for _, one in found.elements if "id" in one}
        return places[page]

    dead = []
    for link in [*read.attributes("a", "href"), *read.attributes("img", "src")]:
        if link.startswith(("http:", "https:", "data:", "mailto:")):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = path.parent / file if file else path
        wanted = anchor.partition("&")[0]
        if not target.is_file() or (
            wanted and target.suffix == ".html" and wanted not in ids(target)
        ):
            dead.append(link)
    return dead


def text_faults(tab: Any) -> list[str]:
    """Texts of an open page that lie on one another, are cut, or leave figure or window."""
    found: list[str] = tab.evaluate(TEXT_FAULTS)
    width = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [*found, *([f"the page is {width} px wider than its window"] if width > 0 else [])]


def axe_faults(tab: Any) -> list[str]:
    """Faults of an open page (opened with ``bypass_csp``) that axe-core calls serious or worse."""
    assert AXE is not None
    tab.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = tab.evaluate(
        "async () => (await axe.run()).violations.map(v => "
        "[v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 120)).join(' | ')])"
    )
    return [
        f"{name}: {where}" for impact, name, where in found if impact in ("serious", "critical")
    ]
