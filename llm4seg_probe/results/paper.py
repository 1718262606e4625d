"""The paper's figures beside our own runs: ``lp.paper`` for the notebooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm4seg_probe.drawing.table_rows import (
    measured,
    nulls,
    on_test_split,
    one_kind_of_map,
    spread_out,
)
from llm4seg_probe.errors import UserError, unknown
from llm4seg_probe.paper import figures, numbers
from llm4seg_probe.paper.agreement import agreement, agreement_text, beside_the_paper, likeness
from llm4seg_probe.paper.results import ChosenResults, conditions_in, results_for
from llm4seg_probe.probes.maps import figure as maps_figure
from llm4seg_probe.probes.maps import gallery_figure
from llm4seg_probe.probes.rank import figure as rank_figure
from llm4seg_probe.report.figures import paired
from llm4seg_probe.results.result import Result, Text
from llm4seg_probe.results.studies import Study
from llm4seg_probe.study.engines.base import Engine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SITE = "after"
"""Site that the paper's rank panel is about: what enters the decoder."""


@dataclass(frozen=True)
class _Question:
    """A figure of the paper: the analysis behind it, what it needs, and how it is shown."""

    analysis: str
    needs: tuple[str, ...]
    conditions: tuple[str, ...]
    statements: Callable[[PaperFigure], Sequence[numbers.Statement]]
    drawings: Callable[[PaperFigure], dict[str, Callable[[], Figure]]]
    beside: Callable[[PaperFigure], pd.DataFrame]
    remark: Callable[[PaperFigure], str]
    seeds: int = 2


