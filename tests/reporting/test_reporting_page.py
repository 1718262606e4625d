from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import HOSTILE
from omegaconf import OmegaConf

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting.explorer import explorer_data
from llm4seg_probe.reporting.listings import case_listing
from llm4seg_probe.reporting.page import write_page
from llm4seg_probe.reporting.report import write_map_figures, write_rank_figures, write_report
from llm4seg_probe.reporting.results import read_results
from llm4seg_probe.reporting.sections import SECTIONS
from llm4seg_probe.tables import COMPARISON, SCORES, read_table, write_table


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


@pytest.fixture(scope="module")
def read(page) -> Reader:
    return Reader(page.read_text(encoding="utf-8"))


def undrawn(folder: Path) -> Reader:
    """The page of a folder, its figures left out to save time."""
    return Reader(write_page(read_results(folder), {}, folder).read_text(encoding="utf-8"))


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


def test_every_section_says_what_it_cannot_show_and_where_it_comes_from(read):
    for section in SECTIONS:
        for part in (section.title, section.shows, section.cannot):
            assert " ".join(part.split()) in read.text
        assert section.anchor in read.attributes("section", "id")
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
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert json.loads(data)["cases"][1] == HOSTILE[1]


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


@pytest.mark.slow
def test_the_same_results_give_the_same_page(own_folder, page):
    assert write_report(own_folder).read_bytes() == page.read_bytes()
    assert sorted(path.name for path in own_folder.iterdir()) == sorted(
        path.name for path in page.parent.iterdir()
    )


def test_the_caveat_of_a_split_within_cases_is_repeated(read, own_folder):
    words = "nothing here speaks of new patients"
    assert read.text.count(words) == len(SECTIONS) + 1
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
    with pytest.raises(TableError, match=r"own.scores\.csv: no row is left"):
        write_report(own_folder)


def test_the_explorer_carries_what_the_arrays_hold(results):
    data = explorer_data(results)
    arrays = results.arrays
    height, width = data["size"]

    def unpacked(text: str, *shape: int) -> np.ndarray:
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)

    assert np.array_equal(unpacked(data["images"][2], height, width), arrays.images[2])
    place = arrays.map_place("llm", 3, "after")
    found = unpacked(data["maps"]["llm|3|after"][4], *data["grid"])
    assert np.abs(found / 255 - arrays.maps[place, 4]).max() <= 1 / 255
    bits = np.unpackbits(unpacked(data["predictions"]["cnn|1"][5], height * width // 8))
    assert np.array_equal(
        bits.reshape(height, width), arrays.predictions[arrays.prediction_place("cnn", 1), 5]
    )
    scores = results.tables["scores.csv"].query("split == 'test' and checkpoint == 'best'")
    (iou,) = scores.query("arm == 'adapters' and seed == 2 and image == @HOSTILE[0]")["iou"]
    assert data["iou"]["adapters|2"][0] == pytest.approx(iou, abs=5e-5)
    maps = results.tables["maps.csv"].query("null == '' and site == 'after' and arm == 'llm'")
    (iou,) = maps.query("seed == 4 and image == @HOSTILE[3]")["iou"]
    assert data["activation"]["llm|4|after"][3] == pytest.approx(iou, abs=5e-5)


def test_large_images_become_thumbnails(results):
    large = results.arrays
    doubled = {
        name: np.repeat(np.repeat(getattr(large, name), 3, -1), 3, -2)
        for name in ("images", "masks", "predictions")
    }
    bigger = large.__class__(**{**vars(large), **doubled})
    data = explorer_data(results.__class__(results.folder, results.context, {}, bigger))
    assert data["size"] == [96, 96]
    assert data["iou"] == data["activation"] == {}
    assert data["images"][0] == explorer_data(results)["images"][0]


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
    assert listing.caption.endswith("the 200 of 300 cases")


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
