"""Every figure: nothing at its edge, no text on another, and differences called so."""

from __future__ import annotations

import demo_study
import pandas as pd
import pytest
from figure_checks import edges_with_ink, texts_on_one_another
from test_gain_figures import association_rows, ladder_table
from test_looks_figure import path_of
from test_sizes_figure import size_rows

from llm4seg_probe.probes.maps import figure as maps
from llm4seg_probe.probes.maps import gallery_figure
from llm4seg_probe.probes.rank import figure as rank
from llm4seg_probe.report.figures import (
    association,
    claim,
    curves,
    forest,
    ladder,
    looks,
    paired,
    sizes,
)
from llm4seg_probe.report.figures import cases as cases_figure
from llm4seg_probe.statistics.claims import Claim, pairs_table
from llm4seg_probe.statistics.judgement import ready

MANY = {
    "cnn": "cnn",
    "llm": "llm[attention=bidirectional]",
    "transformer": "llm[llm=models/qwen2.5-coder-0.5b]",
    "random-frozen": "shuffled-frozen",
    "adapters": "llm-trainable[layer_lr=6e-05,layer=30]",
}
"""Arms of the made-up tables, renamed to conditions whose labels are long."""


def renamed(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table with conditions of long names for its arms."""
    found = table.copy()
    for column in columns:
        parts = found[column].astype(str).str.partition("@")
        found[column] = parts[0].map(lambda arm: MANY.get(arm, arm)) + parts[1] + parts[2]
    return found


IMAGES = demo_study.cases()
SCORES, RANK, MAPS = (
    made(IMAGES) for made in (demo_study.scores, demo_study.rank, demo_study.maps)
)
COMPARED = demo_study.comparison(SCORES, RANK, MAPS)


def pairs(long: bool) -> pd.DataFrame:
    """What a claim of two comparisons compares, one of contrasts."""
    where = {"reduction": "mean_abs", "threshold": "otsu", "null": ""}
    gains = {"a": "llm@after - llm@before", "b": "transformer@after - transformer@before"}
    stated = Claim(
        id="maps", statement="", table="maps", where=where, margin=0.02,
        comparisons=({"a": "llm@after", "b": "llm@before"}, gains),
    )  # fmt: skip
    table = pairs_table([stated], ready({"maps": MAPS}))
    return renamed(table, "a", "b") if long else table


def learning_curves() -> pd.DataFrame:
    runs = SCORES[["run", "dataset", "arm", "seed"]].drop_duplicates()
    epochs = pd.DataFrame({"epoch": range(5)}).assign(
        val_iou=lambda rows: rows["epoch"] / 8, val_loss=lambda rows: 2 - rows["epoch"] / 4,
        train_loss=lambda rows: 2 - rows["epoch"] / 3,
    )  # fmt: skip
    return runs.merge(epochs, how="cross")


FIGURES = {
    "paired": lambda: paired.figure(SCORES),
    "paired-many": lambda: paired.figure(renamed(SCORES, "arm")),
    "cases": lambda: cases_figure.figure(renamed(SCORES, "arm")),
    "curves": lambda: curves.figure(renamed(learning_curves(), "arm")),
    "forest": lambda: forest.figure(COMPARED),
    "forest-many": lambda: forest.figure(renamed(COMPARED, "a", "b")),
    "claim": lambda: claim.figure(pairs(False), "maps", 0.02, {0: (0.06, 0.09)}),
    "claim-many": lambda: claim.figure(pairs(True), "maps", 0.02),
    "looks": lambda: looks.figure(path_of(["inconclusive"] * 5 + ["supported"] * 2), 0.005, "IoU"),
    "ladder": lambda: ladder.figure(ladder_table()),
    "sizes": lambda: sizes.figure(size_rows([""])),
    "sizes-steps": lambda: sizes.figure(size_rows(["", "steps_per_epoch=full"])),
    "sizes-three": lambda: sizes.figure(
        size_rows(["", "steps_per_epoch=full", "attention=bidirectional,layer=10"])
    ),
    "association": lambda: association.figure(association_rows()),
    "rank": lambda: rank.figure(RANK),
    "rank-many": lambda: rank.figure(renamed(RANK, "arm")),
    "rank-one-run": lambda: rank.figure(RANK[RANK["seed"] == 0]),
    "maps": lambda: maps.figure(MAPS, COMPARED),
    "maps-many": lambda: maps.figure(renamed(MAPS, "arm"), renamed(COMPARED, "a", "b")),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_a_blank_edge_and_no_text_on_another(name, tmp_path):
    figure = FIGURES[name]()
    assert edges_with_ink(figure, tmp_path) == []
    assert texts_on_one_another(figure) == []


def test_the_gallery_has_a_blank_edge_and_no_text_on_another(results, tmp_path):
    figure = gallery_figure.figure(results.arrays, 0)
    assert edges_with_ink(figure, tmp_path) == []
    assert texts_on_one_another(figure) == []


@pytest.mark.parametrize("name", ["forest", "claim", "maps"])
def test_an_axis_of_differences_says_so(name):
    drawn = FIGURES[name]()
    negative = [axes for axes in drawn.axes if axes.get_xlim()[0] < 0 and axes.get_xlabel()]
    assert negative
    for axes in negative:
        assert "difference in" in " ".join(axes.get_xlabel().lower().split())


def test_each_row_of_a_claims_figure_says_its_scale():
    figure = FIGURES["claim"]()
    assert all(axes.get_xlabel() for axes in figure.axes)
