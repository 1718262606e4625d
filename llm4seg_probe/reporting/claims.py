"""One section per claim: the runs and cases that it compares, and what they can and cannot show."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from llm4seg_probe.errors import TableError, UserError
from llm4seg_probe.reporting import labels, listings
from llm4seg_probe.reporting.context import ClaimContext, DatasetContext
from llm4seg_probe.reporting.figures import activation, association, densities, gallery
from llm4seg_probe.reporting.figures import claim as claim_figure
from llm4seg_probe.reporting.listings import Listing
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.reporting.summaries import compared
from llm4seg_probe.statistics.claims import ready
from llm4seg_probe.statistics.conditions import Term, parse
from llm4seg_probe.statistics.pairing import Paired
from llm4seg_probe.statistics.resolving import NotThere, resolve
from llm4seg_probe.tables import ASSOCIATION

READING = (
    "Left in each figure, a line is one seed, from the condition that the claim speaks for (a) to "
    "what it is compared with (b): the runs that a line joins share the split, the order of the "
    "batches and the CNN's first weights. Right, a − b in each case, mean over seeds, or in each "
    "seed where the two share no cases; the bar is the mean, the band the margin that was said to "
    "matter."
)
"""How the figures of the claims are read."""

SHOWS = {
    "superiority": "It is supported where a is better than b, by the adjusted p, in each of its "
    "comparisons.",
    "non-inferiority": "It is supported where the 90 % interval of a − b lies above −margin: that "
    "no difference was found is not enough.",
    "equivalence": "It is supported where the 90 % interval of a − b lies within the margin: that "
    "no difference was found is not enough.",
    "association": "It is supported where runs of the same arm with more of the one have more of "
    "the other, by the adjusted p: what makes one arm better than another plays no part.",
}
"""What it takes to support a claim, by its kind."""

CANNOT = {
    "scores": "The lines spread as training runs do on these images; what other patients, another "
    "data set or a larger model would give, they cannot show. That no difference was found does "
    "not mean that there is none.",
    "rank": "A higher rank is not a better segmentation: Gaussian tokens have the highest of all. "
    "What nothing learned would give stands as bands in the figure of the ranks.",
    "maps": "Reduction and threshold are choices, and another choice gives another number. Where "
    "the foreground sits in the same place in every image, a map overlaps it without having seen "
    "it: compare with the box of another image's map.",
    "association": "Runs with more of one may have more of the other because of something that "
    "moves both: whether one makes the other takes an intervention.",
    "curves": "Training curves are of the images that the network was trained or chosen on; they "
    "say nothing about new ones.",
}
"""What the measurement of a claim cannot show, by its table, or its kind."""

BEARS_ON = {
    "global": ("field", "attention"),
    "global-mask": ("field", "attention"),
    "halves": ("attention", "intervene"),
    "semantics": ("lens", "decode"),
    "rank-matters": ("intervene",),
    "maps": ("attribute", "decode"),
    "pretraining": ("lens", "similarity"),
}
"""Probes beside those of the claim's own table that speak to it, by the claim."""

_SETTINGS = ("site", "dataset", "split", "checkpoint", "part", "null", "class", "threshold")


@dataclass(frozen=True)
class ClaimFigure:
    """A figure of a claim's section, its table, and what it says in words."""

    name: str
    table: str
    figure: Figure
    alt: str
    caption: str
    wide: bool = False


