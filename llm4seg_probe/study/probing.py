"""Take the probes of a study: of each run, kept in its folder, and of chosen runs together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe import progress, storage, tables
from llm4seg_probe.config import read_yaml
from llm4seg_probe.errors import CheckpointError, DataError, SiteError
from llm4seg_probe.models.outside import is_outside
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.arrays import read_arrays
from llm4seg_probe.probes.base import NotMeasurable, Probe
from llm4seg_probe.probes.probed import Source
from llm4seg_probe.probes.result import (
    ProbeResult,
    computed,
    draw,
    measured,
    store,
    take,
    with_derived,
)
from llm4seg_probe.reading.text import dump_yaml, read_json_object
from llm4seg_probe.statistics.claims import Association, Claim
from llm4seg_probe.study.analysis import ALWAYS, Analysis, Probes
from llm4seg_probe.study.runs import PlannedRun, deviations

ABOUT = "about.yaml"
"""In the folder of each probe: what it is, what it shows, of which runs, and by which command."""
_DONE = "probes.json"  # written last: which probes the tables beside it are of


def of_each_run(analysis: Analysis) -> tuple[str, ...]:
    """Names of the probes whose results lie in the run folders, as ``registry.find`` takes them."""
    wanted = {name for name in analysis.probe_names() if registry.find(name).per_run}
    paths = {registry.find(name).name: name for name in analysis.probes.names}
    return tuple(paths.get(name, name) for name in analysis.probe_names() if name in wanted)


def is_probed(run: PlannedRun, names: Sequence[str], probes: Probes) -> bool:
    """Whether the tables of these probes lie in a run's folder, taken at the same settings."""
    return not _missing(run.path, names, probes)


def _missing(folder: Path, names: Sequence[str], probes: Probes) -> list[str]:
    known = _known(folder)
    if any(known.get(name) != value for name, value in _settings(probes).items()):
        return list(names)
    return [name for name in names if not _is_there(registry.find(name), folder, known)]


def _is_there(probe: Probe, folder: Path, known: dict[str, Any]) -> bool:
    """Whether a probe was taken of a run, and its table lies there unless it has none."""
    if probe.name not in _taken(known):
        return False
    return probe.name in known.get("without", ()) or (folder / probe.schema.name).is_file()


def _taken(known: dict[str, Any]) -> list[str]:
    return list(known.get("probes", ALWAYS))


def _known(folder: Path) -> dict[str, Any]:
    """What the marker says; nothing where it is damaged, or is just being written anew."""
    marker = folder / _DONE
    if not marker.is_file():
        return {}
    try:
        found = read_json_object(marker, DataError)
    except DataError:
        return {}
    lists = (found.get(name, []) for name in ("probes", "without"))
    return found if all(isinstance(names, list) for names in lists) else {}


def _source(run: PlannedRun) -> Source:
    """A run of a study, opened with the network that the user's own analysis names."""
    name = run.config.backbone.name
    network = name if is_outside(name) else None
    return Source(run.checkpoint, network=network, device=run.config.compute.device)


def _settings(probes: Probes) -> dict[str, Any]:
    return {"sites": list(probes.sites), "gallery": probes.gallery}


def probe_run(run: PlannedRun, names: Sequence[str], probes: Probes) -> None:
    """Take what is missing of these probes of one run, into its folder."""
    missing = _missing(run.path, names, probes)
    if not missing:
        return
    probed = _source(run).open()
    settings, known = _settings(probes), _known(run.path)
    kept = _taken(known) if settings.items() <= known.items() else []
    without = set(known.get("without", ())) & set(kept)
    for name in missing:
        probe = registry.find(name)
        with computed(probed):
            try:
                found = measured(probe, probed, probe.of_analysis(probes.model_dump()))
            except NotMeasurable as reason:
                progress.say(f"{run.path.name}: no {probe.name}: {reason}")
                without.add(probe.name)
                continue
        further = {
            schema.name: found.further[schema.name]
            for schema in probe.further
            if not schema.on_request or schema.name in found.further
        }
        arrays = () if found.arrays is None else (found.arrays,)
        # What is derived is derived of all runs together.
        store(ProbeResult(probe, {probe.schema.name: found.table, **further}, arrays), run.path)
    taken = [*kept, *(registry.find(name).name for name in missing)]
    extra = {} if set(taken) == set(ALWAYS) else {"probes": sorted(set(taken))}
    extra |= {"without": sorted(without)} if without else {}
    storage.write_json(run.path / _DONE, {**settings, **extra})


def probe_study(
    analysis: Analysis, runs: Sequence[PlannedRun], out: Path
) -> dict[str, pd.DataFrame]:
    """Take the probes of a study, or read what was taken; returns their tables by name.

    Those of rank and maps lie beside ``scores.csv``, where they always lay, and those of the
    others in ``out/<probe>``. A probe that lies there already for the same runs is left as it is.
    A probe that fits none of the arms, or no image, is reported, and does not stop the rest.
    """
    found: dict[str, pd.DataFrame] = {}
    for name in analysis.probe_names():
        probe = registry.find(name)
        folder = out if name in ALWAYS else out / name
        if not probe.per_run:
            _of_chosen(probe, analysis, runs, folder)
        elif _join(probe, runs, folder) and name not in ALWAYS:
            _finish(probe, runs, folder, {})
        own = folder / probe.schema.name
        if own.is_file():
            found[name] = tables.read_table(own, probe.schema)
    return found


