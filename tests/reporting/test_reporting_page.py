from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from demo_study import HOSTILE
from omegaconf import OmegaConf
from page_reader import Reader, Whole, read_pages
from scipy import stats

from llm4seg_probe.drawing.table_rows import by_seed, measured, on_test_split
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes.registry import find
from llm4seg_probe.probes.result import draw
from llm4seg_probe.report.claims import claim_sections
from llm4seg_probe.report.conditions import condition_rows
from llm4seg_probe.report.page import PARTS, write_page
from llm4seg_probe.report.page_tables import case_listing
from llm4seg_probe.report.report import write_report
from llm4seg_probe.report.results import read_results
from llm4seg_probe.report.sections import SECTIONS
from llm4seg_probe.tables import COMPARISON, PAIRS, SCORES, read_table, write_table


@pytest.fixture(scope="module")
def pages(page) -> dict[str, Reader]:
    return read_pages(page.parent)


@pytest.fixture(scope="module")
def read(pages) -> Whole:
    return Whole(pages)


@pytest.fixture(scope="module")
def front(pages) -> Reader:
    return pages["index.html"]


def undrawn(folder: Path) -> Whole:
    """The pages of a folder, their figures left out to save time."""
    results = read_results(folder)
    write_page(results, claim_sections(results), {}, folder)
    return Whole(read_pages(folder))


def test_the_page_is_a_front_and_its_parts(pages):
    assert set(pages) == {f"{name}.html" for name in PARTS}


def test_the_front_says_question_answer_and_verdicts_before_the_setup(front, results):
    context = results.context
    said = [
        context.title, context.question, "Yes, in these runs", "“The layer improves",
        "Of the other 5 claims", "6 cases", "licence: MIT", context.rests_on,
        "Claim by claim",
    ]  # fmt: skip
    body = front.text[front.text.index("Light or dark") :]
    places = [body.index(part) for part in said]
    assert places == sorted(places)
    assert "25 runs, 7 min of training" in front.text


def test_caveats_are_said_once_on_the_front(front, results):
    (caveat,) = results.context.dataset.caveats
    assert front.text.count(caveat) == front.text.count(results.context.rests_on) == 1


def test_without_caveats_none_is_said(own_folder, results):
    (caveat,) = results.context.dataset.caveats
    described = OmegaConf.load(own_folder / "analysis.yaml")
    described.dataset.caveats = []
    OmegaConf.save(described, own_folder / "analysis.yaml")
    assert caveat not in undrawn(own_folder).text


def test_claims_stand_with_verdict_and_numbers(front, results):
    claims = results.tables["claims.csv"].set_index("claim")
    assert claims.loc["pretraining", "verdict"] == "inconclusive"
    for part in (
        "The layer improves segmentation",
        "LLM, frozen against CNN, IoU",
        "Inconclusive",
        f"5 run, {claims.loc['pretraining', 'seeds_needed']:.0f} needed",
    ):
        assert part in front.text
    plots = [
        found for tag, found in front.elements if tag == "svg" and found.get("class") == "effect"
    ]
    assert len(plots) == 5 + 1  # and that of the primary claim on top
    assert plots[0]["aria-label"].endswith("margin ±0.005")


def test_every_section_says_what_it_cannot_show_and_where_it_comes_from(read, results):
    for section in SECTIONS:
        is_there = section.anchor in read.attributes("section", "id")
        assert is_there == (section.title in read.text) == section.is_shown(results)
        for part in (section.shows, section.cannot):
            assert (" ".join(part.split()) in read.text) == (not section.missing(results))
    assert "llm4seg-probe compare scores.csv --where split=test" in read.text
    assert "--baseline cnn --margin 0.005" in read.text


def test_figures_have_their_numbers_as_alternative_text(read, results):
    names = read.attributes("svg", "aria-label")
    assert any("Mean test IoU and range over seeds: CNN 0.6" in name for name in names)
    rank, iou = (
        by_seed(measured(table[table["site"] == "before"]), score)["cnn"].mean()
        for table, score in (
            (results.tables["rank.csv"], "effective_rank"), (results.tables["maps.csv"], "iou"),
        )
    )  # fmt: skip
    for said in (
        f"Mean effective rank and LSVR. Before the layer: CNN {rank:.2f}",
        f"Dots of mean activation IoU: CNN {iou:.3f} before, {iou:.3f} after",
    ):
        assert any(said in name for name in names)
    assert any("seed 0, before and after the layer" in alt for alt in read.attributes("img", "alt"))


