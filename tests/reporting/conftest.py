from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from demo_study import write_demo
from large_study import write_large_study

from llm4seg_probe.report.claims import claim_sections
from llm4seg_probe.report.methods import methods_text
from llm4seg_probe.report.page import write_page
from llm4seg_probe.report.page_content import draw_all
from llm4seg_probe.report.report import write_report
from llm4seg_probe.report.results import Results, read_results
from llm4seg_probe.storage import write_text

HOSTILE = {
    0: "<img src=x onerror=alert(1)>",
    1: "</script><script>alert(2)</script>",
    3: "costs $5$ & {{ 7 * 7 }}",
}


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
