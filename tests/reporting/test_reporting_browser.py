"""The pages in a real browser; skipped where none is installed."""

from __future__ import annotations

import pytest
from browser_checks import (
    AXE,
    CHROMIUM,
    THEMES,
    WIDTHS,
    address,
    axe_faults,
    dead_links,
    status,
    text_faults,
)
from demo_study import HOSTILE
from playwright.sync_api import Page, expect

from llm4seg_probe.report.page import PARTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture
def conditions(tab, page):
    tab.goto(address(page, "conditions"))
    return tab


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


def test_numbers_sort_by_their_value_and_not_by_what_is_shown(conditions):
    heading = conditions.locator("#comparison-table thead th").nth(4)
    heading.locator("button").click()
    cells = conditions.locator("#comparison-table tbody tr td:nth-child(5)")
    values = cells.evaluate_all("cells => cells.map(cell => Number(cell.dataset.value))")
    assert len(values) == 14
    assert values == sorted(values)
    assert cells.all_inner_texts()[:2] == ["< 0.001"] * 2


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
