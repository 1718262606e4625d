"""The page in a real browser; skipped where none is installed."""

from __future__ import annotations

import shutil

import pytest
from conftest import HOSTILE
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
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
def opened(browser, page, complaints):
    """The page at a laptop's width; whatever it complains about is collected."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "request",
        lambda request: complaints.append(request.url) if request.url.startswith("http") else None,
    )
    tab.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    tab.goto(page.as_uri())
    yield tab
    tab.close()


def column(tab: Page, table: str, place: int) -> list[str]:
    return tab.locator(f"#{table} tbody tr td:nth-child({place})").all_inner_texts()


def test_it_opens_without_a_complaint(opened, complaints):
    assert opened.title() == "A frozen language-model layer in a segmentation network"
    assert complaints == []


@pytest.mark.parametrize("width", [360, 390, 800, 1400])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == width


def test_hostile_names_are_shown_as_text(opened):
    shown = column(opened, "cases-table", 1)
    assert set(HOSTILE.values()) <= set(shown)
    assert opened.locator("img").count() == 0


def test_a_column_sorts_both_ways_by_its_numbers(opened):
    heading = opened.locator("#cases-table thead th").nth(2)
    heading.locator("button").click()
    ascending = [float(text) for text in column(opened, "cases-table", 3)]
    assert ascending == sorted(ascending)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert [float(text) for text in column(opened, "cases-table", 3)] == ascending[::-1]
    assert heading.get_attribute("aria-sort") == "descending"


def test_numbers_sort_by_their_value_and_not_by_what_is_shown(opened):
    opened.locator("#comparison-table thead th").nth(4).locator("button").click()
    values = opened.locator("#comparison-table tbody tr td:nth-child(5)").evaluate_all(
        "cells => cells.map(cell => Number(cell.dataset.value))"
    )
    assert values == sorted(values)
    assert len(values) == 14


def test_missing_numbers_stay_last(opened):
    heading = opened.locator("#comparison-table thead th").nth(8).locator("button")
    for _ in range(2):
        heading.click()
        assert column(opened, "comparison-table", 9)[-1] == "–"


def test_sorting_works_with_the_keyboard_alone(opened):
    opened.locator("#rank-table thead th button").first.focus()
    opened.keyboard.press("Enter")
    arms = column(opened, "rank-table", 1)
    assert arms == sorted(arms)


def tiles(tab: Page) -> list[str]:
    return tab.locator("#explorer canvas").evaluate_all("all => all.map(one => one.ariaLabel)")


def test_the_explorer_shows_the_case_it_says(opened, results):
    opened.get_by_label("Case", exact=True).select_option(label=HOSTILE[3])
    opened.get_by_label("Seed", exact=True).select_option("2")
    assert f"Case {HOSTILE[3]}, seed 2." in opened.locator("#explorer [role=status]").inner_text()
    maps = results.tables["maps.csv"].query("null == '' and site == 'after' and seed == 2")
    (iou,) = maps.query("arm == 'llm' and image == @HOSTILE[3]")["iou"]
    assert f"LLM, frozen, map after, IoU {iou:.3f}" in tiles(opened)
    assert len(tiles(opened)) == 2 + 5 * 3


def test_the_explorer_draws_the_pixels_of_the_arrays(opened, results):
    opened.get_by_label("Case", exact=True).select_option(index=2)
    drawn = opened.locator("#explorer canvas").first.evaluate(
        "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 3 * 96, 1).data)"
    )
    # The first canvas is the image alone at three times its size, smoothed between pixels.
    assert abs(drawn[4] - int(results.arrays.images[2, 0, 0])) <= 25
    assert drawn[0] == drawn[1] == drawn[2]


def test_the_explorer_steps_through_the_cases_with_the_keyboard(opened, results):
    button = opened.get_by_role("button", name="Next case")
    button.focus()
    opened.keyboard.press("Enter")
    status = opened.locator("#explorer [role=status]")
    assert f"Case {HOSTILE[1]}," in status.inner_text()
    opened.get_by_role("button", name="Previous case").click()
    opened.get_by_role("button", name="Previous case").click()
    assert f"Case {results.arrays.image_names[-1]}," in status.inner_text()


def test_dark_pages_have_dark_figures(browser, page):
    tab = browser.new_page(color_scheme="dark")
    tab.goto(page.as_uri())
    fill = tab.locator("#seeds figure svg text").first.evaluate(
        "text => getComputedStyle(text).fill"
    )
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.close()
    assert max(map(int, background[4:-1].split(","))) < 50
    assert min(map(int, fill[4:-1].split(","))) > 150


def test_without_scripts_everything_but_the_explorer_is_there(browser, page):
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(page.as_uri())
    assert tab.locator("table.verdicts tbody tr").count() == 12
    assert tab.locator("#explorer").is_hidden()
    assert tab.locator("#cases-table tbody tr").count() == 20
    tab.close()
