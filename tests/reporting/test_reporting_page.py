from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import HOSTILE
from omegaconf import OmegaConf
from page_reader import Reader
from synthetic_results import STATED

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting.claims import claim_sections
from llm4seg_probe.reporting.listings import case_listing
from llm4seg_probe.reporting.page import write_page
from llm4seg_probe.reporting.report import write_map_figures, write_rank_figures, write_report
from llm4seg_probe.reporting.results import read_results
from llm4seg_probe.reporting.sections import SECTIONS
from llm4seg_probe.tables import COMPARISON, SCORES, read_table, write_table


@pytest.fixture(scope="module")
def read(page) -> Reader:
    return Reader(page.read_text(encoding="utf-8"))


def undrawn(folder: Path) -> Reader:
    """The page of a folder, its figures left out to save time."""
    results = read_results(folder)
    page = write_page(results, claim_sections(results), {}, folder)
    return Reader(page.read_text(encoding="utf-8"))


def test_the_top_says_what_it_is_about(read, results):
    context = results.context
    for part in (context.title, context.question, context.rests_on, "6 cases", "licence: MIT"):
        assert part in read.text
    assert "25 runs, 7 min of training" in read.text
    assert read.text.index(context.rests_on) < read.text.index("Verdicts")


def test_claims_stand_with_verdict_and_numbers(read):
    for part in (
        "The layer improves segmentation",
        "llm > cnn",
        "Inconclusive",
        "5 run, 16 needed",
    ):
        assert part in read.text
    plots = [
        found for tag, found in read.elements if tag == "svg" and found.get("class") == "effect"
    ]
    assert len(plots) == 5
    assert plots[0]["aria-label"].endswith("margin ±0.005")


def test_every_section_says_what_it_cannot_show_and_where_it_comes_from(read, results):
    for section in SECTIONS:
        assert section.anchor in read.attributes("section", "id")
        assert section.title in read.text
        for part in (section.shows, section.cannot):
            assert (" ".join(part.split()) in read.text) == (not section.missing(results))
    assert "llm4seg-probe compare scores.csv --where split=test" in read.text
    assert "--baseline cnn --margin 0.005" in read.text


def test_figures_have_their_numbers_as_alternative_text(read):
    names = [
        found for found in read.attributes("svg", "aria-label") if "margin ±" not in found[-20:]
    ]
    assert any("Mean test IoU and range over seeds: CNN 0.6" in name for name in names)
    assert any("Mean effective rank and LSVR. Before the layer: CNN 5.49" in name for name in names)
    assert any(
        "Bars of mean activation IoU: CNN 0.263 before, 0.263 after" in name for name in names
    )
    assert any("seed 0, before and after the layer" in name for name in names)


def test_names_from_the_data_are_text(read, page):
    for name in HOSTILE.values():
        assert name in read.text
    assert {tag for tag, _ in read.elements} & {"img", "iframe", "object"} == set()
    assert not [
        attribute for _, found in read.elements for attribute in found if attribute.startswith("on")
    ]
    assert "</script><script>alert" not in page.read_text(encoding="utf-8")


def test_only_the_pages_own_scripts_may_run(read):
    (policy,) = [
        found["content"]
        for tag, found in read.elements
        if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy"
    ]
    data, *scripts = read.scripts
    assert len(scripts) == 3
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    (images,) = json.loads(data)["sets"]
    assert HOSTILE[1] in [case["name"] for case in images["cases"]]


