"""The page in a real browser; skipped where none is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
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
from conftest import HOSTILE
from playwright.sync_api import Page, expect, sync_playwright

from llm4seg_probe.measures.activation import map_iou, resized_maps
from llm4seg_probe.probes.arrays import LEVELS, MapArrays
from llm4seg_probe.report.page import PARTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
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


def address(page, part: str) -> str:
    return (page.parent / f"{part}.html").as_uri()


@pytest.fixture
def opened(tab, page):
    """The explorer's page, one seed chosen."""
    tab.goto(address(page, "cases"))
    tab.get_by_label("Seed", exact=True).select_option("0")
    return tab


@pytest.fixture
def conditions(tab, page):
    tab.goto(address(page, "conditions"))
    return tab


@pytest.fixture(scope="module")
def large(browser, study):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(address(study, "cases"))
    yield tab
    tab.close()


def column(tab: Page, table: str, place: int) -> list[str]:
    return tab.locator(f"#{table} tbody tr > :nth-child({place})").all_inner_texts()


@pytest.mark.parametrize("part", PARTS)
def test_every_part_opens_without_a_complaint(tab, page, complaints, part):
    tab.goto(address(page, part))
    assert "A frozen language-model layer in a segmentation network" in tab.title()
    assert tab.locator("h1").count() == 1
    assert complaints == []


@pytest.mark.parametrize("part", PARTS)
def test_no_link_is_dead(page, part):
    assert dead_links(page.parent / f"{part}.html") == []


@pytest.mark.parametrize("width", WIDTHS)
def test_question_answer_strip_and_plot_are_on_the_first_screen(tab, page, width):
    tab.set_viewport_size({"width": width, "height": WIDTHS[width]})
    tab.goto(page.as_uri())
    for part in (".question", ".sentences", ".strip", ".primary svg"):
        box = tab.locator(part).bounding_box()
        assert box["y"] + box["height"] <= WIDTHS[width], part


@pytest.mark.parametrize("width", [360, *WIDTHS])
@pytest.mark.parametrize("part", PARTS)
def test_no_text_is_cut_covered_or_outside(tab, page, part, width):
    tab.set_viewport_size({"width": width, "height": 900})
    tab.goto(address(page, part))
    assert text_faults(tab) == []


def test_the_check_of_texts_finds_what_is_wrong(tab):
    tab.set_content(
        "<p style='position:relative'>one</p><p style='margin-top:-2em'>two two two</p>"
        "<p style='width:3em;overflow:hidden;white-space:nowrap'>three is much too long</p>"
        "<p style='width:200vw;text-align:right'>four</p>"
        "<svg viewBox='0 0 9 9' width='9' style='overflow:hidden'><text y='5'>five</text></svg>"
    )
    found = " ".join(text_faults(tab))
    for fault in ("is cut: three", "leaves the window: four", "leaves its figure: five"):
        assert fault in found


@pytest.mark.skipif(AXE is None, reason="no axe-core: pip install axe-playwright-python")
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("part", PARTS)
def test_axe_finds_no_serious_fault(browser, page, part, theme):
    context = browser.new_context(color_scheme=theme, bypass_csp=True)
    tab = context.new_page()
    tab.goto(address(page, part))
    assert axe_faults(tab) == []
    context.close()


def test_hostile_names_are_shown_as_text(conditions, complaints):
    assert set(HOSTILE.values()) <= set(column(conditions, "cases-table", 1))
    assert conditions.locator("main img").count() == 0
    conditions.keyboard.press("/")
    conditions.keyboard.type("img src")
    assert conditions.locator("#found a").first.inner_text().endswith(HOSTILE[0])
    assert complaints == []


def test_a_column_sorts_both_ways_by_its_numbers_and_back(conditions):
    first = column(conditions, "cases-table", 1)
    heading = conditions.locator("#cases-table thead th").nth(3)
    for direction in ("ascending", "descending"):
        heading.locator("button").click()
        values = [float(text) for text in column(conditions, "cases-table", 4)]
        assert values == sorted(values, reverse=direction == "descending")
        assert heading.get_attribute("aria-sort") == direction
    heading.locator("button").click()
    assert column(conditions, "cases-table", 1) == first
    assert heading.get_attribute("aria-sort") is None


