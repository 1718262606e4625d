from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from synthetic_results import write_results

from llm4seg_probe.reporting.report import write_report
from llm4seg_probe.reporting.results import Results, read_results

HOSTILE = {
    0: "<img src=x onerror=alert(1)>",
    1: "</script><script>alert(2)</script>",
    3: "costs $5$ & {{ 7 * 7 }}",
}


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, arrays and description, nothing drawn yet; some of the cases have hostile names."""
    return write_results(tmp_path_factory.mktemp("results") / "demo", HOSTILE)


@pytest.fixture(scope="session")
def results(results_folder: Path) -> Results:
    return read_results(results_folder)


@pytest.fixture(scope="session")
def page(results_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole report, in a folder of its own."""
    return write_report(results_folder, tmp_path_factory.mktemp("report"))


@pytest.fixture
def own_folder(results_folder: Path, tmp_path: Path) -> Path:
    """A copy of the results that a test may change."""
    return Path(shutil.copytree(results_folder, tmp_path / "own"))
