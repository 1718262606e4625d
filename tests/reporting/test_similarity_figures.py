from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting.figures.similarity import figure, sites_figure
from llm4seg_probe.reporting.style import ARM_STYLES, COLUMN
from llm4seg_probe.tables import SIMILARITY, conform

SITES = ["before", "after"]


def similarity_table(arms=("llm", "cnn"), seeds=(0, 1)) -> pd.DataFrame:
    """Every pair that the probe compares, each with a number of its own."""
    draw = np.random.default_rng(0)
    runs = list(itertools.product(arms, seeds))
    pairs = [("sites", run, "before", run, "after") for run in runs]
    for (one, other), site in itertools.product(itertools.combinations(runs, 2), SITES):
        if (one[0] == other[0]) != (one[1] == other[1]):
            pairs.append(("arms" if one[1] == other[1] else "seeds", one, site, other, site))
    rows = []
    for between, (arm, seed), site, (other_arm, other_seed), other_site in pairs:
        for null in ("", "shuffled"):
            rows.append({
                "run": f"{arm}-{seed}", "dataset": "made", "arm": arm, "seed": seed, "site": site,
                "other_run": f"{other_arm}-{other_seed}", "other_arm": other_arm,
                "other_seed": other_seed, "other_site": other_site, "null": null,
                "between": between, "images": 9, "tokens": 90, "channels": 8, "other_channels": 8,
                "cka": draw.uniform(0.4, 1) if null == "" else draw.uniform(0, 0.2),
                "procrustes": 0.5, "cosine": -0.25,
            })  # fmt: skip
    return conform(pd.DataFrame(rows), SIMILARITY)


def numbers(axes) -> dict[tuple[int, int], str]:
    """What stands in the cells, by row and column."""
    return {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
        for text in axes.texts
    }


def test_arms_below_seeds_on_and_the_null_above_the_diagonal():
    table = similarity_table()
    drawn = figure(table)
    assert drawn.get_size_inches()[0] == pytest.approx(COLUMN)
    for axes, site in zip(drawn.axes, SITES, strict=False):
        at_site = table[table["site"] == site]
        own = at_site[at_site["null"] == ""]
        arms = at_site[at_site["between"] == "arms"].groupby("null")["cka"].mean()
        seeds = own[own["between"] == "seeds"].groupby("arm")["cka"].mean()
        assert numbers(axes) == {
            (0, 0): f"{seeds['cnn']:.2f}",
            (0, 1): f"{arms['shuffled']:.2f}",
            (1, 0): f"{arms['']:.2f}",
            (1, 1): f"{seeds['llm']:.2f}",
        }
        assert [label.get_text() for label in axes.get_yticklabels()] == ["CNN", "LLM, frozen"]
        assert axes.get_title(loc="right") == "above: images exchanged"
    assert drawn.axes[-1].get_xlabel() == "Debiased linear CKA (1: alike)"


def test_pairs_of_sites_by_arm_with_the_null_under_each():
    table = similarity_table()
    drawn = sites_figure(table)
    sites = table[table["between"] == "sites"]
    means = sites.groupby(["null", "arm"])["cka"].mean()
    assert numbers(drawn.axes[0]) == {
        (row, column): f"{means[null, arm]:.2f}"
        for row, null in enumerate(["", "shuffled"])
        for column, arm in enumerate(["cnn", "llm"])
    }
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [
        "before – after", "images exchanged",
    ]  # fmt: skip


def test_every_arm_fits_a_column():
    arms = [str(arm) for arm in ARM_STYLES]
    drawn = figure(similarity_table(arms))
    drawn.draw_without_rendering()
    text = drawn.axes[0].texts[0].get_window_extent()
    cell = drawn.axes[0].get_window_extent().width / len(arms)
    assert text.width < cell
    assert len(numbers(drawn.axes[0])) == 11 * 11


def test_more_conditions_than_fit_lose_their_numbers_not_their_labels():
    arms = [f"arm-with-a-long-name-{number:02d}" for number in range(18)]
    drawn = figure(similarity_table(arms, seeds=(0,)))
    axes = drawn.axes[1]
    assert len(axes.texts) == 0
    assert np.isfinite(np.asarray(axes.images[0].get_array())).sum() == 18 * 17
    drawn.draw_without_rendering()
    left = min(label.get_window_extent().x0 for label in axes.get_yticklabels())
    bottom = min(label.get_window_extent().y0 for label in axes.get_xticklabels())
    assert left >= 0
    assert bottom > drawn.axes[-1].get_window_extent().y1


def test_a_single_seed_leaves_the_diagonal_empty_and_another_measure_can_be_drawn():
    drawn = figure(similarity_table(seeds=(0,)), "cosine")
    assert numbers(drawn.axes[0]) == {(0, 1): "−0.25", (1, 0): "−0.25"}
    assert drawn.axes[-1].get_xlabel() == "Mean cosine (−1 to 1)"


def test_a_table_without_such_pairs_is_refused():
    table = similarity_table()
    with pytest.raises(TableError, match=r"similarity\.csv compares neither arms nor seeds"):
        figure(table[table["between"] == "sites"])
    with pytest.raises(TableError, match=r"similarity\.csv does not compare sites"):
        sites_figure(table[table["between"] == "arms"])
