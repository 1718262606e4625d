"""The mechanisms on the page: what each needs, what was found, and nothing where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from page_reader import Whole, read_pages

from llm4seg_probe.report.methods import methods_text
from llm4seg_probe.report.page import write_page
from llm4seg_probe.report.results import read_results
from llm4seg_probe.results.studies import read

MECHANISMS = [
    {
        "id": "transfer",
        "title": "Transfer <b>of</b> meaning",
        "would_be_true": "The layer helps & so on.",
        "claims": ["boost", "pretraining"],
        "alternatives": [
            {"explanation": "projections", "predicts": "They do as well.", "claims": ["parameters"]}
        ],
    },
    {"id": "rank", "title": "Rank", "would_be_true": "It rises.", "claims": ["rank", "frozen"]},
]


@pytest.fixture
def folder(own_folder: Path) -> Path:
    described = OmegaConf.load(own_folder / "analysis.yaml")
    described["mechanisms"] = MECHANISMS
    OmegaConf.save(described, own_folder / "analysis.yaml")
    return own_folder


def test_each_mechanism_stands_with_its_claims_and_its_verdict(folder: Path) -> None:
    results = read_results(folder)
    text = write_page(results, [], {}, folder).read_text(encoding="utf-8")
    page = Whole(read_pages(folder))
    anchors = page.attributes("section", "id")
    assert {"mechanisms", "mechanism-transfer", "mechanism-rank"} <= set(anchors)
    assert "Transfer &lt;b&gt;of&lt;/b&gt; meaning" in text
    for words in (
        "What would have to be true. The layer helps & so on.",
        "A mechanism needs all claims that it names",
        "They do as well. Then these would fail:",
    ):
        assert words in page.text
    verdicts = results.tables["claims.csv"].set_index("claim")["verdict"]
    part = text[text.index('id="mechanism-transfer"') : text.index('id="mechanism-rank"')]
    listed = part[part.index('<ul class="needs">') :]
    order = [verdicts[name] for name in ("boost", "pretraining", "parameters")]
    found = [piece.split('"')[0] for piece in listed.split('<span class="verdict ')[1:]]
    assert found == [verdict.replace(" ", "-") for verdict in order]
    assert listed.count('<svg class="effect"') == 3
    methods = methods_text(results)
    assert "**Mechanisms.** A mechanism needs all claims" in methods
    assert "boost, pretraining, parameters" in methods


def test_from_python_they_are_a_table(folder: Path) -> None:
    table = read(folder).mechanisms
    assert table["mechanism"].tolist() == ["transfer", "rank"]
    assert table["verdict"].isin(["supported", "inconclusive", "contradicted"]).all()
    assert table["sentence"].str.contains("claims that it needs").all()


def test_an_analysis_that_names_none_has_no_such_section(own_folder: Path) -> None:
    text = write_page(read_results(own_folder), [], {}, own_folder).read_text(encoding="utf-8")
    assert 'id="mechanisms"' not in text
    assert read(own_folder).mechanisms.empty
    assert "**Mechanisms.**" not in methods_text(read_results(own_folder))