def test_missing_numbers_stay_last_and_the_keyboard_sorts_too(conditions):
    conditions.locator("#comparison .columns").click()
    headings = conditions.locator("#comparison-table thead th").all_inner_texts()
    place = headings.index("p")
    for _ in range(2):
        conditions.locator("#comparison-table thead th").nth(place).locator("button").focus()
        conditions.keyboard.press("Enter")
        assert column(conditions, "comparison-table", place + 1)[-1] == "–"


def test_all_columns_are_there_when_asked_for(conditions):
    table = conditions.locator("#comparison-table thead th:visible")
    before = table.count()
    conditions.locator("#comparison .columns").click()
    assert (before <= 8, table.count()) == (True, 19)


def test_the_strip_filters_by_verdict(tab, page):
    tab.goto(page.as_uri())
    rows = tab.locator(".verdict-row:visible")
    every = rows.count()
    pill = tab.locator(".strip button").first
    pill.click()
    count = int(pill.inner_text().split()[0])
    assert rows.count() == count < every
    assert tab.locator("section.claim:visible").count() <= count
    pill.click()
    assert rows.count() == every


def test_the_contents_say_where_the_reader_is(tab, page):
    tab.goto(page.as_uri())
    tab.locator("#claim-maps").scroll_into_view_if_needed()
    tab.evaluate("document.getElementById('claim-maps').scrollIntoView()")
    current = tab.locator(".places [aria-current]")
    expect(current).to_have_attribute("href", "#claim-maps")
    assert tab.locator(".contents").bounding_box()["y"] == 0


def test_search_leads_to_a_condition_and_to_a_case(tab, page):
    tab.goto(page.as_uri())
    tab.keyboard.press("/")
    tab.keyboard.type("random frozen")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/conditions.html#*")
    assert tab.locator("#condition-rows tbody tr:visible").count() == 1
    tab.keyboard.press("/")
    tab.keyboard.type(HOSTILE[3][:9])
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/cases.html#*")
    assert status(tab).startswith(HOSTILE[3])


def test_facets_leave_the_conditions_that_fit(conditions):
    conditions.locator("select[data-field=arm]").select_option("LLM, frozen")
    assert column(conditions, "condition-rows", 1)[1].strip() == "LLM, frozen"
    assert conditions.locator("#condition-rows tbody tr:visible").count() == 1
    assert conditions.locator(".facets .count").inner_text() == "1 of 5 conditions"


def test_two_conditions_are_compared_over_all_measures_and_case_by_case(conditions, results):
    for arm in ("LLM, frozen", "CNN"):
        conditions.get_by_label(f"Compare {arm} on spine").check()
    text = conditions.locator(".compared table").inner_text()
    for measure in ("Test IoU", "Test Dice", "Effective rank, after", "Activation IoU, after"):
        assert measure in text
    chosen = results.tables["scores.csv"].query("split == 'test' and checkpoint == 'best'")
    means = chosen.groupby("arm")["iou"].mean()
    for arm in ("llm", "cnn"):
        assert f"{means[arm]:.3f}" in text
    assert f"{means['llm'] - means['cnn']:+.3f}" in text
    assert conditions.locator(".pairing circle").count() == 20
    by_case = chosen.groupby(["image", "arm"])["iou"].mean().unstack()
    better = int((by_case["llm"] > by_case["cnn"]).sum())
    assert f"in {better} of 20 cases" in conditions.locator(".pairing").inner_text()
    conditions.reload()
    assert conditions.locator(".compared table").inner_text() == text


