"""An analysis file: the runs, probes and claims that answer one question."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llm4seg_probe.config import Config, Section, read_yaml, validated
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.probes import registry
from llm4seg_probe.reading.bounds import refuse_more
from llm4seg_probe.reading.names import shown
from llm4seg_probe.statistics.claims import AnyClaim, Claim
from llm4seg_probe.statistics.judgement import refuse_doubled
from llm4seg_probe.statistics.look_claims import refuse_mixed_families
from llm4seg_probe.statistics.looks import Design, Spending
from llm4seg_probe.statistics.mechanisms import Mechanism, refuse_unknown_claims
from llm4seg_probe.study.overrides import with_fields
from llm4seg_probe.yaml_files import on_top, set_field

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
        base = on_top(self.base, chosen.base)
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
        count = sum(math.prod(map(len, grid.values())) for grid in grids)
        refuse_more("runs", count, f"analysis {self.name}: makes {count:,} runs", ConfigError)
        # By their text: levels come from a file, and may be of any kind.
        of_grid = [{repr(seed): seed for seed in grid["seed"]} for grid in grids]
        wanted = {text: seed for given in of_grid for text, seed in given.items()}
        found: dict[str, Config] = {}
        for text, seed in wanted.items():
            for grid, given in zip(grids, of_grid, strict=True):
                if text in given:
                    for config in self._combinations({**grid, "seed": (seed,)}):
                        found.setdefault(config.model_dump_json(), config)
        return list(found.values())

    def _combinations(self, grid: Grid) -> Iterator[Config]:
        for levels in itertools.product(*grid.values()):
            values = deepcopy(self.base)
            for name, level in zip(grid, levels, strict=True):
                set_field(values, name.split("."), level)
            yield validated(values, Config, f"analysis {self.name}")


_LISTS = ("further", "claims")


class Comparison(Section):
    """The comparison of all arms that the report shows, beside the claims."""

    score: str = "iou"
    baseline: str = "cnn"
    margin: float = Field(0.005, gt=0, description="smallest difference that matters")


ALWAYS = ("rank", "maps")


class Probes(Section):
    """Which probes are taken, beside those that the claims need, and of which runs.

    A probe that a claim is stated on is taken of every run that the claim names. Rank and maps
    are taken of every run; the others of the arms and seeds named here, and of runs that do not
    deviate from the base.
    """

    names: tuple[str, ...] = Field(
        ALWAYS, description="of `llm4seg-probe list probes`, or your own as package.module:PROBE"
    )
    sites: tuple[str, ...] = ("before", "after")
    gallery: int = Field(
        200, ge=0, description="test images whose maps are kept, for the page to choose from"
    )
    arms: tuple[str, ...] = Field((), description="arms that are probed; all unless given")
    seeds: int = Field(5, ge=1, description="how many seeds are probed, the first ones")

    @field_validator("names")
    @classmethod
    def _are_probes(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for name in names:
                registry.find(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return names


class Decide(Section):
    """How seeds are added until claims are decided; fixed before the first run."""

    looks: tuple[int, ...] = Field(description="numbers of seeds at which the claims are judged")
    spending: Spending = Field(
        "pocock", description="how the looks share the error rate: alike, or little early"
    )
    claims: tuple[str, ...] = Field(
        (), description="ids of those that are to be decided; all that compare seeds unless given"
    )
    max_seeds: int | None = Field(None, description="budget; null: the last look")
    hours: float | None = Field(None, gt=0, description="budget of computing time; null: none")

    @model_validator(mode="after")
    def _can_be_followed(self) -> Self:
        try:
            design = self.design
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if self.max_seeds is not None and self.max_seeds < design.looks[0]:
            raise ValueError(
                f"max_seeds: {self.max_seeds} seeds do not reach the first look at "
                f"{design.looks[0]}"
            )
        return self

    @property
    def design(self) -> Design:
        """The looks as the statistics take them."""
        return Design(self.looks, spending=self.spending)


class Analysis(Sweep):
    """One question, the runs that answer it, and the claims that it tests."""

    title: str
    question: str
    rests_on: str = Field(description="what the answer rests on; shown beside every verdict")
    probes: Probes = Probes()
    comparison: Comparison = Comparison()
    claims: tuple[AnyClaim, ...] = ()
    mechanisms: tuple[Mechanism, ...] = Field(
        (), description="explanations that several claims bear on, each judged by all it needs"
    )
    decide: Decide | None = Field(
        None, description="looks at which the claims are judged, for sweep --until-decided"
    )

    @model_validator(mode="after")
    def _can_decide(self) -> Self:
        if self.decide is not None:
            try:
                deciding(self)
            except ConfigError as error:
                raise ValueError(f"decide: {error}") from error
        return self

    @model_validator(mode="after")
    def _claims_differ(self) -> Self:
        try:
            refuse_doubled(self.claims)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _claims_of_mechanisms(self) -> Self:
        try:
            refuse_unknown_claims(self.mechanisms, [claim.id for claim in self.claims])
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="before")
    @classmethod
    def _with_further_probes(cls, values: Any) -> Any:
        """Read ``further_probes``, as analysis files were written before, as part of ``probes``."""
        if not isinstance(values, Mapping) or "further_probes" not in values:
            return values
        further = dict(values["further_probes"] or {})
        probes = dict(values.get("probes") or {})
        names = [*probes.pop("names", ALWAYS), *further.pop("names", ())]
        rest = {name: value for name, value in values.items() if name != "further_probes"}
        return {**rest, "probes": {**further, **probes, "names": list(dict.fromkeys(names))}}

    def probe_names(self) -> list[str]:
        """The probes that are taken: those that are named, and those that claims are stated on."""
        named = [registry.find(name).name for name in self.probes.names]
        claimed = [table for claim in self.claims for table in claim.tables]
        known = registry.probes()
        return [name for name in dict.fromkeys([*named, *claimed]) if name in known]


def deciding(analysis: Analysis) -> tuple[Claim, ...]:
    """The claims of seeds that an analysis is to decide, in their order.

    Raises ConfigError for one that is not known or not of seeds, and for part of a family.
    """
    assert analysis.decide is not None
    refuse_mixed_families(analysis.claims)
    by_id = {claim.id: claim for claim in analysis.claims}
    of_seeds = storable(analysis)
    named = analysis.decide.claims or tuple(claim.id for claim in of_seeds)
    if not named:
        raise ConfigError("there is no claim that compares seeds, so nothing can be decided")
    for name in named:
        if name not in by_id:
            raise ConfigError(unknown("claim", name, by_id))
        if not isinstance(by_id[name], Claim):
            raise ConfigError(
                f"claim '{name}' is of an association of runs, not of seeds: it has no looks"
            )
        if by_id[name] not in of_seeds:
            raise ConfigError(
                f"claim '{name}' is of {', '.join(by_id[name].tables)}.csv, which runs do not keep "
                "one by one: it cannot be decided by looks"
            )
    found = tuple(claim for claim in of_seeds if claim.id in named)
    for claim in of_seeds:
        family = [one for one in found if one is not claim and claim.shares_family_with(one)]
        if claim not in found and family:
            raise ConfigError(
                f"claim '{claim.id}' shares the family '{claim.family}' with '{family[0].id}': "
                "claims of one family are decided together, so name both"
            )
    return found


def storable(analysis: Analysis) -> list[Claim]:
    """Claims of seeds on tables of which each run keeps its own."""
    per_run = {"scores", *(name for name, probe in registry.probes().items() if probe.per_run)}
    return [
        claim for claim in analysis.claims if isinstance(claim, Claim) and claim.table in per_run
    ]


def load_analysis(path: Path, overrides: tuple[str, ...] = ()) -> Analysis:
    """Read an analysis file, and check the configuration of each of its runs.

    ``extends: FILE`` takes what the file does not say from another one beside it, and
    ``unites: [FILE, …]`` adds the runs and claims of others, which must share its base; where no
    such file lies there, one that comes with the package is taken. Raises
    ConfigError that names the file, the field, and the nearest valid name.
    """
    path = Path(path)
    analysis = validated(with_fields(_read(path), overrides), Analysis, str(path))
    for version in [analysis, *(analysis.at(size) for size in analysis.sizes)]:
        arms = {config.arm for config in version.configs()}
        if version.comparison.baseline not in arms:
            raise ConfigError(
                f"{path}: comparison.baseline: {unknown('arm', version.comparison.baseline, arms)}"
            )
    return analysis


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Values of an analysis file, with those of the files that it extends and unites.

    ``above`` are the files that led here, of which none may come again.
    """
    chain = (*above, path.resolve())
    if path.resolve() in above:
        raise ConfigError(
            f"{path} extends or unites itself ({' → '.join(file.name for file in chain)}): take "
            "one of these lines out"
        )
    refuse_more("depth", len(chain), f"{path}: {len(chain)} files extend each other", ConfigError)
    values = read_yaml(path)
    parent, members = values.pop("extends", None), values.pop("unites", None)
    if parent is not None:
        values = on_top(_read(_beside(path, "extends", parent), chain), values)
    for member in _listed(members, path, "unites"):
        other = _read(_beside(path, "unites", member), chain)
        if other.get("base") != values.get("base") or other.get("sizes") != values.get("sizes"):
            raise ConfigError(
                f"{path} unites {member}, whose base or sizes are others: runs of one page share "
                "them, so let both extend the same file"
            )
        other["further"] = [other.get("factors", {}), *_listed(other.get("further"), path)]
        if other.get("decide", values.get("decide")) != values.get("decide"):
            raise ConfigError(
                f"{path} unites {member}, which is decided by other looks: write its `decide` "
                "into the one that unites, for all claims of its page"
            )
        for name in _LISTS:
            values[name] = [*_listed(values.get(name), path), *_listed(other.get(name), path)]
    return values


