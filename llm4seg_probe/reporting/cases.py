"""Which cases the explorer shows: those that part the arms, some by chance, some by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from llm4seg_probe.errors import TableError, unknown
from llm4seg_probe.randomness import address
from llm4seg_probe.reporting.arrays import MapArrays
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.reporting.summaries import by_case, on_test_split

DOZEN = 12
NAMED = "Named"
APART = "Where the arms differ most"
CHANCE = "Drawn at random"


@dataclass(frozen=True)
class Case:
    """One case of the explorer: its place in the arrays, its name, and why it is there."""

    place: int
    name: str
    why: str


def chosen_cases(results: Results, arrays: MapArrays, named: Sequence[str]) -> list[Case]:
    """The cases of one set of images, each once: those named, a dozen apart, a dozen by chance.

    Those drawn at random are the ones of lowest address, so that every page draws the same.
    """
    there = [str(name) for name in arrays.image_names]
    places = {name: place for place, name in enumerate(there)}
    by_chance = sorted(there, key=lambda name: address("explorer", name))[:DOZEN]
    groups = (
        (NAMED, [name for name in named if name in places]),
        (APART, _apart(results, arrays, there)[:DOZEN]),
        (CHANCE, by_chance),
    )
    found: dict[str, str] = {}
    for why, names in groups:
        for name in names:
            found.setdefault(name, why)
    return [Case(places[name], name, why) for name, why in found.items()]


def refuse_unknown_cases(results: Results, named: Sequence[str]) -> None:
    """Raise TableError for a case that no array file holds, with the nearest that there are."""
    there = [str(name) for arrays in results.galleries for name in arrays.image_names]
    for name in named:
        if name not in there:
            few = sorted(there, key=lambda other: address("explorer", other))
            near = unknown("case", name, dict.fromkeys(there)).partition(" Valid:")[0]
            raise TableError(
                f"{results.folder}: {near} The explorer can show {len(set(there))} cases, such as "
                f"{', '.join(few[:3])}"
                if there
                else f"{results.folder} holds no maps.npz, so the explorer has no cases to show"
            )


def _apart(results: Results, arrays: MapArrays, there: Sequence[str]) -> list[str]:
    """Names of the cases, the largest difference between the means of two conditions first."""
    scores = results.tables.get("scores.csv")
    if scores is None:
        return []
    rows = on_test_split(scores)
    rows = rows[rows["run"].isin(set(arrays.prediction_run.tolist())) & rows["image"].isin(there)]
    if rows.empty:
        return []
    means = by_case(rows, results.main_score)
    spread: pd.Series = means.max(axis=1) - means.min(axis=1)
    ordered = spread[spread > 0].sort_values(ascending=False, kind="stable")
    return [str(image) for image, _ in ordered.index]
