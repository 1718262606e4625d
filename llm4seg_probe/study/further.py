"""The probes that an analysis asks for beside rank and maps: taken of its runs, kept with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from llm4seg_probe import progress, storage
from llm4seg_probe.config import Config, read_yaml
from llm4seg_probe.errors import ConfigError, DataError, SiteError, unknown
from llm4seg_probe.study.analysis import Analysis, FurtherProbes
from llm4seg_probe.study.described import deviations
from llm4seg_probe.study.overview import PROBES
from llm4seg_probe.study.single.result import ProbeResult
from llm4seg_probe.sweeps.plan import PlannedRun

ABOUT = "about.yaml"
"""In the folder of each probe: what it is, what it shows, of which runs, and by which command."""

Take = Callable[[Sequence[Path], Path, tuple[str, ...]], ProbeResult]


@dataclass(frozen=True)
class Further:
    """One probe as an analysis takes it: with the defaults of its command."""

    take: Take
    module: str
    """Of :mod:`llm4seg_probe.probing`, whose ``SHOWS`` says what the probe can show."""
    arms: int | None = None
    """How many arms it compares; None: any number."""
    options: str = ""
    """What its command is given beside the checkpoints."""

    @property
    def shows(self) -> str:
        """One sentence on what the probe can and cannot show."""
        text: str = import_module(f"llm4seg_probe.probing.{self.module}").SHOWS
        return text


def take_further(
    analysis: Analysis, runs: Sequence[PlannedRun], out: Path
) -> dict[str, ProbeResult]:
    """Take each further probe of the runs that it is wanted of; results lie in ``out/<probe>``.

    A probe that lies there already for the same runs is left as it is. Runs that deviate from the
    base are left out. A probe that fits none of the arms, or no image, is reported, and does not
    stop the rest.
    Raises ConfigError for an unknown probe.
    """
    wanted = analysis.further_probes
    for name in wanted.names:
        if name not in FURTHER:
            raise ConfigError(f"further_probes.names: {unknown('probe', name, FURTHER)}")
    chosen = chosen_runs(runs, wanted, analysis.base_config())
    found = {}
    for name in wanted.names:
        probe = FURTHER[name]
        of = _of_arms(chosen, analysis, probe.arms)
        about = _about(name, probe, of)
        if not of or _known(out / name / ABOUT) == about:
            continue
        progress.say(f"Probe {name}: {len(of)} runs")
        try:
            found[name] = probe.take(
                [run.checkpoint for run in of], out / name, analysis.probes.sites
            )
        except (SiteError, DataError) as error:
            progress.say(f"Probe {name} left out: {error}")
            continue
        storage.write_text(out / name / ABOUT, OmegaConf.to_yaml(OmegaConf.create(about)))
    return found


def chosen_runs(
    runs: Sequence[PlannedRun], wanted: FurtherProbes, base: Config
) -> list[PlannedRun]:
    """The runs at the base configuration of the arms and first seeds that are to be probed."""
    deviating = deviations([run.config for run in runs], base)
    at_base = [run for run, text in zip(runs, deviating, strict=True) if not text]
    seeds = sorted({run.config.seed for run in at_base})[: wanted.seeds]
    return [
        run
        for run in at_base
        if run.config.seed in seeds and (not wanted.arms or run.config.arm in wanted.arms)
    ]


def _of_arms(runs: Sequence[PlannedRun], analysis: Analysis, arms: int | None) -> list[PlannedRun]:
    """All runs, or those of the baseline and of the first other arms that the probe compares."""
    if arms is None:
        return list(runs)
    baseline = analysis.comparison.baseline
    first = dict.fromkeys(run.config.arm for run in runs if run.config.arm != baseline)
    compared = ["llm"] if "llm" in first else list(first)
    names = [baseline, *compared][:arms]
    return [run for run in runs if run.config.arm in names] if len(names) == arms else []


def _about(name: str, probe: Further, runs: Sequence[PlannedRun]) -> dict[str, Any]:
    command = name if name in PROBES else "intervene"
    return {
        "title": name,
        "summary": PROBES[command],
        "shows": probe.shows,
        "command": f"llm4seg-probe {command} --ckpt 'RUNS/*/run.pt'{probe.options}",
        "runs": [run.path.name for run in runs],
    }


def _known(path: Path) -> dict[str, Any] | None:
    return read_yaml(path) if path.is_file() else None


def _attention(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.attention import attention_runs

    return attention_runs(runs, out)


def _similarity(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.similarity import similarity_runs

    return similarity_runs(runs, out, sites=sites)


def _decode(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.decode import decode_runs

    return decode_runs(runs, out, sites=sites)


def _lens(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.lens import lens_runs

    return lens_runs(runs, out)


def _attribute(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.attribute import attribute_runs

    methods = ("integrated-gradients", "occlusion")
    return attribute_runs(runs, out, sites=("input",), methods=methods)


def _field(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.field import field_runs

    return field_runs(runs, out, sites=("logits",))


def _robustness(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.robustness import robustness_runs

    return robustness_runs(runs, out)


def _intervene(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.probing.applicable import Options
    from llm4seg_probe.study.single.intervene import intervene_runs

    return intervene_runs(runs, out, options=Options())


def _swap(runs: Sequence[Path], out: Path, sites: tuple[str, ...]) -> ProbeResult:
    from llm4seg_probe.study.single.swap import swap_runs

    return swap_runs(runs, out)


FURTHER: dict[str, Further] = {
    "attention": Further(_attention, "attention"),
    "similarity": Further(_similarity, "similarity"),
    "decode": Further(_decode, "decode"),
    "lens": Further(_lens, "lens"),
    "attribute": Further(_attribute, "attribution"),
    "field": Further(_field, "field"),
    "robustness": Further(_robustness, "robustness"),
    "intervene": Further(_intervene, "intervene"),
    "swap": Further(_swap, "swap", arms=2, options=" --swap"),
}