def _beside(path: Path, field: str, name: Any) -> Path:
    """The analysis file that another one names: relative to its own folder, else a shipped one."""
    if (
        not isinstance(name, str)
        or not name.endswith((".yaml", ".yml"))
        or Path(name).is_absolute()
    ):
        raise ConfigError(
            f"{path}: {field} is {shown(repr(name))}: give the name of another analysis file, "
            "relative to this one, such as other.yaml"
        )
    beside, shipped_one = path.parent / name, analyses_folder() / name
    return shipped_one if shipped_one.is_file() and not beside.is_file() else beside


def _listed(value: Any, path: Path, field: str = "a list of it or of what it unites") -> list[Any]:
    if not isinstance(value, list | tuple | None):
        raise ConfigError(f"{path}: {field} is {shown(repr(value))}: a list is expected")
    return list(value or ())


def analyses_folder() -> Path:
    """Folder of the analyses that come with the package, in a checkout or installed."""
    installed = Path(str(files("llm4seg_probe"))) / "_analyses"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "analyses"


def shipped(name: str) -> Path:
    """Path of an analysis that comes with the package. Raises ConfigError for an unknown name."""
    path = analyses_folder() / f"{name}.yaml"
    if not path.is_file():
        valid = sorted(found.stem for found in analyses_folder().glob("*.yaml"))
        raise ConfigError(unknown("analysis", name, valid))
    return path