def test_marks_say_their_numbers_on_pointing_at_them(pages, results):
    means = by_seed(on_test_split(results.tables["scores.csv"]), "iou")
    assert f"LLM, frozen, seed 3: {means.loc[3, 'llm']:.3f}" in pages["conditions.html"].text


def test_names_from_the_data_are_text(read, page):
    for name in HOSTILE.values():
        assert name in read.text
    assert {tag for tag, _ in read.elements} & {"iframe", "object", "embed"} == set()
    for picture in read.attributes("img", "src"):
        assert picture.startswith("figures/")
    assert not [
        attribute for _, found in read.elements for attribute in found if attribute.startswith("on")
    ]
    for path in page.parent.glob("*.html"):
        assert "</script><script>alert" not in path.read_text(encoding="utf-8")


def test_only_the_pages_own_scripts_may_run(pages):
    for name, read in pages.items():
        (policy,) = [
            found["content"]
            for tag, found in read.elements
            if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy"
        ]
        data = read.attributes("script", "type").count("application/json")
        for script in read.scripts[data:]:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy, name
        assert "default-src 'none'" in policy
        assert "http" not in policy
    images = json.loads(pages["cases.html"].scripts[1])["sets"][0]
    assert HOSTILE[1] in [case["name"] for case in images["cases"]]


def test_the_page_asks_for_nothing_from_elsewhere(page):
    for path in page.parent.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"""(?:src=|url\()\s*["'(]?\s*(?:https?:)?//""", text)
        outside = set(re.findall(r'href="(https?:[^"]+)"', text))
        assert outside == {"https://arxiv.org/abs/2506.18034"}


def test_what_the_pages_link_to_is_there(pages, page):
    anchors = {
        name: {found["id"] for _, found in read.elements if "id" in found}
        for name, read in pages.items()
    }
    seen = set()
    for name, read in pages.items():
        for link in read.attributes("a", "href"):
            file, _, anchor = unquote(link).partition("#")
            if file.startswith("http"):
                continue
            seen.add(file)
            assert not file or (page.parent / file).is_file(), link
            target = file or name
            assert not anchor or anchor.partition("&")[0] in anchors[target], link
    assert {"scores.csv", "claims.csv", "maps.npz", "figures/gallery.pdf"} <= seen


def test_a_file_that_does_not_lie_there_is_named_and_not_linked(own_folder):
    (own_folder / "maps.csv").unlink()
    read = undrawn(own_folder)
    assert not [link for link in read.attributes("a", "href") if "maps.csv" in link]
    assert "maps.csv" in read.text


def test_no_identifier_is_there_twice(pages):
    for read in pages.values():
        names = [found["id"] for _, found in read.elements if "id" in found]
        assert len(names) == len(set(names))


def test_tables_show_eight_columns_at_most(pages):
    for read in pages.values():
        columns: list[int] = []
        for tag, found in read.elements:
            if tag == "table":
                columns.append(0)
            elif (
                tag == "th"
                and found.get("scope") == "col"
                and "more" not in (found.get("class") or "")
            ):
                columns[-1] += 1
        assert max(columns, default=0) <= 8


def test_every_condition_has_its_row(pages, results):
    read = pages["conditions.html"]
    keys = [found["data-key"] for tag, found in read.elements if "data-key" in found]
    assert keys == [f"spine|{arm}" for arm in results.context.arms]
    means = by_seed(on_test_split(results.tables["scores.csv"]), "iou")
    rows = {row.name: row for row in condition_rows(results)}
    for arm, values in means.items():
        low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
        assert (rows[arm].low, rows[arm].high) == pytest.approx((low, high))
        assert f"{values.mean():.3f} {low:.3f} to {high:.3f}" in read.text
    comparison = results.tables["comparison.csv"].query("a == 'llm' and b == 'cnn'").iloc[0]
    assert rows["llm"].difference == comparison["difference"]
    assert np.isnan(rows["cnn"].difference)
    rank = measured(results.tables["rank.csv"]).query("site == 'after'")
    assert rows["llm"].rank == pytest.approx(by_seed(rank, "effective_rank")["llm"].mean())


def test_without_scores_the_conditions_come_from_the_comparisons(own_folder):
    rows = {row.name: row for row in condition_rows(read_results(own_folder))}
    (own_folder / "scores.csv").unlink()
    fewer = {row.name: row for row in condition_rows(read_results(own_folder))}
    assert set(fewer) == set(rows)
    for name, row in fewer.items():
        assert (row.mean, row.low) == pytest.approx((rows[name].mean, rows[name].low))