def _join(probe: Probe, runs: Sequence[PlannedRun], out: Path) -> bool:
    """Write the tables and arrays of the run folders as those of the study, if there are any."""
    there = [run for run in runs if (run.path / probe.schema.name).is_file()]
    if not there:
        return False
    schemas = [
        schema
        for schema in (probe.schema, *probe.further)
        if not schema.on_request or all((run.path / schema.name).is_file() for run in there)
    ]
    whole = {
        schema.name: pd.concat(
            [tables.read_table(run.path / schema.name, schema) for run in there], ignore_index=True
        )
        for schema in schemas
    }
    stored = [run.path / probe.arrays_file for run in there]
    arrays = tuple(read_arrays(path) for path in stored if path.is_file())
    store(ProbeResult(probe, with_derived(probe, whole), arrays), out)
    return True


def _of_chosen(probe: Probe, analysis: Analysis, runs: Sequence[PlannedRun], out: Path) -> None:
    chosen = _of_arms(chosen_runs(probe, analysis, runs), analysis, runs, probe)
    settings = analysis.probes.model_dump(mode="json")
    options = {each.name: settings[each.analysis] for each in probe.option_list() if each.analysis}
    known = read_yaml(out / ABOUT) if (out / ABOUT).is_file() else {}
    same_options = known.get("options", options) == options
    if not chosen or (known.get("runs") == [run.path.name for run in chosen] and same_options):
        return
    progress.say(f"Probe {probe.name}: {len(chosen)} runs")
    sources = [_source(run) for run in chosen]
    try:
        result = take(probe, sources, probe.of_analysis(analysis.probes.model_dump()))
        store(result, out)
    except (SiteError, DataError, CheckpointError) as error:
        progress.say(f"Probe {probe.name} left out: {error}")
        return
    _finish(probe, chosen, out, options)


def _finish(probe: Probe, runs: Sequence[PlannedRun], out: Path, options: dict[str, Any]) -> None:
    draw(probe, out)
    about = {
        "title": probe.name,
        "summary": probe.summary,
        "shows": probe.shows,
        "cannot": probe.limits,
        "command": f"llm4seg-probe {probe.name} --ckpt 'RUNS/*/run.pt'",
        "runs": [run.path.name for run in runs],
        **({"options": options} if options else {}),
    }
    storage.write_text(out / ABOUT, dump_yaml(about))


def chosen_runs(probe: Probe, analysis: Analysis, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """The runs of which a probe is taken: those that are asked for, and those that claims need.

    Asked for are the runs at the base configuration of the arms and first seeds that the analysis
    names; a claim needs every run of its conditions.
    """
    wanted = analysis.probes
    deviating = deviations([run.config for run in runs], analysis.base_config())
    seeds = sorted(
        {run.config.seed for run, text in zip(runs, deviating, strict=True) if not text}
    )[: wanted.seeds]
    is_named = probe.name in [registry.find(name).name for name in wanted.names]
    claimed = [claim for claim in analysis.claims if probe.name in claim.tables]

    def is_asked_for(run: PlannedRun, deviation: str) -> bool:
        of_arm = not wanted.arms or run.config.arm in wanted.arms
        return is_named and not deviation and of_arm and run.config.seed in seeds

    return [
        run
        for run, text in zip(runs, deviating, strict=True)
        if is_asked_for(run, text) or any(_is_needed(run, text, claim) for claim in claimed)
    ]


def _is_needed(run: PlannedRun, deviation: str, claim: Claim | Association) -> bool:
    """Whether one of a claim's conditions is about this run."""
    items = {tuple(item.split("=", 1)) for item in deviation.split(",") if item}
    where = claim.where if isinstance(claim, Claim) else {**claim.x.where, **claim.y.where}
    return any(
        term.arm == run.config.arm
        and items <= {(name, str(value)) for name, value in {**where, **dict(term.filters)}.items()}
        for term in claim.terms
    )


def _of_arms(
    chosen: list[PlannedRun], analysis: Analysis, runs: Sequence[PlannedRun], probe: Probe
) -> list[PlannedRun]:
    """The chosen runs, or those of as many arms as the probe compares.

    A claim's arms come first, then the baseline, ``llm``, and the others.
    """
    if probe.arms is None:
        return chosen
    claims = [claim for claim in analysis.claims if probe.name in claim.tables]
    claimed = [term.arm for claim in claims for term in claim.terms]
    if claimed:  # the partners of the claim's arms are needed as well
        seeds = {run.config.seed for run in chosen}
        deviating = deviations([run.config for run in runs], analysis.base_config())
        chosen = [
            run
            for run, text in zip(runs, deviating, strict=True)
            if not text and run.config.seed in seeds
        ]
    there = [run.config.arm for run in chosen]
    first = [*claimed, analysis.comparison.baseline, "llm", *there]
    names = [arm for arm in dict.fromkeys(first) if arm in there][: probe.arms]
    return [run for run in chosen if run.config.arm in names] if len(names) == probe.arms else []
