from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from browser_checks import ARGUMENTS, CHROMIUM
from demo_study import HOSTILE, write_demo
from large_study import write_large_study

from llm4seg_probe.report.claims import claim_sections
from llm4seg_probe.report.methods import methods_text
from llm4seg_probe.report.page import write_page
from llm4seg_probe.report.page_content import draw_all
from llm4seg_probe.report.report import write_report
from llm4seg_probe.report.results import Results, read_results
from llm4seg_probe.storage import write_text


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, arrays and description, nothing drawn yet; some of the cases have hostile names."""
    return write_demo(tmp_path_factory.mktemp("results") / "demo", HOSTILE)


@pytest.fixture(scope="session")
def results(results_folder: Path) -> Results:
    return read_results(results_folder)


@pytest.fixture(scope="session")
def page(results_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole report, in a folder of its own."""
    return write_report(results_folder, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a large study in the folder of its results; of some claims no figure is drawn."""
    folder = write_large_study(tmp_path_factory.mktemp("study"))
    results = read_results(folder)
    claims = claim_sections(results)
    drawn = [claim for claim in claims if claim.claim.id in ("boost", "semantics")]
    write_text(folder / "methods.md", methods_text(results))
    return write_page(results, claims, draw_all(results, drawn, folder), folder, ["p01/slice013"])


@pytest.fixture
def own_folder(results_folder: Path, tmp_path: Path) -> Path:
    """A copy of the results that a test may change."""
    return Path(shutil.copytree(results_folder, tmp_path / "own"))


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the page in the tab complains about."""
    return []


@pytest.fixture
def tab(browser, complaints):
    """A tab at a laptop's size; whatever a page in it complains about is collected."""
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "request",
        lambda request: complaints.append(request.url) if request.url.startswith("http") else None,
    )
    tab.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    yield tab
    tab.close()
