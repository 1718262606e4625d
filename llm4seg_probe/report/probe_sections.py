"""One section per probe whose results lie in a folder of their own, beside the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import arm_style, in_order
from llm4seg_probe.drawing.table_rows import told_apart
from llm4seg_probe.probes import registry
from llm4seg_probe.reading.names import is_own, own_files
from llm4seg_probe.report.context import ProbeAbout
from llm4seg_probe.report.results import Results
from llm4seg_probe.tables import Schema, read_table

_SPOKEN = 3  # columns whose means a figure says


@dataclass(frozen=True)
class ProbeSection:
    """A probe as the page shows it: figures by name, tables and arrays to download, and words."""

    name: str
    about: ProbeAbout
    figures: dict[str, Path]
    files: tuple[Path, ...]
    numbers: str

    @property
    def anchor(self) -> str:
        """Identifier of the section."""
        return f"probe-{self.name}"

    @property
    def table(self) -> str:
        """Its table, relative to the page."""
        return f"{self.name}/{self.name}.csv"

    @property
    def alt(self) -> str:
        """What its figures say to those who cannot see them."""
        return f"{self.about.summary or self.title}. {self.numbers}".strip()

    def caption(self, figure: str) -> str:
        """What one of its figures shows: as described, or its name and what was measured."""
        if figure in self.about.captions:
            return self.about.captions[figure]
        name = figure.replace("-", " ")
        named = "" if name == self.name else f"{name[:1].upper()}{name[1:]}: "
        summary = self.about.summary.rstrip(".")
        return (
            f"{named}{summary[:1].upper()}{summary[1:]}." if summary else f"{named or self.title}"
        )

    @property
    def title(self) -> str:
        """Its title, which begins with a capital."""
        return self.about.title[:1].upper() + self.about.title[1:]


def probe_sections(results: Results) -> list[ProbeSection]:
    """The probes of a folder of results. Raises TableError for a table that cannot be read."""
    runs = results.written.get("runs.csv")
    return [_section(results.folder / name, about, runs) for name, about in results.probes.items()]


def _section(folder: Path, about: ProbeAbout, runs: pd.DataFrame | None) -> ProbeSection:
    there = {path.stem: path for path in own_files(folder, "figures/*.svg")}
    wanted = dict.fromkeys(Path(name).stem for name in about.figures) or there
    own = folder / f"{folder.name}.csv"
    schema = registry.schemas().get(own.name)
    return ProbeSection(
        folder.name,
        about,
        {name: there[name] for name in wanted if name in there},
        tuple(sorted([*own_files(folder, "*.csv"), *own_files(folder, "*.npz")])),
        numbers(read_table(own, schema), schema, runs) if schema and is_own(own, folder) else "",
    )


def numbers(table: pd.DataFrame, schema: Schema, runs: pd.DataFrame | None = None) -> str:
    """The means of the first measurements of a probe's table by arm, in one sentence.

    Rows of a null are left out, and nothing else is: sites and settings are averaged over.
    """
    values = [name for name, kind in schema.values.items() if kind == "number"]
    values = [name for name in values if table[name].notna().any()][:_SPOKEN]
    ours = table[table["null"] == ""] if "null" in table.columns else table
    if ours.empty or not values:
        return ""
    means = told_apart(ours, runs).groupby("arm")[values].mean()
    told = {
        arm: ", ".join(
            f"{name} {labels.number(value, 3)}" for name, value in zip(values, row, strict=True)
        )
        for arm, row in zip(means.index, means.to_numpy(), strict=True)
    }
    parts = [f"{arm_style(arm).label} {told[arm]}" for arm in in_order(told)]
    return f"Means over all rows by arm: {'; '.join(parts)}."