def test_the_theme_can_be_changed_and_marks_with_it(tab, page):
    tab.goto(address(page, "conditions"))
    mark = tab.locator("#seeds figure svg use").first
    light = mark.evaluate("use => getComputedStyle(use).fill")
    tab.get_by_role("button", name="Light or dark").click()
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, background[4:-1].split(","))) < 50
    text = tab.locator("#seeds figure svg text").first
    fill = text.evaluate("text => getComputedStyle(text).fill")
    assert min(map(int, fill[4:-1].split(","))) > 150
    assert mark.evaluate("use => getComputedStyle(use).fill") != light


def test_in_print_everything_is_unfolded_and_whole(tab, page):
    tab.goto(page.as_uri())
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details:not([open])").count() > 0
    tab.emulate_media(media="print")
    assert tab.locator(".contents").is_hidden()
    for box in tab.locator(".scroll").all():
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth + 1")


def tiles(tab: Page) -> list[str]:
    return tab.locator("#explorer .tiles canvas").evaluate_all(
        "all => all.map(one => one.ariaLabel)"
    )


def status(tab: Page) -> str:
    return tab.locator("#explorer .note").inner_text()


def choose(tab: Page, case: str, first: str, second: str, seed: int | str = 0) -> None:
    tab.get_by_label("Case", exact=True).select_option(label=case)
    tab.get_by_label("First condition", exact=True).select_option(first)
    tab.get_by_label("Second condition", exact=True).select_option(second)
    tab.get_by_label("Seed", exact=True).select_option(str(seed))


def level_of(tab: Page, value: float) -> None:
    tab.get_by_label("Level above which a map is foreground").fill(f"{value}")


def iou_of(arrays: MapArrays, arm: str, seed: int, site: str, case: str, level: float) -> float:
    """The activation IoU of one stored map as the measure computes it."""
    image = arrays.image_names.tolist().index(case)
    stored = arrays.maps[arrays.map_place(arm, seed, site), image].astype(np.float64)
    levels = torch.from_numpy(np.rint(stored * LEVELS) / LEVELS)
    mask = torch.from_numpy(arrays.masks[image] > 0)[None]
    return map_iou(resized_maps(levels[None], mask.shape[1:]), mask, level).item()


def test_the_explorer_fits_one_screen(tab, page):
    tab.goto(address(page, "cases"))
    box = tab.locator("#explorer .thumbs").bounding_box()
    assert box["y"] + 60 < 900
    assert tab.locator("#explorer .controls").evaluate("one => getComputedStyle(one).position") == (
        "sticky"
    )


def test_the_explorer_shows_the_case_and_the_conditions_it_says(opened, results):
    choose(opened, HOSTILE[3], "llm", "transformer", 2)
    maps = results.tables["maps.csv"].query("null == '' and site == 'after' and seed == 2")
    (otsu,) = maps.query("arm == 'llm' and image == @HOSTILE[3]")["iou"]
    scores = results.tables["scores.csv"].query("split == 'test' and checkpoint == 'best'")
    (iou,) = scores.query("arm == 'transformer' and seed == 2 and image == @HOSTILE[3]")["iou"]
    said = status(opened)
    assert said.startswith(f"{HOSTILE[3]} (")
    assert f"map {otsu:.3f} at Otsu's level; Transformer IoU {iou:.3f}" in said
    assert f"Transformer: IoU {iou:.3f}" in tiles(opened)
    assert len(tiles(opened)) == 3 + 3


def test_seeds_are_averaged(opened, results):
    choose(opened, HOSTILE[3], "llm", "cnn", "mean")
    scores = results.tables["scores.csv"].query("split == 'test' and checkpoint == 'best'")
    iou = scores.query("arm == 'llm' and image == @HOSTILE[3]")["iou"].mean()
    assert f"LLM, frozen: IoU {iou:.3f}" in tiles(opened)
    level_of(opened, 0.4)
    each = [iou_of(results.arrays, "llm", s, "after", HOSTILE[3], 0.4) for s in range(5)]
    assert f"LLM, frozen: map IoU {np.mean(each):.3f} at 0.400" in tiles(opened)


