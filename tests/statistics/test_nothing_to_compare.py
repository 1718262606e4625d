"""Runs that learned nothing, or make no error, are named by condition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from llm4seg_probe.measures.classification import auroc_parts
from llm4seg_probe.statistics.nothing_to_compare import nothing_to_compare


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


def test_conditions_of_runs_that_found_nothing_are_counted():
    (told,) = nothing_to_compare(
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
    assert ": 2 of 3 runs of cnn with train_images=8; all runs of llm." in told


def test_nothing_is_said_of_runs_that_found_something_or_had_nothing_to_find():
    assert nothing_to_compare(*study({"cnn//spine/0": ["", "prediction"]})) == []
    assert nothing_to_compare(*study({"cnn//spine/0": ["both", "both"]})) == []


def test_a_condition_is_named_with_its_data_where_there_are_several():
    (told,) = nothing_to_compare(*study({"cnn//spine/0": [""], "cnn//noise/0": ["prediction"]}))
    assert ": all runs of cnn on noise." in told


def test_arms_that_are_alike_stand_together():
    (told,) = nothing_to_compare(
        *study({
            "cnn/dataset=noise,task=detection/noise/0": ["prediction"],
            "llm/dataset=noise,task=detection/noise/0": ["prediction"],
            "mlp/dataset=noise,task=detection/noise/0": ["prediction"],
            "llm//spine/0": [""], "mlp//spine/0": ["prediction"],
        })
    )  # fmt: skip
    assert (
        ": all runs of cnn, llm and mlp with dataset=noise, task=detection; "
        "all runs of mlp on spine."
    ) in told


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
        nothing_to_compare(classified(draw.random(40), present), RUNS) == [] for _ in range(tries)
    )
    assert stats.binomtest(passed, tries, 0.05).pvalue > 0.01


def test_a_run_that_tells_one_class_of_several_has_learned():
    draw = np.random.default_rng(0)
    present = np.arange(40) < 15
    guess = classified(1.0 - present, present, "lesion")  # worse than a guess
    (told,) = nothing_to_compare(guess, RUNS)
    assert told.startswith("Told test images with a class from those without no better than")
    assert ": all runs of cnn." in told
    right = classified(present + 1.2 * draw.random(40), present, "vessel")
    assert nothing_to_compare(pd.concat([guess, right]), RUNS) == []


@pytest.mark.parametrize(
    ("froc", "says"),
    [
        ([0.0, 0.0], ["Found no object in any test image: all runs of cnn."]),
        ([0.0, 0.2], []),
        (
            [1.0, 1.0],
            ["Found every object of the test images without a false alarm: all runs of cnn."],
        ),
        ([1.0, 0.99], []),
    ],
)
def test_a_run_that_finds_no_object_or_every_one_is_named(froc, says):
    scores = pd.DataFrame(
        {"run": "a", "checkpoint": "best", "split": "test", "object_froc": [*froc, np.nan]}
    )
    told = nothing_to_compare(scores, RUNS)
    assert len(told) == len(says)
    assert all(one.startswith(beginning) for one, beginning in zip(told, says, strict=True))


def test_a_run_that_tells_all_images_is_named():
    present = np.arange(40) < 15
    (told,) = nothing_to_compare(classified(present.astype(float), present), RUNS)
    assert told.startswith(
        "Told all test images with a class from all without (AUROC 1): all runs of cnn."
    )