class PaperFigure(Result):
    """A figure of the paper beside the best of our own results that can answer for it.

    ``table`` has a row for each thing that the figure shows, judged by the rules of the claims;
    ``beside`` our numbers beside the printed ones.
    """

    def __init__(self, name: str, chosen: ChosenResults) -> None:
        self.name = name
        self.chosen = chosen
        self._question = _QUESTIONS[name]

    @property
    def study(self) -> Study:
        """All that the folder holds."""
        return Study(self.chosen.results)

    @property
    def origin(self) -> Text:
        """The results that are used, their scale, and what they rest on."""
        return Text(self.chosen.origin)

    @property
    def scores(self) -> pd.DataFrame:
        """Test scores of the arms as they are, at the epoch that validation chose."""
        return on_test_split(self.chosen.plain("scores.csv"))

    @cached_property
    def table(self) -> pd.DataFrame:
        """What the figure shows, what is seen here, and whether the two agree."""
        return agreement(self.chosen.results, self._question.statements(self))

    @cached_property
    def beside(self) -> pd.DataFrame:
        """Our numbers, beside those that the paper prints where it prints some."""
        return self._question.beside(self)

    @property
    def agreement(self) -> Text:
        """The table in words, with a remark on how far they carry."""
        judged = agreement_text(self.table, self.chosen.results)
        return Text(f"{judged}\n\n{self._question.remark(self)}")

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence per thing that the figure shows."""
        rows = self.table.to_dict("records")
        return tuple(f"{row['says']}: {row['agreement']}." for row in rows)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        return self._question.drawings(self)

    @property
    def _name(self) -> str:
        return self.name


def figure(
    name: str,
    *,
    analysis: str | Path | None = None,
    reports: str | Path | None = None,
    engine: Engine | None = None,
) -> PaperFigure:
    """Find results that can stand beside a figure of the paper, or make a small run.

    Parameters
    ----------
    name : {"maps", "activation-iou", "rank", "layers", "scores"}
        The figure.
    analysis : str or Path, optional
        Run at size ``quick`` where no folder will do; that of the figure unless given.
    reports : str or Path, optional
        Folder in which results are looked for; the nearest ``reports`` above this place.
    engine : Engine, optional
        Where runs are made, if any are.

    Returns
    -------
    PaperFigure

    Raises
    ------
    UserError
        For a figure, or a folder of reports, that there is not.
    """
    if name not in _QUESTIONS:
        raise UserError(unknown("figure of the paper", name, _QUESTIONS))
    asked = _QUESTIONS[name]
    folder = None if reports is None else Path(reports)
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder of reports")
    chosen = results_for(
        asked.analysis if analysis is None else analysis, reports=folder, needs=asked.needs,
        conditions=asked.conditions, seeds=asked.seeds, engine=engine,
    )  # fmt: skip
    return PaperFigure(name, chosen)


def table(name: str) -> pd.DataFrame:
    """Give the numbers that the paper prints in a figure, scores as fractions.

    Parameters
    ----------
    name : {"activation-iou", "rank", "layers"}

    Raises
    ------
    UserError
        For a figure of which there are no printed numbers.
    """
    printed = {
        "activation-iou": numbers.activation_iou, "rank": numbers.rank, "layers": numbers.layers,
    }  # fmt: skip
    if name not in printed:
        raise UserError(unknown("table of the paper", name, printed))
    return printed[name]()


def _galleries(found: PaperFigure) -> dict[str, Callable[[], Figure]]:
    arrays = found.chosen.plain_arrays()
    images = spread_out(len(arrays.image_names), 2)
    last = int(arrays.map_seed.max())
    return {
        "maps": lambda: gallery_figure.figure(arrays, arrays.first_seed, images),
        "another-seed": lambda: gallery_figure.figure(arrays, last, images),
    }


def _pictures(found: PaperFigure) -> str:
    llm = found.beside.set_index("arm").loc["llm"]
    return (
        f"*Pictures.* In `llm`, maps before and after the layer correlate by "
        f"{llm['before_after']:.2f}, maps of two seeds by {llm['between_seeds']:.2f}: so much does "
        "one picture say about another run."
    )


def _overlaps(found: PaperFigure) -> dict[str, Callable[[], Figure]]:
    maps, tables = found.chosen.plain("maps.csv"), found.chosen.results.tables
    return {
        "beside-the-paper": lambda: figures.printed_figure(maps, numbers.activation_iou()),
        "activation-iou": lambda: maps_figure.figure(maps, tables.get("comparison.csv")),
    }


def _overlap_means(found: PaperFigure) -> pd.DataFrame:
    maps = one_kind_of_map(found.chosen.plain("maps.csv"))
    means = maps.groupby(["arm", "site", "null"])["iou"].mean().unstack()
    return means.rename(columns={"": "measured"}).round(3)


def _null_band(found: PaperFigure) -> str:
    means: Any = found.beside
    before, after = (means.loc[("llm", site)] for site in ("before", "after"))
    steps = ", ".join(f"{name} {before[name]:.3f} to {after[name]:.3f}" for name in means)
    return (
        f"*Null band.* From before to after the frozen layer: {steps}. A step that is as large for "
        "another image's map says nothing about the image."
    )


_RANKS = ["effective_rank", "lsvr"]


def _ranks_here(found: PaperFigure) -> pd.DataFrame:
    rank = found.chosen.plain("rank.csv")
    return rank[rank["site"] == SITE]


def _rank_means(found: PaperFigure) -> pd.DataFrame:
    here = _ranks_here(found)
    shown = beside_the_paper(measured(here), numbers.rank(), _RANKS)
    band = nulls(here).groupby(["arm", "null"])["effective_rank"].mean().unstack()
    return shown.join(band.add_prefix("effective_rank, null: "), on="arm").round(2)


def _scale_of_rank(found: PaperFigure) -> str:
    size = _ranks_here(found)[["tokens", "channels"]].iloc[0]
    return (
        f"*Scale of the measure.* Here a matrix has {size['tokens']} tokens and "
        f"{size['channels']} channels: its effective rank is at most {min(size)}. In the paper's "
        "network there are 256 of each."
    )


def _by_layer(found: PaperFigure) -> pd.DataFrame:
    tables = found.chosen.results.tables
    return figures.by_layer(tables["scores.csv"], tables["runs.csv"])


def _layer_spread(found: PaperFigure) -> pd.DataFrame:
    ours, theirs = figures.spread(_by_layer(found)), figures.spread(numbers.layers())
    return ours.join(theirs, rsuffix=", paper").round(4)


def _noise(found: PaperFigure) -> str:
    llm = found.beside.loc["llm"]
    return (
        f"*Noise.* With the layer frozen, the SD between layers is {llm['between_layers']:.4f} "
        f"here (paper {llm['between_layers, paper']:.4f}), between two runs of one layer "
        f"{llm['between_seeds']:.4f} (the paper's figure has one run each)."
    )


def _runs_tell(found: PaperFigure) -> str:
    gain = numbers.SCORES[0].theirs
    return f"*Size.* The paper's figure gains {gain:.4f} over the plain CNN, in one run of each."


_QUESTIONS: dict[str, _Question] = {
    "maps": _Question(
        "maps", ("maps.csv", "maps.npz"), ("cnn", "llm"),
        lambda found: [numbers.MAPS[0], numbers.MAPS[1], numbers.MAPS[3]],
        _galleries,
        lambda found: likeness(found.chosen.plain_arrays()).round(2),
        _pictures,
    ),
    "activation-iou": _Question(
        "maps", ("maps.csv",), ("cnn", "llm"), lambda found: numbers.MAPS, _overlaps,
        _overlap_means, _null_band,
    ),
    "rank": _Question(
        "rank", ("rank.csv",), ("cnn", "llm"), lambda found: numbers.RANK,
        lambda found: {
            "rank": partial(rank_figure.figure, found.chosen.plain("rank.csv"), sites=[SITE])
        },
        _rank_means, _scale_of_rank,
    ),
    "layers": _Question(
        "layers", ("scores.csv",), ("cnn", "llm[layer=1]", "llm-trainable[layer=1]"),
        lambda found: numbers.on_layers(conditions_in(found.chosen.results.tables["runs.csv"])),
        lambda found: {
            "layers": lambda: figures.layers_figure(_by_layer(found), numbers.layers())
        },
        _layer_spread, _noise,
    ),
    "scores": _Question(
        "boost", ("scores.csv",), ("cnn", "llm"), lambda found: numbers.SCORES,
        lambda found: {"paired": lambda: paired.figure(found.scores)},
        lambda found: found.scores.groupby(["arm", "seed"])["iou"].mean().unstack().round(3),
        _runs_tell, seeds=3,
    ),
}  # fmt: skip
"""The figures of the paper that our results can stand beside."""
