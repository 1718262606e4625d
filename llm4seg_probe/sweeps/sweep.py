"""A sweep: a base configuration, the factors that vary, and the sizes in which it can be run."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, Self

from omegaconf import OmegaConf
from pydantic import Field

from llm4seg_probe.config import Config, Section, validated
from llm4seg_probe.errors import ConfigError, unknown

SizeName = Literal["quick", "small", "paper"]
Levels = Annotated[tuple[Any, ...], Field(min_length=1)]


class Size(Section):
    """One scale of a sweep: what it changes in the factors and in the base configuration."""

    factors: dict[str, Levels] = Field({}, description="levels to use instead")
    base: dict[str, Any] = Field({}, description="fields to change in the base")


class Sweep(Section):
    """Runs that differ in named factors and share everything else."""

    name: str
    base: dict[str, Any] = Field({}, description="configuration shared by all runs")
    factors: dict[str, Levels] = Field(description="config field → its levels")
    sizes: dict[SizeName, Size] = Field({}, description="scales, defined once for all")

    def at(self, size: SizeName) -> Self:
        """The sweep at one of its sizes. Raises ConfigError if the file does not define it."""
        if size not in self.sizes:
            raise ConfigError(f"{self.name}: {unknown('size', size, self.sizes)}")
        chosen = self.sizes[size]
        base = OmegaConf.to_container(OmegaConf.merge(self.base, chosen.base))
        return self.model_copy(
            update={"factors": {**self.factors, **chosen.factors}, "base": base, "sizes": {}}
        )

    def configs(self) -> list[Config]:
        """One complete configuration per combination of the factors' levels, seeds outermost.

        A sweep that is stopped early then holds whole seeds, which can be compared.
        """
        names = sorted(self.factors, key=lambda name: name != "seed")
        configs = []
        for levels in itertools.product(*(self.factors[name] for name in names)):
            tree = OmegaConf.create(self.base)
            for name, level in zip(names, levels, strict=True):
                OmegaConf.update(tree, name, level, merge=False)
            values: Any = OmegaConf.to_container(tree)
            configs.append(validated(values, Config, f"analysis {self.name}"))
        return configs
