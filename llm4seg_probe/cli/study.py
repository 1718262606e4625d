"""Whole studies: the demo, sweeps, their page, and what there is to choose from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm4seg_probe.cli.output import Json, Out, emit_json, records, say

if TYPE_CHECKING:
    from llm4seg_probe.study.analysis import Analysis
    from llm4seg_probe.sweeps.engine import Engine


class SizeOption(StrEnum):
    """Scales of an analysis."""

    quick = "quick"
    small = "small"
    paper = "paper"


class EngineOption(StrEnum):
    """Places where runs are made."""

    local = "local"
    ray = "ray"


class Kind(StrEnum):
    """What `list` can list."""

    arms = "arms"
    sites = "sites"
    backbones = "backbones"
    probes = "probes"
    claims = "claims"
    presets = "presets"


def demo(
    out: Out = Path("reports/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Two arms, two seeds.")] = False,
    as_json: Json = False,
) -> None:
    """From nothing to a verdict: train, probe, compare and report on the embedded data and LLM."""
    from llm4seg_probe.study.analysis import load_analysis, shipped

    assert out is not None
    size = SizeOption.quick if quick else SizeOption.small
    _study(load_analysis(shipped("demo")).at(size.value), size, out, as_json)


def sweep(
    analysis: Annotated[Path, typer.Argument(help="An analysis file.")],
    size: Annotated[SizeOption, typer.Option("--size", help="Scale.")] = SizeOption.small,
    out: Out = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="Folder of runs that several analyses share."),
    ] = None,
    engine: Annotated[EngineOption, typer.Option("--engine", help="Where runs are made.")] = (
        EngineOption.local
    ),
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Runs at a time.", show_default="by room")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Of a running Ray cluster, for --engine ray.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="key=value", help="Field of the analysis to change."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which runs, how long, how much memory.")
    ] = False,
    as_json: Json = False,
) -> None:
    """All runs of an analysis that are missing, then its probes, comparison and page."""
    from llm4seg_probe.study.analysis import load_analysis

    chosen = load_analysis(analysis, tuple(overrides or ())).at(size.value)
    folder = out or Path("reports") / analysis.stem
    made_on = _engine(engine, workers, address)
    if dry_run:
        _forecast(chosen, runs or folder / "runs", workers, as_json)
    else:
        _study(chosen, size, folder, as_json, runs, made_on)


def _engine(name: EngineOption, workers: int | None, address: str | None) -> Engine:
    from llm4seg_probe.errors import ConfigError
    from llm4seg_probe.sweeps.local import LocalEngine
    from llm4seg_probe.sweeps.on_ray import RayEngine

    if name is EngineOption.ray:
        return RayEngine(address, workers)
    if address is not None:
        raise ConfigError("--address is of a Ray cluster: add --engine ray")
    return LocalEngine(workers)


def _forecast(analysis: Analysis, store: Path, workers: int | None, as_json: bool) -> None:
    from llm4seg_probe.study.forecast import forecast

    found = forecast(analysis, store, workers)
    if as_json:
        emit_json({"runs": records(found.runs), **found.totals})
        return
    say(found.by_condition.to_string(index=False, float_format="%.1f"))
    say(f"\n{found.sentence}")


def _study(
    chosen: Analysis,
    size: SizeOption,
    out: Path,
    as_json: bool,
    runs: Path | None = None,
    engine: Engine | None = None,
) -> None:
    from llm4seg_probe.reporting.terminal import verdict_text
    from llm4seg_probe.study.answer import answer

    found = answer(chosen, out, size=size.value, store=runs, engine=engine)
    if as_json:
        emit_json(
            {
                "page": found.page,
                "out": out,
                "claims": records(found.claims),
                "signatures": found.signatures,
            }
        )
        return
    say(verdict_text(found.claims))
    for hint in found.signatures:
        say(hint)
    say(f"\n{found.rests_on}\n\nThe page: {found.page.resolve()}")


def report(
    runs: Annotated[Path, typer.Argument(help="Folder of a sweep's results.")],
    cases: Annotated[
        list[str] | None,
        typer.Option("--case", help="An image that the explorer is to show; may be repeated."),
    ] = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The HTML page with its figures, drawn from the tables in a folder of results."""
    from llm4seg_probe.reporting.report import write_report

    page = write_report(runs, out, tuple(cases or ()))
    emit_json({"page": page}) if as_json else say(f"The page: {page.resolve()}")


def list_names(
    kind: Annotated[Kind, typer.Argument(help="What to list.")], as_json: Json = False
) -> None:
    """What there is, one line each."""
    from llm4seg_probe.study.overview import overview

    entries = overview(kind.value)
    if as_json:
        emit_json(entries)
        return
    width = max(map(len, entries))
    for name, text in entries.items():
        say(f"{name:<{width}}  {text}")


def doctor(as_json: Json = False) -> None:
    """What is installed, which devices, caches and sources work here, and what to do."""
    from dataclasses import asdict

    from llm4seg_probe.study.doctor import examine

    findings = examine()
    if as_json:
        emit_json({"findings": [asdict(finding) for finding in findings]})
        return
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        say(f"{finding.what:<{width}}  {finding.state}")
        if finding.advice:
            say(f"{'':<{width}}  → {finding.advice}")


COMMANDS = {
    "demo": demo,
    "sweep": sweep,
    "report": report,
    "list": list_names,
    "doctor": doctor,
}
