"""Runs that learned nothing are named, by condition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from llm4seg_probe.measures.classification import auroc_parts
from llm4seg_probe.statistics.learned_nothing import learned_nothing


def study(empty: dict[str, list[str]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and runs; by run, which of two test images' masks are empty."""
    scores = pd.DataFrame(
        {"run": run, "checkpoint": "best", "split": "test", "empty": which}
        for run, images in empty.items()
        for which in images
    )
    last = scores.assign(checkpoint="last", empty="prediction")
    runs = pd.DataFrame(
        {"run": run, "dataset": run.split("/")[2], "arm": run.split("/")[0],
         "deviation": run.split("/")[1]}
        for run in empty
    )  # fmt: skip
    return pd.concat([scores, last]), runs


def test_conditions_of_runs_that_learned_nothing_are_counted():
    (told,) = learned_nothing(
        *study({
            "cnn//spine/0": ["", "prediction"], "cnn//spine/1": ["", ""],
            "cnn/train_images=8/spine/0": ["prediction", "prediction"],
            "cnn/train_images=8/spine/1": ["prediction", "both"],
            "cnn/train_images=8/spine/2": ["both", "both"],
            "llm/train_images=8/spine/0": ["prediction", ""],
            "llm//spine/0": ["prediction", "prediction"],
        })
    )  # fmt: skip
    assert told.startswith("Found nothing at all (every predicted test mask is empty): ")
    assert "cnn[train_images=8] in 2 of 3 runs; llm in 1 of 1 runs." in told


def test_nothing_is_said_of_runs_that_found_something_or_had_nothing_to_find():
    assert learned_nothing(*study({"cnn//spine/0": ["", "prediction"]})) == []
    assert learned_nothing(*study({"cnn//spine/0": ["both", "both"]})) == []


def test_a_condition_is_named_with_its_data_where_there_are_several():
    (told,) = learned_nothing(*study({"cnn//spine/0": [""], "cnn//noise/0": ["prediction"]}))
    assert "cnn on noise in 1 of 1 runs" in told


RUNS = pd.DataFrame({"run": ["a"], "dataset": "spine", "arm": "cnn", "deviation": ""})


def classified(probability: np.ndarray, present: np.ndarray, name: str = "lesion") -> pd.DataFrame:
    """Scores of run ``a`` for one class, as a run writes them."""
    parts = auroc_parts(torch.tensor(probability), torch.tensor(present))
    return pd.DataFrame(
        {"run": "a", "checkpoint": "best", "split": "test", "class": name,
         "image_auroc": parts.numpy(), "present": present.astype(float)}
    )  # fmt: skip


def test_one_guessing_run_in_twenty_is_taken_for_one_that_has_learned():
    draw = np.random.default_rng(0)
    present = np.arange(40) < 15
    tries = 1000
    passed = sum(
        learned_nothing(classified(draw.random(40), present), RUNS) == [] for _ in range(tries)
    )
    assert stats.binomtest(passed, tries, 0.05).pvalue > 0.01


def test_a_run_that_tells_one_class_of_several_has_learned():
    draw = np.random.default_rng(0)
    present = np.arange(40) < 15
    guess = classified(1.0 - present, present, "lesion")  # worse than a guess
    (told,) = learned_nothing(guess, RUNS)
    assert told.startswith("Told test images with a class from those without no better than")
    assert "cnn in 1 of 1 runs." in told
    right = classified(present + 0.1 * draw.random(40), present, "vessel")
    assert learned_nothing(pd.concat([guess, right]), RUNS) == []


@pytest.mark.parametrize(("froc", "says"), [([0.0, 0.0], True), ([0.0, 0.2], False)])
def test_a_run_that_finds_no_object_is_named(froc, says):
    scores = pd.DataFrame(
        {"run": "a", "checkpoint": "best", "split": "test", "object_froc": [*froc, np.nan]}
    )
    told = learned_nothing(scores, RUNS)
    assert [one.startswith("Found no object in any test image: cnn") for one in told] == [
        True
    ] * says
