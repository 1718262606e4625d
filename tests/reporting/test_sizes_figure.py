"""The figure of score and gain by the number of training images, its words and its listing."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.drawing.style import ARM_STYLES
from llm4seg_probe.errors import TableError
from llm4seg_probe.report.figures import sizes
from llm4seg_probe.report.page_tables import sizes_listing
from llm4seg_probe.report.sections import SECTIONS
from llm4seg_probe.tables import SIZES, conform

ARMS = ("cnn", "llm", "llm-trainable", "random-frozen", "adapters")
COUNTS = {"8": (22.2, 9, 51), "64": (78.0, 66, 95), "all": (129.0, 129, 129)}


def size_rows(settings: list[str]) -> pd.DataFrame:
    rows = []
    for setting, arm, (size, (images, low, high)) in product(settings, ARMS, COUNTS.items()):
        gain = None if arm == "cnn" else 0.01 * ARMS.index(arm) - 0.0001 * images
        mean = 0.4 + 0.1 * np.log10(images) + (gain or 0)
        rows.append(
            {"dataset": "spine", "score": "iou", "setting": setting, "arm": arm, "size": size,
             "images": images, "images_low": low, "images_high": high, "n_seeds": 5,
             "mean": mean, "ci_low": mean - 0.03, "ci_high": mean + 0.03, "gain": gain,
             "gain_low": None if gain is None else gain - 0.01,
             "gain_high": None if gain is None else gain + 0.01, "note": ""}
        )  # fmt: skip
    return conform(pd.DataFrame(rows), SIZES)


def test_lines_go_through_the_means_and_strokes_are_the_intervals() -> None:
    rows = size_rows([""])
    above, below = sizes.figure(rows).axes
    assert len(above.lines) == len(ARMS)
    for line, arm in zip(above.lines, ("cnn", "llm"), strict=False):
        own = rows[rows["arm"] == arm]
        np.testing.assert_allclose(line.get_ydata(), own["mean"])
        assert np.abs(np.asarray(line.get_xdata()) - np.log10(own["images"])).max() < 0.1
        assert line.get_color() == ARM_STYLES[arm].colour
    assert len(below.lines) == len(ARMS)  # zero in the place of the baseline's line
    strokes = [one for one in below.collections if hasattr(one, "get_segments")]
    drawn = sorted(tuple(segment[:, 1]) for one in strokes for segment in one.get_segments())
    gains = rows.dropna(subset="gain")
    wanted = sorted(zip(gains["gain_low"], gains["gain_high"], strict=True))
    np.testing.assert_allclose(drawn, wanted)
    assert [text.get_text() for text in below.get_xticklabels()] == ["22\n9–51", "78\n66–95", "129"]
    assert below.get_ylabel() == "Gain over CNN\n(difference in IoU)"


def test_equal_epochs_and_equal_steps_stand_side_by_side() -> None:
    figure = sizes.figure(size_rows(["", "steps_per_epoch=full"]))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Equal numbers of epochs", "Equal numbers of steps", "", ""]
    other = sizes.figure(size_rows(["", "label_noise=0.5", "layer=10"]))
    shown = [axes for axes in other.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown if axes.get_title(loc="left")] == [
        "As in the base", "Wrong masks 0.5", "Layer 10",
    ]  # fmt: skip
    assert len(shown) == 6


def test_words_tips_and_listing_have_the_numbers() -> None:
    rows = size_rows(["", "steps_per_epoch=full"])
    said = sizes.alt(rows)
    assert said.startswith("Lines by the number of training images. Mean test IoU: CNN (equal ")
    assert "LLM, frozen (equal numbers of steps) 0.542 on 22, gain +0.008 [−0.002, +0.018]" in said
    below = sizes.figure(rows).axes[2]
    tips = [json.loads(one.get_gid()[4:]) for one in below.collections if one.get_gid()]
    assert tips[0][:1] == ["LLM, frozen, 22 images: +0.008"]
    listing = sizes_listing(rows)
    assert [cell.text for cell in listing.rows[3]][:8] == [
        "LLM, frozen", "8", "spine", "", "22.2", "9 to 51", "0.542", "0.512 to 0.572",
    ]  # fmt: skip
    assert listing.rows[0][8].text == "–"


def test_a_table_without_rows_is_refused_and_the_section_is_of_studies_that_vary_the_size(
    results,
) -> None:
    with pytest.raises(TableError, match=r"sizes\.csv has no rows"):
        sizes.figure(size_rows([""]).head(0))
    [section] = [section for section in SECTIONS if section.anchor == "sizes"]
    assert section.missing(results) == ["sizes.csv"]
    assert not section.is_shown(results)
