"""Runs that marked no pixel of any test image are named, by condition."""

from __future__ import annotations

import pandas as pd

from llm4seg_probe.statistics.found_nothing import found_nothing


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
    told = found_nothing(
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
    assert found_nothing(*study({"cnn//spine/0": ["", "prediction"]})) == ""
    assert found_nothing(*study({"cnn//spine/0": ["both", "both"]})) == ""


def test_a_condition_is_named_with_its_data_where_there_are_several():
    told = found_nothing(*study({"cnn//spine/0": [""], "cnn//noise/0": ["prediction"]}))
    assert "cnn on noise in 1 of 1 runs" in told
