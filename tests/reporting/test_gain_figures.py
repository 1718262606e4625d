"""Figures and tables of the gain taken apart, of associations, and of p over the correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.drawing.style import ARM_STYLES
from llm4seg_probe.errors import TableError
from llm4seg_probe.report.figures import association, ladder, p_by_correlation
from llm4seg_probe.report.page_tables import ladder_listing, selection_listing
from llm4seg_probe.statistics.audit import audit
from llm4seg_probe.tables import ASSOCIATION, LADDER, SELECTION, conform


@pytest.fixture
def steps() -> pd.DataFrame:
    return ladder_table()


def ladder_table() -> pd.DataFrame:
    rows = [
        ("cnn", "adapters", 1, "the two projections", 0.01, 0.01, ""),
        ("adapters", "llm", 2, "a GELU, and the pre-training", 0.02, 0.03, "no runs of mlp"),
        ("cnn", "transformer", None, "the architecture", 0.015, 0.015, ""),
    ]  # fmt: skip
    return conform(
        pd.DataFrame(
            [
                {"dataset": "spine", "score": "iou", "from": lower, "to": upper, "step": step,
                 "what": what, "n_seeds": 5, "difference": difference, "gain": gain, "note": note,
                 "ci_low": difference - 0.005, "ci_high": difference + 0.005, "p": 0.02,
                 "gain_low": gain - 0.005, "gain_high": gain + 0.005}
                for lower, upper, step, what, difference, gain, note in rows
            ]
        ),
        LADDER,
    )  # fmt: skip


def test_each_bar_of_the_ladder_begins_where_the_last_one_ended(steps: pd.DataFrame) -> None:
    (axes,) = ladder.figure(steps).axes
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    np.testing.assert_allclose(bars, [(0, 0.01), (0.01, 0.03), (0, 0.015)], atol=1e-12)
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == [
        "Adapters only\n+ the two projections",
        "LLM, frozen\n+ 2 parts at once, from\nAdapters only", "Transformer",
    ]  # fmt: skip
    assert axes.get_xlabel() == "Gain over CNN (difference in IoU)"
    assert ladder.alt(steps).startswith(
        "Bars from arm to arm with 95 % intervals over seeds: CNN to Adapters only +0.010 "
    )


def test_a_step_without_numbers_keeps_its_row(steps: pd.DataFrame) -> None:
    numbers = ["difference", "ci_low", "ci_high", "p", "gain", "gain_low", "gain_high"]
    steps.loc[1, numbers] = np.nan
    (axes,) = ladder.figure(steps).axes
    assert len(axes.patches) == 2
    assert len(axes.get_yticklabels()) == 3
    assert ladder_listing(steps).rows[1][5].text == "–"


def test_the_listing_of_the_ladder_says_what_was_skipped(steps: pd.DataFrame) -> None:
    rows = ladder_listing(steps).rows
    assert [cell.text for cell in rows[1][:5]] == [
        "LLM, frozen", "2", "spine", "Adapters only", "a GELU, and the pre-training",
    ]  # fmt: skip
    assert rows[1][-1].text == "no runs of mlp"
    assert rows[2][1].text == "–"
    assert rows[0][6].text == "+0.005 to +0.015"


def test_the_listing_of_selection_has_a_sentence_per_row() -> None:
    table = conform(
        pd.DataFrame(
            [{"dataset": "spine", "score": "iou", "arm": "llm", "against": against, "n_seeds": 5,
              "optimism": 0.004, "ci_low": 0.001, "ci_high": 0.007, "p": 0.02, "sentence": "so."}
             for against in ("", "cnn")]
        ),
        SELECTION,
    )  # fmt: skip
    rows = selection_listing(table).rows
    assert [row[2].text for row in rows] == ["", "CNN"]
    assert [row[3].text for row in rows] == ["+0.0040", "+0.0040"]
    assert rows[0][-1].text == "so."


def association_rows() -> pd.DataFrame:
    points = [
        {"claim": "rank-matters", "dataset": "spine", "arm": arm, "seed": seed, "x": x + seed,
         "y": y, "fitted": y + 0.1 * (seed - 1), "x_score": "effective_rank", "y_score": "iou"}
        for arm, x, y in (("llm", 5.0, 0.7), ("cnn", 9.0, 0.6)) for seed in range(3)
    ]  # fmt: skip
    return conform(pd.DataFrame(points), ASSOCIATION)


def test_each_arm_has_its_marks_and_a_line_of_the_one_slope() -> None:
    table = association_rows()
    (axes,) = association.figure(table).axes
    looks = [ARM_STYLES[arm].colour for arm in ("cnn", "llm")]
    assert [line.get_color() for line in axes.lines] == looks
    slopes = [np.polyfit(line.get_xdata(), line.get_ydata(), 1)[0] for line in axes.lines]
    assert slopes == pytest.approx([0.1, 0.1])
    assert axes.get_xlabel() == "Effective rank (directions)"
    assert "CNN 10.00 and 0.600; LLM, frozen 6.00 and 0.700" in association.alt(table)


def test_p_over_the_correlation_is_drawn_for_each_score_and_named_alike() -> None:
    table = pd.DataFrame(
        {"arm": ["base", *(f"m{chr(97 + n)}" for n in range(8))],
         "IoU": [f"{70 + n}±2.0" for n in range(9)], "Dice": [f"{80 + n}±1.0" for n in range(9)],
         "n": ["3"] * 9}
    )  # fmt: skip
    found = audit(table)
    drawing = p_by_correlation.figure(found.curves, found.comparison)
    iou, dice = drawing.axes
    assert [axes.get_title(loc="left") for axes in (iou, dice)] == ["IoU", "Dice"]
    for axes in (iou, dice):
        named = [text.get_text() for text in axes.get_legend().get_texts()]
        assert named == ["mc", "md", "me", "mf", "mg", "mh"]
        assert len(axes.lines) == 8 + 1
    colours = [[line.get_color() for line in axes.lines] for axes in (iou, dice)]
    assert colours[0] == colours[1]
    assert all(
        not text.get_parse_math() for axes in drawing.axes for text in axes.get_legend().get_texts()
    )
    crossing = found.comparison["crossing"].iloc[0]
    assert f"ma against base in iou {crossing:.2f}" in p_by_correlation.alt(found.comparison)


@pytest.mark.parametrize(
    ("draw", "schema", "message"),
    [
        (ladder.figure, LADDER, "ladder.csv has no rows"),
        (association.figure, ASSOCIATION, "association.csv has no rows"),
        (
            lambda table: p_by_correlation.figure(table, table), LADDER,
            "these results have no curve over the correlation",
        ),
    ],
)  # fmt: skip
def test_an_empty_table_is_refused(draw, schema, message) -> None:
    with pytest.raises(TableError) as refusal:
        draw(pd.DataFrame(columns=list(schema.columns)))
    assert str(refusal.value) == message
