"""An analysis: which arms, seeds, data and measures answer one question, as a YAML file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from pydantic import Field

from llm4seg_probe.config import Section, read_yaml, validated
from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.statistics.claims import AnyClaim
from llm4seg_probe.sweeps.sweep import Sweep

_LISTS = ("further", "claims")


class Comparison(Section):
    """The comparison of all arms that the report shows, beside the claims."""

    score: str = "iou"
    baseline: str = "cnn"
    margin: float = Field(0.005, gt=0, description="smallest difference that matters")


class FurtherProbes(Section):
    """Probes beside rank and maps, taken of runs that do not deviate from the base."""

    names: tuple[str, ...] = Field((), description="of `llm4seg-probe list probes`, or swap")
    arms: tuple[str, ...] = Field((), description="arms that are probed; all unless given")
    seeds: int = Field(5, ge=1, description="how many seeds are probed, the first ones")


class Probes(Section):
    """Which measures of the representation are taken of each run."""

    sites: tuple[str, ...] = ("before", "after")
    gallery: int = Field(
        200, ge=0, description="test images whose maps are kept, for the page to choose from"
    )


class Analysis(Sweep):
    """One question, the runs that answer it, and the claims that it tests."""

    title: str
    question: str
    rests_on: str = Field(description="what the answer rests on; shown beside every verdict")
    probes: Probes = Probes()
    further_probes: FurtherProbes = FurtherProbes()
    comparison: Comparison = Comparison()
    claims: tuple[AnyClaim, ...] = ()


def load_analysis(path: Path, overrides: tuple[str, ...] = ()) -> Analysis:
    """Read an analysis file, and check the configuration of each of its runs.

    ``extends: FILE`` takes what the file does not say from another one beside it, and
    ``unites: [FILE, …]`` adds the runs and claims of others, which must share its base. Raises
    ConfigError that names the file, the field, and the nearest valid name.
    """
    path = Path(path)
    analysis = validated(_read(path, overrides), Analysis, str(path))
    for version in [analysis, *(analysis.at(size) for size in analysis.sizes)]:
        arms = {config.arm for config in version.configs()}
        if version.comparison.baseline not in arms:
            raise ConfigError(
                f"{path}: comparison.baseline: {unknown('arm', version.comparison.baseline, arms)}"
            )
    return analysis


def _read(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Values of an analysis file, with those of the files that it extends and unites."""
    values = read_yaml(path, overrides)
    parent, members = values.pop("extends", None), values.pop("unites", None)
    if parent is not None:
        merged = OmegaConf.merge(_read(path.parent / str(parent)), values)
        values = dict(OmegaConf.to_container(merged))  # type: ignore[arg-type]
    for member in members or ():
        other = _read(path.parent / str(member))
        if other.get("base") != values.get("base") or other.get("sizes") != values.get("sizes"):
            raise ConfigError(
                f"{path} unites {member}, whose base or sizes are others: runs of one page share "
                "them, so let both extend the same file"
            )
        other["further"] = [other.get("factors", {}), *other.get("further", [])]
        for name in _LISTS:
            values[name] = [*values.get(name, []), *other.get(name, [])]
    return values


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
