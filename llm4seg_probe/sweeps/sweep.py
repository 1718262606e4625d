"""A sweep: a base configuration, the factors that vary, and the sizes in which it can be run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from copy import deepcopy
from typing import Annotated, Any, Literal, Self

from omegaconf import OmegaConf
from pydantic import Field

from llm4seg_probe.config import Config, Section, validated
from llm4seg_probe.errors import ConfigError, unknown

SizeName = Literal["quick", "small", "paper"]
Levels = Annotated[tuple[Any, ...], Field(min_length=1)]
Grid = dict[str, Levels]


class Size(Section):
    """One scale of a sweep: what it changes in the factors and in the base configuration."""

    factors: Grid = Field(
        {},
        description="levels to use instead, wherever the factor occurs; one that occurs nowhere is "
        "a further factor of all the runs of `factors`",
    )
    base: dict[str, Any] = Field({}, description="fields to change in the base")


class Sweep(Section):
    """Runs that differ in named factors and share everything else."""

    name: str
    base: dict[str, Any] = Field({}, description="configuration shared by all runs")
    factors: Grid = Field(description="config field → its levels; all combinations are run")
    further: tuple[Grid, ...] = Field(
        (),
        description="further grids, for what is not varied in every arm; a field that one does not "
        "name is as in the base, and its seeds are those of `factors`",
    )
    sizes: dict[SizeName, Size] = Field({}, description="scales, defined once for all")

    def at(self, size: SizeName) -> Self:
        """The sweep at one of its sizes. Raises ConfigError if the file does not define it."""
        if size not in self.sizes:
            raise ConfigError(f"{self.name}: {unknown('size', size, self.sizes)}")
        chosen = self.sizes[size]
        base = OmegaConf.to_container(OmegaConf.merge(self.base, chosen.base))
        further = tuple(
            grid | {name: levels for name, levels in chosen.factors.items() if name in grid}
            for grid in self.further
        )
        elsewhere = {name for grid in self.further for name in grid} - set(self.factors)
        first = {name: levels for name, levels in chosen.factors.items() if name not in elsewhere}
        return self.model_copy(
            update={
                "factors": {**self.factors, **first},
                "further": further,
                "base": base,
                "sizes": {},
            }
        )

    def base_config(self) -> Config:
        """The configuration that all runs deviate from. Raises ConfigError."""
        return validated(self.base, Config, f"analysis {self.name}")

    def configs(self) -> list[Config]:
        """One complete configuration per combination of the factors' levels, each once.

        Seeds are outermost: a sweep that is stopped early holds whole seeds, which can be
        compared.
        """
        seeds = self.factors.get("seed", (self.base_config().seed,))
        grids = [{"seed": seeds, **grid} for grid in (self.factors, *self.further)]
        wanted = dict.fromkeys(seed for grid in grids for seed in grid["seed"])
        found: dict[str, Config] = {}
        for seed in wanted:
            for grid in grids:
                if seed in grid["seed"]:
                    for config in self._combinations({**grid, "seed": (seed,)}):
                        found.setdefault(config.model_dump_json(), config)
        return list(found.values())

    def _combinations(self, grid: Grid) -> Iterator[Config]:
        for levels in itertools.product(*grid.values()):
            values = deepcopy(self.base)
            for name, level in zip(grid, levels, strict=True):
                _put(values, name, level)
            yield validated(values, Config, f"analysis {self.name}")


def _put(values: dict[str, Any], field: str, level: Any) -> None:
    """Set a field by its dotted name, such as ``booster.layer``."""
    *sections, last = field.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[last] = level
