"""Walk over all committed pages: links, texts, axe-core, at four widths and in two themes.

    python tests/reporting/check_pages.py reports

A stage of ``.ci/run`` (``make pages-check``) and not of the suite, because it takes minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from browser_checks import (
    ARGUMENTS,
    AXE,
    CHROMIUM,
    THEMES,
    WIDTHS,
    axe_faults,
    dead_links,
    text_faults,
)
from playwright.sync_api import sync_playwright


def faults_of(browser: object, path: Path) -> list[str]:
    """Everything that is wrong with one page, one line each."""
    found = [f"dead link: {link}" for link in dead_links(path)]
    for theme in THEMES:
        context = browser.new_context(color_scheme=theme, bypass_csp=True)  # type: ignore[attr-defined]
        for width, height in WIDTHS.items():
            tab = context.new_page()
            said: list[str] = []
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("pageerror", lambda error, said=said: said.append(str(error)))
            tab.set_viewport_size({"width": width, "height": height})
            tab.goto(path.resolve().as_uri())
            where = f"{width} px, {theme}"
            found += [f"{where}: {text}" for text in (*said, *text_faults(tab))]
            if AXE is not None and width in (1440, 390):
                found += [f"{where}: axe: {text}" for text in axe_faults(tab)]
            tab.close()
        context.close()
    return found


def main(folder: Path) -> int:
    """Check every page below a folder; returns the number of pages with faults."""
    pages = sorted(folder.rglob("*.html"))
    if CHROMIUM is None:
        print("Pages were not checked: there is no Chromium (apt-get install chromium)")
        return 1
    if AXE is None:
        print("axe-core was not asked: pip install axe-playwright-python")
    faulty = 0
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for path in pages:
            found = faults_of(browser, path)
            faulty += bool(found)
            print(f"{path}: {'fine' if not found else f'{len(found)} faults'}")
            for text in found:
                print(f"  {text}")
        browser.close()
    print(f"{len(pages)} pages, {faulty} with faults")
    return faulty


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1] if len(sys.argv) > 1 else "reports")), 1))
