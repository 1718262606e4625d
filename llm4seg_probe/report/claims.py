"""One section per claim: what was stated, what the tables say of it, and its figures."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from llm4seg_probe.arms import Term, parse_condition
from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.table_rows import compared
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.maps import figure as maps_figure
from llm4seg_probe.probes.maps import gallery_figure
from llm4seg_probe.probes.rank import figure as rank_figure
from llm4seg_probe.report import page_tables
from llm4seg_probe.report.context import DatasetContext
from llm4seg_probe.report.figures import association
from llm4seg_probe.report.figures import claim as claim_figure
from llm4seg_probe.report.figures import looks as looks_figure
from llm4seg_probe.report.page_tables import Listing
from llm4seg_probe.report.results import Results
from llm4seg_probe.statistics.claims import Association, Claim
from llm4seg_probe.statistics.kinds import KINDS
from llm4seg_probe.tables import ASSOCIATION, LOOKS, PAIRS

READING = (
    "Left in each figure, a dot is one training run and a line joins the two runs of a seed: a is "
    "the condition that the claim speaks for, b what it is compared with, and both runs share the "
    "split, the order of the batches and the CNN's first weights. Right, a − b in each test case "
    "(mean over seeds), or in each seed where the two share no cases: the upright bar is the mean, "
    "the line through it the 95 % interval over training runs, by which the claim is judged, and "
    "the band the margin. The curve is the spread over cases, not the uncertainty of the mean. "
    "Each row of a figure has a scale of its own."
)
"""How the figures of the claims are read."""

SHOWS = {name: kind.takes for name, kind in KINDS.items()} | {
    "association": "It is supported where runs of the same arm with more of the one have more of "
    "the other, by the adjusted p: what makes one arm better than another plays no part.",
}
"""What it takes to support a claim, by its kind."""

CANNOT = {
    "scores": "The dots spread as training runs do on these images; what other patients, another "
    "data set or a larger model would give, they cannot show. That no difference was found does "
    "not mean that there is none.",
    "association": "Runs with more of one may have more of the other because of something that "
    "moves both: whether one makes the other takes an intervention.",
    "curves": "Training curves are of the images that the network was trained or chosen on; they "
    "say nothing about new ones.",
}
"""What the measurement of a claim cannot show, by its kind or table, where that is no probe's."""

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
    """A claim as stated, and the rows of the tables that are about it.

    pairs: its rows of ``pairs.csv``; none where it was not run, or compares nothing.
    """

    claim: Claim | Association
    pairs: pd.DataFrame
    results: Results

    @property
    def anchor(self) -> str:
        """Identifier of the section."""
        return f"claim-{self.claim.id}"

    @property
    def table(self) -> str:
        """Name of the table that it is measured in; of an association, that of y."""
        claim = self.claim
        return claim.y.table if isinstance(claim, Association) else claim.table

    @property
    def conditions(self) -> list[str]:
        """Its conditions as the tables of measurements name them."""
        names: dict[str, None] = {}
        for term in self._terms():
            kept = sorted(
                f"{name}={value}" for name, value in term.filters if name not in _SETTINGS
            )
            names[term.arm + (f"[{','.join(kept)}]" if kept else "")] = None
        return list(names)

    @property
    def shows(self) -> str:
        """What it takes to support it."""
        return SHOWS.get(self.claim.kind, "")

    @property
    def cannot(self) -> str:
        """What its measurement cannot show."""
        probe = registry.probes().get(self.table)
        return CANNOT.get(self.claim.kind) or (
            probe.limits if probe else CANNOT.get(self.table, "")
        )

    @property
    def bears_on(self) -> tuple[str, ...]:
        """Names of the probes that speak to it."""
        own = (self.table,) if self.table not in ("scores", "curves") else ()
        return (*own, *BEARS_ON.get(self.claim.id, ()))

    @property
    def datasets(self) -> list[DatasetContext]:
        """The data sets that it was measured on."""
        measured = {part for name in self.pairs["dataset"].unique() for part in name.split("+")}
        every = self.results.context.all_datasets
        return [data for data in every if data.name in measured or len(every) == 1]

    @property
    def listing(self) -> Listing | None:
        """Its rows of ``comparison.csv``."""
        rows = self._compared()
        return None if rows.empty else page_tables.comparison_listing(rows, self.claim.id)

    @property
    def command(self) -> str:
        """The command that gives the claim's numbers."""
        claim, terms = self.claim, self._terms()
        plain = isinstance(claim, Claim) and claim.table == "scores" and terms
        if not plain or any(term.filters for term in terms) or not isinstance(claim, Claim):
            return self.results.context.command
        where = [f"{name}={value}" for name, value in claim.where.items()]
        return " ".join(
            [
                "llm4seg-probe compare scores.csv",
                *(f"--where {shlex.quote(text)}" for text in where),
                f"--score {shlex.quote(claim.score)}",
                f"--baseline {shlex.quote(claim.comparisons[0].b)}",
                f"--margin {claim.margin:g}",
            ]
        )

    def figures(self) -> Iterator[ClaimFigure]:
        """Its figures: the pairs, then those of its measurement for its own conditions."""
        claim = self.claim
        if isinstance(claim, Association):
            yield from self._association()
            return
        if len(self.pairs):
            table = claim.table
            yield ClaimFigure(
                self.anchor,
                PAIRS.name,
                claim_figure.figure(self.pairs, table, claim.margin, self._intervals(claim)),
                claim_figure.alt(self.pairs, table),
                f"{labels.measure(claim.score, table).name} of the claim's conditions: a on top, "
                "b below it.",
            )
        yield from self._path(claim)
        yield from self._of_its_table()

    def _path(self, claim: Claim) -> Iterator[ClaimFigure]:
        """Estimate and interval by look, where the study had looks."""
        table = self.results.tables.get(LOOKS.name)
        rows = None if table is None else table[table["claim"] == claim.id]
        if rows is None or rows.empty:
            return
        measure = labels.measure(claim.score, claim.table).name
        yield ClaimFigure(
            f"{self.anchor}-looks",
            LOOKS.name,
            looks_figure.figure(rows, claim.margin, measure),
            looks_figure.alt(rows),
            "The study by its looks, which were declared beforehand: the comparison that decides "
            "at each, with an interval that holds at all looks at once, and its p against the "
            "boundary.",
        )

    def _terms(self) -> list[Term]:
        claim = self.claim
        if isinstance(claim, Association):
            return []
        texts = [text for pair in claim.comparisons for text in (pair.a, pair.b)]
        return [term for text in texts for _, term in parse_condition(text).terms]

    def _compared(self) -> pd.DataFrame:
        comparison = self.results.tables.get("comparison.csv")
        if comparison is None or "claim" not in comparison.columns:
            return pd.DataFrame()
        return comparison[comparison["claim"] == self.claim.id]

    def _intervals(self, claim: Claim) -> dict[int, tuple[float, float]]:
        """The interval over training runs of each comparison, by its number."""
        rows = self._compared()
        if rows.empty:
            return {}
        known = {
            (row["a"], row["b"]): (row["ci_low"], row["ci_high"]) for _, row in rows.iterrows()
        }
        pairs = [(pair.a, pair.b) for pair in claim.comparisons]
        return {number: known[pair] for number, pair in enumerate(pairs) if pair in known}

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
        rows = self._rows(f"{self.table}.csv")
        if rows is None:
            return
        if self.table == "rank":
            yield ClaimFigure(
                f"{self.anchor}-densities",
                "rank.csv",
                rank_figure.figure(rows),
                rank_figure.alt(rows),
                "Violins: images of all seeds. Bars and numbers: means over seeds. Bands: the same "
                "measure where nothing was learned.",
            )
        elif self.table == "maps":
            comparison = self.results.tables.get("comparison.csv")
            gains = None if comparison is None else compared(comparison, "maps")
            yield ClaimFigure(
                f"{self.anchor}-activation",
                "maps.csv",
                maps_figure.figure(rows, gains),
                maps_figure.alt(rows),
                "Strokes: means over seeds; dots: runs; bands: another image's map, and the "
                "network before training.",
            )
            yield from self._gallery()

    def _gallery(self) -> Iterator[ClaimFigure]:
        arrays = self.results.arrays
        if arrays is None or not set(self.conditions) & set(arrays.map_arm.tolist()):
            return
        yield ClaimFigure(
            f"{self.anchor}-gallery",
            "maps.npz",
            gallery_figure.figure(arrays, arrays.first_seed, arms=self.conditions),
            gallery_figure.alt(arrays, arrays.first_seed, arms=self.conditions),
            f"Seed {arrays.first_seed}. Dark: least activation of a map; bright: most. Cyan: "
            "outline of the mask.",
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
    pairs = results.pairs
    return [
        ClaimSection(claim, pairs[pairs["claim"] == claim.id], results)
        for claim in results.context.claims
    ]