def test_the_search_finds_claims_conditions_cases_and_sections(front, pages, page):
    entries = json.loads(front.scripts[0])
    assert {kind for kind, *_ in entries} == {"claim", "condition", "case", "section"}
    for kind, text, file, anchor in entries:
        if file:
            assert (page.parent / file).is_file(), text
        assert kind != "case" or "case=" in anchor
    assert any(text == HOSTILE[0] for kind, text, *_ in entries if kind == "case")


def test_the_results_folder_itself_is_left_alone(results_folder, page):
    assert page.parent != results_folder
    assert not (results_folder / "figures").exists()
    assert not (results_folder / "index.html").exists()
    assert not (results_folder / "pairs.csv").exists()
    assert (page.parent / "pairs.csv").exists()


def test_the_same_results_give_the_same_pages_and_tables(own_folder, tmp_path):
    for folder in (own_folder, tmp_path / "other"):
        if folder != own_folder:
            shutil.copytree(own_folder, folder, ignore=shutil.ignore_patterns("tables", "*.html"))
        undrawn(folder)
    pages = sorted(path.name for path in own_folder.glob("*.html"))
    assert len(pages) == len(PARTS)
    for name in pages:
        assert (own_folder / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    for path in (own_folder / "tables").iterdir():
        assert path.read_bytes() == (tmp_path / "other/tables" / path.name).read_bytes()


def test_one_file_holds_everything_and_leads_nowhere(own_folder, tmp_path):
    results, alone = read_results(own_folder), tmp_path / "alone"
    write_page(results, claim_sections(results), {}, alone, one_file=True)
    assert [path.name for path in alone.iterdir()] == ["index.html"]
    (read,) = read_pages(alone).values()
    links = [link for link in read.attributes("a", "href") if not link.startswith(("#", "http"))]
    assert links == []
    ids = {found["id"] for _, found in read.elements if "id" in found}
    for link in read.attributes("a", "href"):
        assert link.startswith("http") or unquote(link[1:]).partition("&")[0] in ids, link
    assert len(ids) == len([1 for _, found in read.elements if "id" in found])
    whole = undrawn(own_folder)
    assert set(whole.attributes("section", "id")) <= ids


def test_a_study_without_its_pairs_is_given_them_once(own_folder):
    results = read_results(own_folder)
    assert "pairs.csv" not in results.tables
    write_table(results.pairs, own_folder / "pairs.csv", PAIRS)
    again = read_results(own_folder)
    pd.testing.assert_frame_equal(again.pairs, results.pairs)
    (boost,) = [one for one in claim_sections(again) if one.claim.id == "boost"]
    assert len(boost.pairs) == 5 * 20


def test_sections_without_their_table_say_that_they_were_not_run(own_folder):
    for name in ("maps.npz", "maps.csv", "comparison.csv", "claims.csv"):
        (own_folder / name).unlink()
    read = undrawn(own_folder)
    for name in ("maps.npz", "maps.csv", "comparison.csv"):
        assert f"Not run: these results hold no {name}. It comes from llm4seg-probe" in read.text
    assert "Not run: these results hold no claims.csv." in read.text
    assert "explorer" not in {found.get("id") for _, found in read.elements}
    assert "cases.html" not in read.pages
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
    differences = [row[2].value for row in listing.rows]
    assert len(differences) == 20
    assert differences == sorted(differences, reverse=True)
    means = [cell.value for cell in listing.rows[0][3:]]
    assert differences[0] == pytest.approx(max(means) - min(means))


def test_very_many_cases_are_cut_and_the_caption_says_so(results):
    scores = results.tables["scores.csv"]
    many = pd.concat([scores.assign(image=scores["image"] + str(n)) for n in range(15)])
    listing = case_listing(many)
    assert len(listing.rows) == 200
    assert listing.caption.endswith("the 200 of 300 cases (spine)")


def test_single_commands_draw_the_figures_of_the_report(own_folder, page):
    (own_folder / "analysis.yaml").unlink()
    rank = draw(find("rank"), own_folder)
    assert {path.stem for path in rank} == {"rank-densities"}
    assert {path.suffix for path in rank} == {".svg", ".pdf", ".png"}
    for path in rank:
        assert path.read_bytes() == (page.parent / "figures" / path.name).read_bytes()


@pytest.mark.slow
def test_maps_alone_are_drawn_without_their_comparison(own_folder, page):
    maps = draw(find("maps"), own_folder)
    assert {path.stem for path in maps} == {"activation-iou", "gallery"}
    for path in maps:
        same = path.read_bytes() == (page.parent / "figures" / path.name).read_bytes()
        assert same == (path.stem == "gallery")