@pytest.mark.parametrize("site", ["before", "after"])
def test_the_slider_gives_the_number_that_the_measure_computes(opened, results, site):
    opened.get_by_label("Map", exact=True).select_option(site)
    for case, level in ((HOSTILE[1], 0.3), (HOSTILE[3], 0.5), (HOSTILE[0], 0.775), (HOSTILE[0], 0)):
        choose(opened, case, "llm", "cnn", 3)
        level_of(opened, level)
        first, second = (
            iou_of(results.arrays, arm, 3, site, case, level) for arm in ("llm", "cnn")
        )
        assert f"LLM, frozen: map IoU {first:.3f} at {level:.3f}" in tiles(opened)
        assert f"CNN: map IoU {second:.3f} at {level:.3f}" in tiles(opened)


def test_the_slider_moves_with_the_keyboard_and_an_empty_map_has_no_overlap(opened):
    slider = opened.get_by_label("Level above which a map is foreground")
    slider.focus()
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#explorer output").inner_text() == "0.505"
    opened.keyboard.press("End")
    assert "LLM, frozen: map IoU 0.000 at 1.000" in tiles(opened)


def test_the_resized_map_is_that_of_the_measure_to_the_last_digit(opened):
    draw = np.random.default_rng(5)
    for grid, size in (((3, 5), (17, 11)), ((6, 6), (96, 96)), ((4, 4), (4, 4)), ((9, 7), (5, 6))):
        values = draw.random(grid)
        found = opened.evaluate(
            "([values, grid, size]) => Array.from(drawing.resized(values, grid, size))",
            [values.ravel().tolist(), list(grid), list(size)],
        )
        expected = resized_maps(torch.from_numpy(values)[None], size)[0].numpy().ravel()
        assert np.abs(np.array(found) - expected).max() <= 1e-12


def test_differences_are_of_the_pixels_and_of_the_maps(opened, results):
    choose(opened, HOSTILE[3], "llm", "adapters")
    arrays = results.arrays
    image = arrays.image_names.tolist().index(HOSTILE[3])
    one, other = (
        arrays.prediction(arrays.prediction_place(arm, 0), image) for arm in ("llm", "adapters")
    )
    assert f"Only one of them: {(one != other).sum()} of 9216 pixels" in tiles(opened)
    choose(opened, HOSTILE[3], "llm", "llm")
    assert {"Only one of them: 0 of 9216 pixels", "First minus second: map IoU 0.000"} <= set(
        tiles(opened)
    )


def test_hits_misses_and_false_alarms_have_their_colours(opened, results):
    arrays = results.arrays
    image = arrays.image_names.tolist().index(HOSTILE[3])
    truth = arrays.masks[image] > 0
    predicted = {
        seed: arrays.prediction(arrays.prediction_place("llm", seed), image) for seed in range(5)
    }
    seed = next(seed for seed, mask in predicted.items() if (mask != truth).any())
    found = predicted[seed]
    choose(opened, HOSTILE[3], "llm", "cnn", seed)
    opened.get_by_label("Opacity").fill("1")
    places = {
        (29, 190, 210): truth & found,
        (255, 170, 0): truth & ~found,
        (214, 60, 205): ~truth & found,
    }
    seen = {colour: mask for colour, mask in places.items() if mask.any()}
    assert len(seen) == 3
    for colour, mask in seen.items():
        row, column = map(int, np.argwhere(mask)[0])
        drawn = opened.locator("#explorer .tiles canvas").first.evaluate(
            "(canvas, [x, y]) => Array.from(canvas.getContext('2d')"
            ".getImageData(3 * x + 1, 3 * y + 1, 1, 1).data)",
            [column, row],
        )
        assert tuple(drawn[:3]) == colour


def test_the_explorer_draws_the_pixels_of_the_arrays(opened, results):
    choose(opened, HOSTILE[3], "llm", "cnn")
    opened.get_by_label("Prediction", exact=True).select_option("none")
    image = results.arrays.image_names.tolist().index(HOSTILE[3])
    drawn = opened.locator("#explorer .tiles canvas").first.evaluate(
        "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 288, 1).data)"
    )
    assert drawn[::12] == results.arrays.images[image, 0].tolist()


