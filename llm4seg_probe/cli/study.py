"""Whole studies: the demo, sweeps, their page, and what there is to choose from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import Json, Out, emit_json, records, say


class SizeOption(StrEnum):
    """Scales of an analysis."""

    quick = "quick"
    small = "small"
    paper = "paper"


class Kind(StrEnum):
    """What `list` can list."""

    arms = "arms"
    sites = "sites"
    backbones = "backbones"
    probes = "probes"
    claims = "claims"


def demo(
    out: Out = Path("reports/demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Two arms, two seeds.")] = False,
    as_json: Json = False,
) -> None:
    """From nothing to a verdict: train, probe, compare and report on the embedded data and LLM."""
    from llm4seg_probe.study.analysis import shipped

    assert out is not None
    _study(shipped("demo"), SizeOption.quick if quick else SizeOption.small, out, as_json)


def sweep(
    analysis: Annotated[Path, typer.Argument(help="An analysis file.")],
    size: Annotated[SizeOption, typer.Option("--size", help="Scale.")] = SizeOption.small,
    out: Out = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="Folder of runs that several analyses share."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the runs.")] = False,
    as_json: Json = False,
) -> None:
    """All runs of an analysis that are missing, then its probes, comparison and page."""
    folder = out or Path("reports") / analysis.stem
    if not dry_run:
        return _study(analysis, size, folder, as_json, runs)
    from llm4seg_probe.study.analysis import load_analysis
    from llm4seg_probe.study.answer import planned

    found = planned(load_analysis(analysis).at(size.value), runs or folder / "runs")
    if as_json:
        emit_json({"runs": [{"run": run.path.name, "done": run.done} for run in found]})
        return None
    for run in found:
        say(f"{'done   ' if run.done else 'missing'}  {run.path.name}")
    return None


def _study(
    analysis: Path, size: SizeOption, out: Path, as_json: bool, runs: Path | None = None
) -> None:
    from llm4seg_probe.reporting.terminal import verdict_text
    from llm4seg_probe.study.analysis import load_analysis
    from llm4seg_probe.study.answer import answer

    chosen = load_analysis(analysis).at(size.value)
    found = answer(chosen, out, size=size.value, store=runs)
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
    out: Out = None,
    as_json: Json = False,
) -> None:
    """The HTML page with its figures, drawn from the tables in a folder of results."""
    from llm4seg_probe.reporting.report import write_report

    page = write_report(runs, out)
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
