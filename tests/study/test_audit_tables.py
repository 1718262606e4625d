"""An audit as a user gets it: the table, the curves and the page, from the file alone."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.study.anybody import audit_tables

HOSTILE = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    @property
    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


@pytest.fixture
def means(tmp_path: Path) -> Path:
    path = tmp_path / "printed.csv"
    path.write_text(
        f"Model,IoU (%),n\nU-Net,68.61 ± 2.86,3\n{HOSTILE},71.56 ± 2.43,3\n", encoding="utf-8"
    )
    return path


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = [
        {"dice": 0.8 + 0.02 * (net == "ours") + random.normal(0, 0.01), "case": f"c{case}",
         "net": net, "run": run}
        for net in ("cnn", "ours") for run in range(5) for case in range(12)
    ]  # fmt: skip
    path = tmp_path / "theirs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_means_give_table_curves_figure_and_a_page_that_stands_alone(means, tmp_path) -> None:
    found, written = audit_tables([means], tmp_path / "out", baseline="U-Net")
    assert {name: path.name for name, path in written.items()} == {
        "table": "audit.csv", "curves": "correlation.csv", "page": "index.html",
    }  # fmt: skip
    page = Reader(written["page"])
    assert page.names.isdisjoint({"img", "iframe", "object", "form"})
    assert {"svg", "table", "style"} <= page.names
    policy = next(
        attributes["content"] for tag, attributes in page.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    assert "default-src 'none'" in policy
    # The page's own script alone may run: by its hash, and from nowhere else.
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert len(scripts) == policy.count("'sha256-") == 1
    assert "src" not in scripts[0]
    assert "unsafe" not in policy.partition("script-src")[2].partition(";")[0]
    for tag, attributes in page.tags:
        link = attributes.get("href", "")
        if tag == "a" and not link.startswith("#"):
            assert (written["page"].parent / link).is_file()
    assert found.sentences[0] in page.text
    assert f"{HOSTILE} against U-Net" in page.text
    assert "llm4seg-probe audit" in page.text
    assert "--baseline U-Net" in page.text


def test_the_page_holds_everything_that_the_audit_found(cases, tmp_path) -> None:
    found, written = audit_tables([cases], tmp_path / "out", bootstrap=200)
    assert set(written) == {"table", "page"}
    page = Reader(written["page"])
    words = " ".join(page.text.split())
    for finding in found.findings:
        assert finding.what in words
    for test in found.tests:
        assert test.name in words
        assert test.why in words
    for match in found.matches:
        assert f"{match.column}: {match.role} (by its name)" in words
    assert found.design.sentence in words
    assert found.comparison["verdict"][0] == "supported"
    assert "Supported" in words
    table = pd.read_csv(written["table"])
    assert f"{table['smallest_detectable'][0]:.2g}" in words
    assert "svg" not in page.names


def test_a_table_that_allows_no_comparison_still_has_a_page(cases, tmp_path) -> None:
    table = pd.read_csv(cases)
    pd.concat([table, table.head(3)]).to_csv(cases, index=False)
    found, written = audit_tables([cases], tmp_path / "out")
    assert set(written) == {"page"}
    words = " ".join(Reader(written["page"]).text.split())
    assert "No comparison can be made: see the findings." in words
    assert found.findings[0].what in words


def test_an_audit_leaves_nothing_of_the_one_before_it(means, cases, tmp_path) -> None:
    audit_tables([means], tmp_path / "out")
    _, written = audit_tables([cases], tmp_path / "out", bootstrap=0)
    assert not (tmp_path / "out" / "correlation.csv").exists()
    assert "correlation.csv" not in written["page"].read_text(encoding="utf-8")