@dataclass(frozen=True, eq=False)
class ClaimSection:
    """A claim as stated, and what was found for it; without pairs it was not run, or has none."""

    claim: ClaimContext
    pairs: tuple[Paired, ...]
    results: Results

    @property
    def anchor(self) -> str:
        """Identifier of the section."""
        return f"claim-{self.claim.id}"

    @property
    def conditions(self) -> list[str]:
        """Its conditions as the tables of measurements name them."""
        return conditions_of(self.claim)

    @property
    def cannot(self) -> str:
        """What its measurement cannot show."""
        return CANNOT.get(self.claim.kind) or CANNOT.get(self.claim.table, "")

    @property
    def datasets(self) -> list[DatasetContext]:
        """The data sets that it was measured on."""
        measured = {name for pair in self.pairs for name in pair.dataset.split("+")}
        every = self.results.context.all_datasets
        return [data for data in every if data.name in measured or len(every) == 1]

    @property
    def listing(self) -> Listing | None:
        """Its rows of ``comparison.csv``."""
        comparison = self.results.tables.get("comparison.csv")
        if comparison is None or "claim" not in comparison.columns:
            return None
        rows = comparison[comparison["claim"] == self.claim.id]
        return None if rows.empty else listings.comparison_listing(rows, self.claim.id)

    @property
    def command(self) -> str:
        """The command that gives the claim's numbers."""
        terms = [term for pair in self.claim.comparisons for term in _terms(pair.a, pair.b)]
        if not terms or any(term.filters for term in terms) or self.claim.table != "scores":
            return self.results.context.command
        where = [f"{name}={value}" for name, value in self.claim.where.items()]
        return " ".join(
            [
                "llm4seg-probe compare scores.csv",
                *(f"--where {shlex.quote(text)}" for text in where),
                f"--score {shlex.quote(self.claim.score)}",
                f"--baseline {shlex.quote(self.claim.comparisons[0].b)}",
                *([f"--margin {self.claim.margin:g}"] if self.claim.margin is not None else []),
            ]
        )

    def figures(self) -> Iterator[ClaimFigure]:
        """Its figures: the pairs, then those of its measurement for its own conditions."""
        table = self.claim.table
        if self.pairs:
            yield ClaimFigure(
                self.anchor,
                f"{table}.csv",
                claim_figure.figure(self.pairs, table, self.claim.margin),
                claim_figure.alt(self.pairs, table),
                f"{labels.measure(self.claim.score, table).name} of the claim's conditions: a on "
                "top, b below it.",
            )
        if self.claim.kind == "association":
            yield from self._association()
        yield from self._of_its_table()

    def _association(self) -> Iterator[ClaimFigure]:
        table = self.results.tables.get(ASSOCIATION.name)
        rows = None if table is None else table[table["claim"] == self.claim.id]
        if rows is not None and len(rows):
            yield ClaimFigure(
                self.anchor,
                ASSOCIATION.name,
                association.figure(rows),
                association.alt(rows),
                "A mark per run, a line of one slope per arm; large pale marks are the means of "
                "the arms.",
            )

    def _of_its_table(self) -> Iterator[ClaimFigure]:
        chosen = self._rows(f"{self.claim.table}.csv")
        if chosen is None:
            return
        if self.claim.table == "rank":
            yield ClaimFigure(
                f"{self.anchor}-densities",
                "rank.csv",
                densities.figure(chosen),
                f"Densities of effective rank and LSVR of {_named(self.conditions)}; their means "
                "stand in the table of ranks.",
                "Ridges: images of all seeds. Bars and numbers: means over seeds. Bands: the same "
                "measure where nothing was learned.",
            )
        elif self.claim.table == "maps":
            yield ClaimFigure(
                f"{self.anchor}-activation",
                "maps.csv",
                activation.figure(chosen, compared(self.results.tables["comparison.csv"], "maps")),
                f"Bars of activation IoU before and after the layer of {_named(self.conditions)}; "
                "their means stand in the table of maps.",
                "Bars: means over seeds; circles: runs; boxes: another image's map, and the "
                "network before training.",
            )
            yield from self._gallery()

    def _gallery(self) -> Iterator[ClaimFigure]:
        arrays = self.results.arrays
        if arrays is None or not set(self.conditions) & set(arrays.map_arm.tolist()):
            return
        drawn = gallery.figure(arrays, arrays.first_seed, arms=self.conditions)
        yield ClaimFigure(
            f"{self.anchor}-gallery",
            "maps.npz",
            drawn,
            f"Activation maps before and after the layer of {_named(self.conditions)}, seed "
            f"{arrays.first_seed}; the explorer below gives each map's number.",
            "Dark: least activation of a map; bright: most. Cyan: outline of the mask.",
            wide=True,
        )

    def _rows(self, name: str) -> pd.DataFrame | None:
        """Rows of its conditions in a table of measurements, on the first data set of them."""
        table = self.results.tables.get(name)
        if table is None or "arm" not in table.columns:
            return None
        rows = table[table["arm"].isin(self.conditions)]
        rows = rows[rows["dataset"] == rows["dataset"].iloc[0]] if len(rows) else rows
        return None if rows.empty else rows


def claim_sections(results: Results) -> list[ClaimSection]:
    """The claims in the order of the analysis, each with what the tables hold of it.

    Raises TableError where a table has changed since the claims were judged.
    """
    tables = ready({name.removesuffix(".csv"): table for name, table in results.written.items()})
    return [
        ClaimSection(stated, tuple(_pairs(stated, tables)), results)
        for stated in results.context.claims
    ]


def conditions_of(stated: ClaimContext) -> list[str]:
    """The conditions of a claim as the tables name them, without site, data set and the like."""
    found: dict[str, None] = {}
    for pair in stated.comparisons:
        for term in _terms(pair.a, pair.b):
            kept = sorted(
                f"{name}={value}" for name, value in term.filters if name not in _SETTINGS
            )
            found[term.arm + (f"[{','.join(kept)}]" if kept else "")] = None
    return list(found)


def _terms(*texts: str) -> list[Term]:
    return [term for text in texts for _, term in parse(text).terms]


def _pairs(stated: ClaimContext, tables: Mapping[str, pd.DataFrame]) -> Iterator[Paired]:
    table = tables.get(stated.table)
    if table is None:
        return
    for pair in stated.comparisons:
        try:
            yield resolve(
                table,
                stated.score,
                (parse(pair.a), parse(pair.b)),
                filters=stated.where,
                average_over=stated.average_over,
            )
        except NotThere:
            continue
        except UserError as error:
            raise TableError(f"{stated.table}.csv: claim '{stated.id}': {error}") from error


def _named(conditions: list[str]) -> str:
    return ", ".join(conditions)
