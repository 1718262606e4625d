"""What the tables do not say, as ``analysis.yaml`` and each probe's ``about.yaml`` hold it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llm4seg_probe.config import Config, validated


class Described(BaseModel):
    """Part of a file that the report needs; what else stands there is left alone."""

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


class PairContext(Described):
    """Two conditions of a claim, as its file writes them."""

    a: str
    b: str


class MeasurementContext(Described):
    """What one axis of an association measures."""

    table: str = "scores"
    score: str = "iou"


class ClaimContext(Described):
    """A claim as it was stated: of ``comparisons``, or an association of ``x`` with ``y``."""

    id: str
    statement: str = ""
    table: str = "scores"
    score: str = "iou"
    where: dict[str, str | int | float] = {}
    average_over: tuple[str, ...] = ("class",)
    kind: str = "superiority"
    comparisons: tuple[PairContext, ...] = ()
    x: MeasurementContext | None = None
    y: MeasurementContext | None = None
    arms: tuple[str, ...] = ()
    margin: float | None = None
    family: str | None = None
    in_advance: bool = True


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
    base: dict[str, Any] = Field(default={}, description="configuration shared by all runs")
    claims: tuple[ClaimContext, ...] = ()

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
    shows: str = Field(description="what it can and cannot show")
    command: str = ""
    figures: tuple[str, ...] = Field((), description="names or paths; all that are there if empty")