def test_the_page_asks_for_nothing_from_elsewhere(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href|url\()\s*=?\s*["'(]?\s*(?:https?:)?//""", text)


def test_what_the_page_links_to_lies_beside_it(read, page):
    links = [link for link in read.attributes("a", "href") if not link.startswith("#")]
    assert {"scores.csv", "claims.csv", "maps.npz", "figures/gallery.pdf"} <= set(links)
    for link in links:
        assert (page.parent / link).is_file(), link
    anchors = {link[1:] for link in read.attributes("a", "href") if link.startswith("#")}
    assert anchors <= {found["id"] for _, found in read.elements if "id" in found}


def test_no_identifier_is_there_twice(read):
    names = [found["id"] for _, found in read.elements if "id" in found]
    assert len(names) == len(set(names))


def test_the_results_folder_itself_is_left_alone(results_folder, page):
    assert page.parent != results_folder
    assert not (results_folder / "figures").exists()
    assert not (results_folder / "index.html").exists()


def test_the_same_results_give_the_same_page_and_tables(own_folder, tmp_path):
    for folder in (own_folder, tmp_path / "other"):
        if folder != own_folder:
            shutil.copytree(own_folder, folder, ignore=shutil.ignore_patterns("tables", "*.html"))
        undrawn(folder)
    assert (own_folder / "index.html").read_bytes() == (
        (tmp_path / "other/index.html").read_bytes()
    )
    for path in (own_folder / "tables").iterdir():
        assert path.read_bytes() == (tmp_path / "other/tables" / path.name).read_bytes()


def test_the_caveat_of_a_split_within_cases_is_repeated(read, results, own_folder):
    words = "nothing here speaks of new patients"
    shown = [section for section in SECTIONS if not section.missing(results)]
    assert read.text.count(words) == len(shown) + len(STATED) + 1
    described = OmegaConf.load(own_folder / "analysis.yaml")
    described.dataset.caveats = []
    OmegaConf.save(described, own_folder / "analysis.yaml")
    assert words not in undrawn(own_folder).text


def test_sections_without_their_table_say_that_they_were_not_run(own_folder):
    for name in ("maps.npz", "maps.csv", "comparison.csv", "claims.csv"):
        (own_folder / name).unlink()
    read = undrawn(own_folder)
    for name in ("maps.npz", "maps.csv", "comparison.csv"):
        assert f"Not run: these results hold no {name}. It comes from llm4seg-probe" in read.text
    assert "Not run: these results hold no claims.csv." in read.text
    assert "explorer" not in {found.get("id") for _, found in read.elements}
    results = read_results(own_folder)
    drawn = [section.anchor for section in SECTIONS if not section.missing(results)]
    assert drawn == ["seeds", "cases", "rank"]


def test_a_comparison_of_something_else_has_no_effects_figure(own_folder):
    comparison = read_table(own_folder / "comparison.csv", COMPARISON)
    on_rank = comparison[comparison["table"] == "rank"]
    write_table(on_rank, own_folder / "comparison.csv", COMPARISON)
    section = next(section for section in SECTIONS if section.anchor == "comparison")
    assert section.drawings[0].draw(read_results(own_folder)) is None
    assert "Comparisons of two conditions, a − b" in undrawn(own_folder).text


def test_a_table_that_cannot_be_drawn_is_named(own_folder):
    scores = read_table(own_folder / "scores.csv", SCORES)
    write_table(scores[scores["split"] == "val"], own_folder / "scores.csv", SCORES)
    with pytest.raises(TableError, match=r"scores\.csv: claim 'boost': unknown value of split"):
        write_report(own_folder)
    described = OmegaConf.load(own_folder / "analysis.yaml")
    described.claims = []
    OmegaConf.save(described, own_folder / "analysis.yaml")
    with pytest.raises(TableError, match=r"own.scores\.csv: no row is left"):
        write_report(own_folder)


def test_cases_come_with_the_largest_difference_first(results):
    listing = case_listing(results.tables["scores.csv"])
    differences = [row[-1].value for row in listing.rows]
    assert len(differences) == 20
    assert differences == sorted(differences, reverse=True)
    means = [cell.value for cell in listing.rows[0][2:-1]]
    assert differences[0] == pytest.approx(max(means) - min(means))


def test_very_many_cases_are_cut_and_the_caption_says_so(results):
    scores = results.tables["scores.csv"]
    many = pd.concat([scores.assign(image=scores["image"] + str(n)) for n in range(15)])
    listing = case_listing(many)
    assert len(listing.rows) == 200
    assert listing.caption.endswith("the 200 of 300 cases (spine)")


def test_single_commands_draw_the_figures_of_the_report(own_folder, page):
    (own_folder / "analysis.yaml").unlink()
    rank = write_rank_figures(own_folder)
    assert {path.stem for path in rank} == {"rank-densities"}
    assert {path.suffix for path in rank} == {".svg", ".pdf", ".png"}
    for path in rank:
        assert path.read_bytes() == (page.parent / "figures" / path.name).read_bytes()


@pytest.mark.slow
def test_maps_alone_are_drawn_without_their_comparison(own_folder, page):
    maps = write_map_figures(own_folder)
    assert {path.stem for path in maps} == {"activation-iou", "gallery"}
    for path in maps:
        same = path.read_bytes() == (page.parent / "figures" / path.name).read_bytes()
        assert same == (path.stem == "gallery")
