"""The explorer of cases in a real browser; skipped where none is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from browser_checks import CHROMIUM, address, status
from demo_study import HOSTILE
from playwright.sync_api import Page

from llm4seg_probe.drawing.labels import number
from llm4seg_probe.measures.activation import map_iou, resized_maps
from llm4seg_probe.probes.arrays import LEVELS, MapArrays

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]


@pytest.fixture
def opened(tab, page):
    """The explorer's page, one seed chosen."""
    tab.goto(address(page, "cases"))
    tab.get_by_label("Seed", exact=True).select_option("0")
    return tab


@pytest.fixture(scope="module")
def large(browser, study):
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(address(study, "cases"))
    yield tab
    tab.close()


def tiles(tab: Page) -> list[str]:
    return tab.locator("#explorer .tiles canvas").evaluate_all(
        "all => all.map(one => one.ariaLabel)"
    )


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
        difference = number(first - second, 3, signed=True)
        assert f"First minus second: map IoU {difference}" in tiles(opened)


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
    middle = opened.locator("#explorer .tiles canvas").last.evaluate(
        "canvas => Array.from(canvas.getContext('2d').getImageData(5, 5, 1, 1).data)"
    )
    assert min(middle[:3]) > 235  # the middle of the diverging scale is near white


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


def test_the_buttons_beside_the_case_step_forth_and_back_by_keyboard_and_mouse(opened):
    first = status(opened).partition(" (")[0]
    opened.get_by_role("button", name="Next case").focus()
    opened.keyboard.press("Enter")
    assert status(opened).partition(" (")[0] != first
    opened.get_by_role("button", name="Previous case").click()
    assert status(opened).partition(" (")[0] == first


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
