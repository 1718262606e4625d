"""Audits of tables as papers print them: several scores, variants of one arm, guessed seeds."""

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.statistics.audit import audit
from llm4seg_probe.statistics.audit.result import Design


def found(result, level):
    return [finding.what for finding in result.findings if finding.level == level]


@pytest.fixture
def two_scores():
    return pd.DataFrame(
        {"Method": ["U-Net", "CMUNeXt"], "IoU (%)": ["68.61±2.86", "71.56±2.43"],
         "HD95": ["30.0±4.0", "20.0±1.0"], "splits": ["3", "3"]}
    )  # fmt: skip


def test_columns_that_are_scores_are_not_data_sets(two_scores):
    result = audit(two_scores, margin=0.5)
    assert list(result.comparison["score"]) == ["iou", "hd95"]
    assert set(result.comparison["dataset"]) == {""}
    assert result.score == "iou, hd95"
    assert result.design.datasets == 1
    assert "+2.95 in iou" in result.sentences[0]
    assert "-10 in hd95" in result.sentences[1]
    assert {match.column for match in result.matches if match.role == "mean"} == {
        "IoU (%)", "HD95",
    }  # fmt: skip
    assert set(result.curves["score"]) == {"iou", "hd95"}


def test_lower_is_better_where_the_column_says_so(two_scores):
    sure = two_scores.assign(HD95=["30.0±0.1", "20.0±0.1"])
    verdicts = audit(sure, margin=0.5).comparison.set_index("score")["verdict"]
    assert verdicts["hd95"] == "supported"


def test_a_column_that_was_given_is_the_only_one_read(two_scores):
    result = audit(two_scores, columns={"mean": "IoU (%)"})
    assert list(result.comparison["score"]) == ["iou"]
    both = audit(two_scores).comparison.set_index("score")
    assert both.loc["iou", "margin"] == 0.5
    assert np.isnan(both.loc["hd95", "margin"])


def test_arms_that_differ_in_a_number_may_hide_a_best_of_several():
    table = pd.DataFrame(
        {"model": ["CNN", *(f"LLaMA layer {n}" for n in range(1, 5)), "ours 1", "ours 2"],
         "IoU": [76.87, 76.71, 77.10, 77.43, 77.72, 77.0, 77.1]}
    )  # fmt: skip
    doubts = found(audit(table), "doubt")
    spread = np.std([76.71, 77.10, 77.43, 77.72], ddof=1)
    assert doubts == [
        f"4 arms are variants of 'LLaMA layer', from 76.71 to 77.72 (SD {spread:.2g}): the best of "
        "several is chosen on the scores that it reports"
    ]


def test_a_single_rounded_number_may_well_come_twice():
    table = pd.DataFrame({"model": ["a", "b", "c"], "IoU": [77.44, 77.44, 77.5]})
    assert found(audit(table), "fault") == ["one run per arm: the noise of training is unknown"]
    digits = table.assign(IoU=[0.77443152, 0.77443152, 0.775])
    assert found(audit(digits), "fault")[0] == "a seed 0 and b seed 0 have identical scores"


def test_one_run_is_not_run_and_says_what_was_seen():
    table = pd.DataFrame({"model": ["CNN", "LLaMA"], "IoU": [76.87, 77.68]})
    assert audit(table).sentences == (
        "Not run: one seed cannot show a difference between LLaMA and CNN (it is +0.81 there).",
    )


def test_a_seed_that_was_guessed_is_a_doubt(per_seed):
    table = per_seed(cnn=[0.601, 0.612, 0.62], llm=[0.633, 0.614, 0.64])
    assert not found(audit(table), "doubt")
    guessed = audit(table.rename(columns={"seed": "layer"}))
    assert found(guessed, "doubt") == [
        "column layer was taken for the seed by what it holds: is it one? (--seed names another; "
        "if these are folds, --fold layer)"
    ]


def test_one_of_a_kind_is_told_in_the_singular():
    design = Design("per seed", (), 2, 1, None, None, 1, 1)
    assert design.sentence == "Results per seed: 2 arms, 1 seed; not paired."
