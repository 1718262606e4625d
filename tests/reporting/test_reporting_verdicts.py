from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from llm4seg_probe.drawing.labels import decimals_for, effect, number, p_value
from llm4seg_probe.report import terminal
from llm4seg_probe.report.answer import answer, plain
from llm4seg_probe.report.plots import LARGE, effect_svg
from llm4seg_probe.report.verdicts import VERDICTS, verdict_rows
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
    assert one.plot.extent == two.plot.extent
    assert (one.plot.over_runs, one.plot.margin) == ((-0.002, 0.018), 0.005)
    assert (three.plot.over_runs, three.plot.margin) == ((1.0, 4.0), 0.5)
    assert three.plot.extent > 0.5


def test_one_effect_far_out_is_cut_and_does_not_flatten_the_others():
    usual = [claim(claim=f"c{number}") for number in range(8)]
    far = claim(claim="far", ci_low=-0.43, ci_high=0.42)
    *rows, out = verdict_rows(pd.DataFrame([*usual, far]))
    assert out.plot.extent == rows[0].plot.extent == pytest.approx(0.02)
    drawn = str(effect_svg(out.plot, "far"))
    assert drawn.count('class="cut runs"') == 2
    assert 'class="cut' not in str(effect_svg(rows[0].plot, "near"))


def test_a_plot_holds_its_numbers_as_text_and_keeps_hostile_ones_harmless():
    (row,) = verdict_rows(pd.DataFrame([claim()]))
    drawn = str(effect_svg(row.plot, "<script>", LARGE, "difference in <b>", ("<i>", "b")))
    assert "<script>" not in drawn
    assert "<b>" not in drawn
    assert "<title>&lt;script&gt;</title>" in drawn
    assert f">+{row.plot.extent:g}<" in drawn


def test_effects_of_one_measure_have_one_precision():
    wide = claim(claim="wide", difference=-0.0123, ci_low=-0.4, ci_high=0.41)
    for row in verdict_rows(pd.DataFrame([claim(), wide])):
        assert all(len(part.split(".")[1]) == 3 for part in re.findall(r"\d\.\d+", row.effect))


@pytest.mark.parametrize(
    ("changes", "pair"),
    [
        ({}, "LLM, frozen against CNN"),
        ({"comparison": "llm@after not worse (>) than cnn@after"},
         "LLM, frozen, after against CNN, after"),
        ({"comparison": "llm > cnn and llm > mlp"}, "llm > cnn and llm > mlp"),
        ({"comparison": "llm > cnn and llm > mlp", "decided_by": "llm against mlp"},
         "LLM, frozen against MLP"),
    ],
)  # fmt: skip
def test_a_row_names_its_pair_in_the_words_of_the_figures(changes, pair):
    (row,) = verdict_rows(pd.DataFrame([claim(**changes)]))
    assert row.pair == pair


def test_an_effect_that_other_patients_may_not_share_is_told():
    decided = claim(verdict="supported", ci_low=0.001, boot_low=-0.01, boot_high=0.03)
    (row,) = verdict_rows(pd.DataFrame([decided]))
    assert "reaches across zero" in dict(row.details)["Beware"]


@pytest.mark.parametrize(
    ("verdict", "begins"),
    [("supported", "Yes, in these runs “The layer"), ("contradicted", "No, these runs contradict"),
     ("equivalent", "No difference that matters"), ("not run", "The primary claim, “The layer"),
     ("inconclusive", "These runs cannot tell whether “The layer improves segmentation” holds")],
)  # fmt: skip
def test_the_answer_is_made_from_the_verdicts(verdict, begins):
    first = claim(verdict=verdict, family="primary")
    other = claim(claim="rank", statement="features get richer", verdict="contradicted")
    rows = verdict_rows(pd.DataFrame([other, first, claim(claim="third")]))
    one, two = answer(rows)
    assert plain((one,)).startswith(begins)
    assert plain((two,)) == (
        "Of the other 2 claims 1 is contradicted (Features get richer) and 1 is inconclusive."
    )
    assert [piece.claim for piece in one if piece.claim] == ["boost"]


def test_without_claims_there_is_no_answer_and_one_claim_has_one_sentence():
    assert answer([]) == ()
    assert len(answer(verdict_rows(pd.DataFrame([claim()])))) == 1


def test_further_columns_are_used_where_they_are():
    plain, full = (
        verdict_rows(pd.DataFrame([one]))[0]
        for one in (
            claim(),
            claim(boot_low=-0.01, boot_high=0.02, sentence="So it is.", in_advance=False),
        )
    )
    assert plain.plot.over_both is None
    assert full.plot.over_both == (-0.01, 0.02)
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
        for part in (row.statement, row.word, row.effect, row.p, row.sentence):
            assert part in text
        assert all(part in text for part in row.comparison.split(" and "))


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminal_breaks_no_number(results, width):
    text = terminal.verdict_text(results.tables["claims.csv"], width)
    text += terminal.comparison_text(results.tables["comparison.csv"], width)
    table = [line for line in text.splitlines() if "[" in line or "─" in line]
    assert max(map(len, table)) <= width
    for row in verdict_rows(results.tables["claims.csv"]):
        assert row.effect in text


def test_the_terminal_breaks_long_claims_behind_their_hyphens():
    wide = claim(claim="pretraining-classification-phantoms", difference=-0.106, ci_low=-0.308,
                 ci_high=0.096, n_seeds=3, seeds_needed=1268)  # fmt: skip
    lines = terminal.verdict_text(pd.DataFrame([wide]), 80).splitlines()
    assert [line.split("  ")[0].strip() for line in lines[2:5]] == [
        "pretraining-", "classification-", "phantoms",
    ]  # fmt: skip
    assert max(map(len, lines[:5])) <= 80


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


def test_the_scale_holds_intervals_of_like_size_and_cuts_one_that_is_far_wider():
    wide = claim(difference=-0.005, ci_low=-0.109, ci_high=0.098, margin=0.02)
    (alone,) = verdict_rows(pd.DataFrame([wide]))
    assert alone.plot.extent >= 0.109  # the margin alone would cut it
    like = claim(difference=-0.02, ci_low=-0.114, ci_high=0.074)
    rows = verdict_rows(pd.DataFrame([like, claim(ci_low=-0.09, ci_high=0.067)]))
    assert rows[0].plot.extent >= 0.114
    one_far = [claim(ci_low=-0.01, ci_high=0.01)] * 5 + [claim(ci_low=-0.5, ci_high=0.5)]
    assert verdict_rows(pd.DataFrame(one_far))[0].plot.extent < 0.05
