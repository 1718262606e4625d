from __future__ import annotations

import math

import pandas as pd
import pytest

from llm4seg_probe.reporting import terminal
from llm4seg_probe.reporting.labels import decimals_for, effect, number, p_value
from llm4seg_probe.reporting.verdicts import VERDICTS, verdict_rows
from llm4seg_probe.statistics.verdicts import Verdict


def claim(**changes) -> dict:
    return {
        "claim": "boost",
        "statement": "the layer improves segmentation",
        "measure": "iou of scores.csv",
        "comparison": "llm > cnn",
        "n_seeds": 5,
        "difference": 0.008,
        "ci_low": -0.002,
        "ci_high": 0.018,
        "p_adjusted": 0.09,
        "verdict": "inconclusive",
        "seeds_needed": 23.0,
        "margin": 0.005,
        **changes,
    }


def test_each_verdict_of_the_statistics_has_a_word():
    assert set(VERDICTS) == set(Verdict.__args__)


def test_a_claim_in_words():
    (row,) = verdict_rows(pd.DataFrame([claim()]))
    assert row.statement == "The layer improves segmentation"
    assert row.word == "Inconclusive"
    assert row.effect == "+0.008 [−0.002, +0.018]"
    assert row.margin == "margin ±0.005"
    assert row.p == "0.090"
    assert row.seeds == "5 run, 23 needed"


@pytest.mark.parametrize("verdict", ["supported", "contradicted", "equivalent"])
def test_no_seeds_are_asked_for_where_a_claim_is_decided(verdict):
    (row,) = verdict_rows(pd.DataFrame([claim(verdict=verdict)]))
    assert row.seeds == "5 run"


def test_a_claim_that_was_not_run_has_no_plot():
    absent = dict.fromkeys(
        ("difference", "ci_low", "ci_high", "p_adjusted", "seeds_needed"), math.nan
    )
    (row,) = verdict_rows(pd.DataFrame([claim(**absent, n_seeds=0, verdict="not run")]))
    assert row.plot is None
    assert (row.effect, row.p, row.seeds, row.word) == ("–", "–", "none run", "Not run")


def test_effects_of_one_measure_share_their_scale_and_others_do_not():
    large = claim(claim="rank", measure="effective_rank of rank.csv", difference=2.0)
    large |= {"ci_low": 1.0, "ci_high": 4.0, "margin": 0.5}
    small = claim(claim="second", difference=0.002, ci_low=0.001, ci_high=0.003)
    one, two, three = verdict_rows(pd.DataFrame([claim(), small, large]))
    assert one.plot.difference / two.plot.difference == pytest.approx(4)
    assert one.plot.over_runs == pytest.approx((-0.002 / 0.018 / 1.06, 1 / 1.06))
    assert one.plot.margin == pytest.approx(0.005 / 0.018 / 1.06)
    assert three.plot.over_runs[1] == pytest.approx(1 / 1.06)
    assert three.plot.margin == pytest.approx(0.5 / 4 / 1.06)


def test_further_columns_are_used_where_they_are():
    plain, full = (
        verdict_rows(pd.DataFrame([one]))[0]
        for one in (
            claim(),
            claim(boot_low=-0.01, boot_high=0.02, sentence="So it is.", in_advance=False),
        )
    )
    assert plain.plot.over_both is None
    assert full.plot.over_both == pytest.approx((-0.01 / 0.02 / 1.06, 1 / 1.06))
    assert (plain.sentence, full.sentence) == ("", "So it is.")
    assert (plain.in_advance, full.in_advance) == (True, False)


def test_an_effect_of_nothing_is_drawn_at_zero():
    zero = claim(difference=0.0, ci_low=0.0, ci_high=0.0, margin=math.nan)
    (row,) = verdict_rows(pd.DataFrame([zero]))
    assert row.plot.difference == 0
    assert row.effect == "0.000 [0.000, 0.000]"


@pytest.mark.parametrize(
    ("value", "decimals", "signed", "shown"),
    [(-0.0004, 3, True, "0.000"), (0.0, 2, True, "0.00"), (-1.25, 1, False, "−1.2"),
     (math.inf, 2, False, "–"), (12.0, 0, True, "+12")],
)  # fmt: skip
def test_numbers_are_written_with_their_sign(value, decimals, signed, shown):
    assert number(value, decimals, signed=signed) == shown


@pytest.mark.parametrize(
    ("width", "decimals"), [(0.02, 3), (0.2, 2), (2, 1), (20, 0), (2e-9, 6), (math.nan, 3)]
)
def test_digits_follow_the_interval(width, decimals):
    assert decimals_for(width) == decimals


def test_an_effect_without_an_interval():
    assert effect(0.0123, math.nan, math.nan) == "+0.012"


def test_p_is_never_zero():
    assert p_value(0.0) == "< 0.001"
    assert p_value(0.001) == "0.001"


def test_the_terminal_says_the_words_of_the_page(results):
    text = terminal.verdict_text(results.tables["claims.csv"], width=200)
    for row in verdict_rows(results.tables["claims.csv"]):
        for part in (row.statement, row.word, row.effect, row.p, row.comparison, row.sentence):
            assert part in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminal_breaks_no_number(results, width):
    text = terminal.verdict_text(results.tables["claims.csv"], width)
    text += terminal.comparison_text(results.tables["comparison.csv"], width)
    table = [line for line in text.splitlines() if "[" in line or "─" in line]
    assert max(map(len, table)) <= width
    for row in verdict_rows(results.tables["claims.csv"]):
        assert row.effect in text


def test_comparisons_in_the_terminal(results):
    text = terminal.comparison_text(results.tables["comparison.csv"], 120)
    for heading in ("IoU on spine", "Effective rank on spine", "Activation IoU on spine"):
        assert heading in text.splitlines()
    assert "With 5 seeds the exact test cannot give less than p = 0.0625." in text


def test_names_in_the_terminal_are_no_markup():
    row = claim(statement="[red]all[/red] is well", sentence="[bold]x[/bold]")
    text = terminal.verdict_text(pd.DataFrame([row]), 160)
    assert "[red]all[/red] is well" in text
    assert "[bold]x[/bold]" in text
