"""Context of the tables, from ``analysis.yaml`` and each probe's ``about.yaml``."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llm4seg_probe.config import Config, validated
from llm4seg_probe.statistics.claims import AnyClaim
from llm4seg_probe.statistics.mechanisms import Mechanism


class Described(BaseModel):
    """Part of a file that the report needs.

    What else stands there is left alone: ``analysis.yaml`` holds the analysis too, which the study
    reads strictly, and a descriptor of another package's probe may say more than is shown.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")


class DatasetContext(Described):
    """One data set as the report names it."""

    name: str
    description: str = ""
    licence: str = ""
    split: str = ""
    caveats: tuple[str, ...] = Field(
        (), description="sentences about the split that are said on every report"
    )
    counts: dict[str, int] = Field(
        default={}, description="what was counted, in words, such as 'cases' or 'test slices'"
    )


class ReportContext(Described):
    """The question, the scale, the machine, the claims, and what it all rests on."""

    name: str
    title: str
    question: str
    rests_on: str = Field(description="what a reader must know before believing a verdict")
    command: str = ""
    size: str = ""
    dataset: DatasetContext = Field(description="the data set of the base configuration")
    datasets: tuple[DatasetContext, ...] = Field(
        (), description="all data sets, that of the base first; empty where there is only that one"
    )
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    scale: dict[str, str | int | float] = Field(
        default={}, description="model, image size, steps and the like, in words"
    )
    machine: dict[str, str | int | float] = Field(
        default={}, description="processor, memory, versions and the like, in words"
    )
    by_chance: str = Field("", description="how many verdicts chance alone would give")
    course: dict[str, Any] = Field(
        default={}, description="of a study until decided: sentence, look, reason, open, earlier"
    )
    base: dict[str, Any] = Field(default={}, description="configuration shared by all runs")
    comparison: dict[str, Any] = Field(
        default={}, description="what all arms are compared with, and in which score"
    )
    claims: tuple[AnyClaim, ...] = ()
    mechanisms: tuple[Mechanism, ...] = ()
    date: str = Field("", description="day on which the last run was finished")

    @property
    def all_datasets(self) -> tuple[DatasetContext, ...]:
        """Every data set, that of the base first."""
        return self.datasets or (self.dataset,)

    @property
    def config(self) -> Config:
        """The base configuration, complete. Raises ConfigError."""
        return validated(self.base, Config, f"analysis {self.name}: base")


class ProbeAbout(Described):
    """A probe whose results lie in a folder of their own."""

    title: str
    summary: str = ""
    shows: str = Field(description="what it can show")
    cannot: str = Field("", description="what it cannot show; empty where ``shows`` says it too")
    command: str = ""
    figures: tuple[str, ...] = Field((), description="names or paths; all that are there if empty")
    captions: dict[str, str] = Field(default={}, description="of its figures, by their names")
