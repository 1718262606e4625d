"""Conditions whose runs marked no pixel: what is compared of them is not what they learned."""

from __future__ import annotations

import pandas as pd

from llm4seg_probe.scores import CHOSEN_EPOCH
from llm4seg_probe.statistics.rows import as_text


def found_nothing(scores: pd.DataFrame, runs: pd.DataFrame) -> str:
    """A sentence that names the conditions of runs whose predicted masks are all empty.

    Parameters
    ----------
    scores : DataFrame
        Columns of ``scores.csv``. The chosen epoch on the test images counts.
    runs : DataFrame
        Columns of ``runs.csv``, of which ``deviation`` tells the conditions of an arm apart.

    Returns
    -------
    str
        Empty where every run has marked something, or no mask was there to be found.

    Examples
    --------
    >>> scores = pd.DataFrame({
    ...     "run": ["a", "b"], "checkpoint": "best", "split": "test", "empty": ["prediction", ""]
    ... })
    >>> runs = pd.DataFrame({
    ...     "run": ["a", "b"], "dataset": "spine", "arm": "cnn", "deviation": "train_images=8"
    ... })
    >>> found_nothing(scores, runs).partition(":")[0]
    'Found nothing at all (every predicted test mask is empty)'
    >>> found_nothing(scores, runs).partition(": ")[2].partition(".")[0]
    'cnn[train_images=8] in 1 of 2 runs'
    """
    chosen = scores
    for name, wanted in CHOSEN_EPOCH.items():
        chosen = chosen[chosen[name] == wanted]
    nothing, looked_at = set(), set()
    for run, empty in as_text(chosen["empty"]).groupby(chosen["run"]):
        looked_at.add(run)
        if set(empty) <= {"prediction", "both"} and "prediction" in set(empty):
            nothing.add(run)
    own = runs[runs["run"].isin(looked_at)]
    names = [
        f"{arm}[{deviation}]" if deviation else arm
        for arm, deviation in zip(own["arm"], as_text(own["deviation"]), strict=True)
    ]
    several = own["dataset"].nunique() > 1
    places = [
        f"{name} on {dataset}" if several else name
        for name, dataset in zip(names, own["dataset"], strict=True)
    ]
    counted = own["run"].isin(nothing).groupby(pd.Series(places, own.index), sort=False)
    told = [
        f"{name} in {int(marks.sum())} of {len(marks)} runs"
        for name, marks in counted
        if marks.any()
    ]
    if not told:
        return ""
    return (
        f"Found nothing at all (every predicted test mask is empty): {'; '.join(told)}. A "
        "difference that rests on such runs says nothing about what the arms learn"
    )
