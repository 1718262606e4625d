"""The page in a real browser; skipped where none is installed."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HOSTILE
from playwright.sync_api import Page, sync_playwright

from llm4seg_probe.measures.activation import map_iou, resized
from llm4seg_probe.reporting.arrays import LEVELS, MapArrays

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_AXE = find_spec("axe_playwright_python")
AXE = Path(_AXE.submodule_search_locations[0]) / "axe.min.js" if _AXE else None
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


@pytest.fixture(scope="module")
def large(browser, study):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.goto(study.as_uri())
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


def status(tab: Page) -> str:
    return tab.locator("#explorer [role=status]").inner_text()


def choose(tab: Page, case: str, first: tuple[str, int], second: tuple[str, int]) -> None:
    tab.get_by_label("Case", exact=True).select_option(label=case)
    for name, (arm, seed) in (("First", first), ("Second", second)):
        group = tab.get_by_role("group", name=name)
        group.get_by_label("Condition").select_option(arm)
        group.get_by_label("Seed").select_option(str(seed))


def level_of(tab: Page, value: float) -> None:
    tab.get_by_label("Level above which a map is foreground").fill(f"{value}")


def iou_of(arrays: MapArrays, arm: str, seed: int, site: str, case: str, level: float) -> float:
    """The activation IoU of one stored map as the measure computes it."""
    image = arrays.image_names.tolist().index(case)
    stored = arrays.maps[arrays.map_place(arm, seed, site), image].astype(np.float64)
    levels = torch.from_numpy(np.rint(stored * LEVELS) / LEVELS)
    mask = torch.from_numpy(arrays.masks[image] > 0)[None]
    return map_iou(resized(levels[None], mask.shape[1:]), mask, level).item()


def test_the_explorer_shows_the_case_and_the_conditions_it_says(opened, results):
    choose(opened, HOSTILE[3], ("llm", 2), ("transformer", 4))
    maps = results.tables["maps.csv"].query("null == '' and site == 'after' and seed == 2")
    (otsu,) = maps.query("arm == 'llm' and image == @HOSTILE[3]")["iou"]
    scores = results.tables["scores.csv"].query("split == 'test' and checkpoint == 'best'")
    (iou,) = scores.query("arm == 'transformer' and seed == 4 and image == @HOSTILE[3]")["iou"]
    said = status(opened)
    assert said.startswith(f"Case {HOSTILE[3]} (")
    assert f"{otsu:.4f} at Otsu's level; Transformer, seed 4: prediction IoU {iou:.4f}" in said
    assert f"Transformer, seed 4: IoU {iou:.4f}" in tiles(opened)
    assert len(tiles(opened)) == 2 + 3 + 3


@pytest.mark.parametrize("site", ["before", "after"])
def test_the_slider_gives_the_number_that_the_measure_computes(opened, results, site):
    opened.get_by_label("Site", exact=True).select_option(site)
    for case, level in ((HOSTILE[1], 0.3), (HOSTILE[3], 0.5), (HOSTILE[0], 0.775), (HOSTILE[0], 0)):
        choose(opened, case, ("llm", 1), ("cnn", 3))
        level_of(opened, level)
        first, second = (
            iou_of(results.arrays, arm, seed, site, case, level)
            for arm, seed in (("llm", 1), ("cnn", 3))
        )
        assert f"LLM, frozen, seed 1: IoU {first:.4f} at {level:.3f}" in tiles(opened)
        assert f"CNN, seed 3: IoU {second:.4f} at {level:.3f}" in tiles(opened)
        difference = f"{first - second:+.4f}".replace("-", "\N{MINUS SIGN}")
        assert f"First minus second: IoU {difference}" in tiles(opened)


def test_the_slider_moves_with_the_keyboard_and_an_empty_map_has_no_overlap(opened):
    slider = opened.get_by_label("Level above which a map is foreground")
    slider.focus()
    opened.keyboard.press("ArrowRight")
    assert opened.locator("#explorer output").inner_text() == "0.505"
    opened.keyboard.press("End")
    assert "LLM, frozen, seed 0: IoU 0.0000 at 1.000" in tiles(opened)


def test_the_resized_map_is_that_of_the_measure_to_the_last_digit(opened):
    draw = np.random.default_rng(5)
    for grid, size in (((3, 5), (17, 11)), ((6, 6), (96, 96)), ((4, 4), (4, 4)), ((9, 7), (5, 6))):
        values = draw.random(grid)
        found = opened.evaluate(
            "([values, grid, size]) => Array.from(drawing.resized(values, grid, size))",
            [values.ravel().tolist(), list(grid), list(size)],
        )
        expected = resized(torch.from_numpy(values)[None], size)[0].numpy().ravel()
        assert np.abs(np.array(found) - expected).max() <= 1e-12


def test_differences_are_of_the_pixels_and_of_the_maps(opened, results):
    choose(opened, HOSTILE[3], ("llm", 0), ("adapters", 0))
    arrays = results.arrays
    image = arrays.image_names.tolist().index(HOSTILE[3])
    one, other = (
        arrays.prediction(arrays.prediction_place(arm, 0), image) for arm in ("llm", "adapters")
    )
    assert f"Only one of them: {(one != other).sum()} of 9216 pixels" in tiles(opened)
    choose(opened, HOSTILE[3], ("llm", 0), ("llm", 0))
    assert {"Only one of them: 0 of 9216 pixels", "First minus second: IoU +0.0000"} <= set(
        tiles(opened)
    )
    middle = opened.locator("#explorer canvas").last.evaluate(
        "canvas => Array.from(canvas.getContext('2d').getImageData(5, 5, 1, 1).data)"
    )
    assert min(middle[:3]) > 235  # the middle of the diverging scale is near white


def test_the_explorer_draws_the_pixels_of_the_arrays(opened, results):
    choose(opened, HOSTILE[3], ("llm", 0), ("cnn", 0))
    image = results.arrays.image_names.tolist().index(HOSTILE[3])
    drawn = opened.locator("#explorer canvas").first.evaluate(
        "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 288, 1).data)"
    )
    assert drawn[::12] == results.arrays.images[image, 0].tolist()


def test_the_explorer_steps_through_the_cases_with_the_keyboard(opened):
    first = status(opened).partition(" (")[0]
    button = opened.get_by_role("button", name="Next case")
    button.focus()
    opened.keyboard.press("Enter")
    assert status(opened).partition(" (")[0] != first
    opened.get_by_role("button", name="Previous case").click()
    assert status(opened).partition(" (")[0] == first


def test_cases_stand_under_the_reason_why_they_are_there(large):
    groups = large.locator("#explorer-case optgroup").evaluate_all(
        "all => all.map(one => [one.label, one.children.length])"
    )
    assert [name for name, _ in groups] == [
        "Named", "Where the arms differ most", "Drawn at random",
    ]  # fmt: skip
    assert groups[0][1] == 1
    assert groups[1][1] == 12
    assert status(large).startswith("Case p01/slice013 (named), spine.")


def test_another_data_set_has_its_own_cases_and_conditions(large):
    large.get_by_label("Data", exact=True).select_option(label="<i>shapes</i>")
    assert large.locator("#explorer-arm-a option").all_inner_texts() == ["CNN", "LLM, frozen"]
    assert ", <i>shapes</i>." in status(large)


def test_a_large_study_opens_soon_and_without_a_complaint(browser, study):
    times = []
    for _ in range(3):
        tab = browser.new_page()
        complaints: list[str] = []
        tab.on("console", lambda message, said=complaints: said.append(message.text))
        tab.on("pageerror", lambda error, said=complaints: said.append(str(error)))
        tab.goto(study.as_uri())
        times.append(
            tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
        )
        tab.close()
        assert complaints == []
    assert min(times) < 2


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_a_large_study_fits_every_window(large, width):
    large.set_viewport_size({"width": width, "height": 800})
    assert large.evaluate("document.documentElement.scrollWidth") == width
    large.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.skipif(AXE is None, reason="axe-playwright-python is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, page, scheme):
    assert AXE is not None
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("async () => (await axe.run()).violations.map(v => [v.impact, v.id])")
    assert [one for one in found if one[0] in ("serious", "critical")] == []
    context.close()


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
    assert tab.locator("#look noscript").count() == 1
    assert tab.locator("#explorer").is_hidden()
    assert tab.locator("#cases-table tbody tr").count() == 20
    tab.close()