def test_arrow_and_number_keys_step_through_cases_and_seeds(opened):
    opened.locator("h1").click()
    first = status(opened).partition(" (")[0]
    opened.keyboard.press("ArrowRight")
    assert status(opened).partition(" (")[0] != first
    opened.keyboard.press("ArrowLeft")
    assert status(opened).partition(" (")[0] == first
    opened.keyboard.press("2")
    assert "seed 1" in status(opened)
    opened.keyboard.press("0")
    assert "mean of all seeds" in status(opened)
    opened.get_by_role("button", name="Next case").click()
    assert status(opened).partition(" (")[0] != first


def test_thumbnails_show_scores_and_lead_to_their_case(opened, results):
    choose(opened, HOSTILE[0], "llm", "cnn", 4)
    scores = results.tables["scores.csv"].query("split == 'test' and checkpoint == 'best'")
    (iou,) = scores.query("arm == 'llm' and seed == 4 and image == @HOSTILE[3]")["iou"]
    thumb = opened.locator(".thumbs button", has_text=HOSTILE[3])
    assert f"{iou:.3f}" in thumb.inner_text()
    thumb.click()
    assert status(opened).startswith(HOSTILE[3])
    assert thumb.get_attribute("aria-pressed") == "true"


def test_the_address_holds_the_view(opened, browser):
    choose(opened, HOSTILE[1], "adapters", "transformer", 3)
    level_of(opened, 0.25)
    other = browser.new_page()
    other.goto(opened.url)
    assert (status(other), tiles(other)) == (status(opened), tiles(opened))
    other.close()


def test_the_first_case_is_the_one_of_median_difference(tab, page, results):
    tab.goto(address(page, "cases"))
    assert "(median difference)" in status(tab)
    scores = results.tables["scores.csv"].query("split == 'test' and checkpoint == 'best'")
    stored = scores[scores["image"].isin(results.arrays.image_names)]
    means = stored.groupby(["image", "arm"])["iou"].mean().unstack()
    ordered = (means["llm"] - means["cnn"]).sort_values()
    assert status(tab).partition(" (")[0] in set(ordered.index[2:4])


def test_cases_stand_under_the_reason_why_they_are_there(large):
    groups = large.locator("#explorer-case optgroup").evaluate_all(
        "all => all.map(one => [one.label, one.children.length])"
    )
    assert [name for name, _ in groups] == [
        "Named", "Median difference", "Where the arms differ most", "Drawn at random",
    ]  # fmt: skip
    assert [count for _, count in groups[:2]] == [1, 1]
    assert groups[2][1] in (11, 12)
    assert status(large).startswith("p01/slice013 (named), spine")


def test_another_data_set_has_its_own_cases_and_conditions(large):
    large.get_by_label("Data", exact=True).select_option(label="<i>shapes</i>")
    assert large.locator("#explorer-arm-a option").all_inner_texts() == ["CNN", "LLM, frozen"]
    assert ", <i>shapes</i>," in status(large)


@pytest.mark.parametrize("part", PARTS)
def test_a_large_study_opens_without_a_complaint_and_fits(tab, study, complaints, part):
    for width in (390, 1440):
        tab.set_viewport_size({"width": width, "height": 800})
        tab.goto(address(study, part))
        assert text_faults(tab) == []
    assert complaints == []


def test_without_scripts_everything_but_the_explorer_is_there(browser, page):
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(page.as_uri())
    assert tab.locator(".verdict-row").count() == 6
    assert tab.locator("nav.contents a").first.is_visible()
    tab.goto(address(page, "cases"))
    assert tab.locator("#look noscript").count() == 1
    assert tab.locator("#explorer").is_hidden()
    tab.goto(address(page, "conditions"))
    assert tab.locator("#cases-table tbody tr").count() == 20
    assert tab.locator("#condition-rows tbody tr").count() == 5
    tab.close()
