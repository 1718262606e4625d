"""The lens figures: distances with their nulls, and words that cannot break a figure."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from llm4seg_probe.reporting.figures import lens
from llm4seg_probe.reporting.style import COLUMN, arm_style

WORDS = [" the", "\n", "$x$ _ ^", "中文字", "a word of great length indeed", "%s<b>"]


@pytest.fixture(scope="module")
def distances():
    rows = [
        {
            "run": f"{arm}-{seed}", "arm": arm, "seed": seed, "site": "layer", "null": null,
            "draw": draw, "image": image,
            "distance": base + 0.01 * seed + 0.002 * draw + (9 if image == "left out" else 0),
        }
        for arm in ("llm", "random-frozen") for seed in range(2)
        for null, base, draws in (("", 0.5, 1), ("other-image", 0.4, 19), ("gaussian", 0.2, 1))
        for draw in range(draws) for image in ("one", "two", *([] if null else ["left out"]))
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def words():
    rows = [
        {
            "run": f"{arm}-{seed}", "arm": arm, "seed": seed, "site": "layer", "null": null,
            "part": part, "place": place + 1, "word": repr(word),
            "share": (0.4 - 0.1 * place) if seed == 0 else 1.0,
            "exchanged_share": 0.05 if null == "" else float("nan"),
        }
        for arm in ("llm", "random-frozen") for seed in range(2) for null in ("", "gaussian")
        for part in lens.PARTS for place, word in enumerate(WORDS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_dots_are_means_over_the_images_of_the_nulls(distances):
    figure = lens.figure(distances)
    assert figure.get_figwidth() == pytest.approx(COLUMN)
    (axes,) = figure.axes
    dots = {found.get_label(): found.get_offsets() for found in axes.collections}
    llm = dots[arm_style("llm").label]
    assert llm[:, 0].tolist() == pytest.approx([0.5, 0.51])
    exchanged = axes.patches[0]
    low, width = exchanged.get_x(), exchanged.get_width()
    assert (low, low + width) == pytest.approx((0.4, 0.446), abs=0.003)
    assert "Jensen-Shannon distance, 0 to 1" in axes.get_xlabel()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["other images' masks", "Gaussian tokens"]


def test_words_of_the_first_seed_are_drawn_as_they_can_be(words):
    figure = lens.words_figure(words, top=6)
    assert len(figure.axes) == 4
    axes = figure.axes[0]
    assert axes.get_title("left") == f"{arm_style('llm').label}\nforeground"
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([40, 30, 20, 10])
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown[:3] == ["␣the", r"\n", "$x$␣_␣^"]
    assert shown[3].startswith(r"\u4e2d")
    marks = [line.get_paths()[0].vertices[0, 0] for line in axes.collections]
    assert marks == pytest.approx([5.0] * 4)
    figure.savefig(io.BytesIO(), format="svg")  # no glyph is missing, nothing is read as formula


def test_long_words_are_shortened():
    assert lens.shown(repr("a word of great length indeed")) == "a␣word…␣indeed"
