"""Whole studies: the demo, sweeps, and their page."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm4seg_probe import progress
from llm4seg_probe.cli.options import Json, Loggers, Open, Out, emit_json, records, say, show_page

if TYPE_CHECKING:
    from llm4seg_probe.results.courses import Undrawn
    from llm4seg_probe.results.studies import Forecast, Study
    from llm4seg_probe.study.analysis import Analysis


class SizeOption(StrEnum):
    """Scales of an analysis."""

    quick = "quick"
    small = "small"
    paper = "paper"


class EngineOption(StrEnum):
    """Places where runs are made."""

    local = "local"
    ray = "ray"


def demo(
    out: Out = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two arms, two seeds.")] = False,
    show: Open = False,
    as_json: Json = False,
) -> None:
    """From nothing to a verdict: train, probe, compare and report on the embedded data and LLM."""
    from llm4seg_probe.study.analysis import load_analysis, shipped

    size = SizeOption.quick if quick else SizeOption.small
    out = out or Path("reports/demo-quick" if quick else "reports/demo")
    _announce(load_analysis(shipped("demo")), size)
    from llm4seg_probe.results import studies

    found = studies.sweep("demo", size=size.value, out=out)
    assert isinstance(found, studies.Study)
    _tell_study(found, as_json)
    show_page(found.page(), show)


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
        bool,
        typer.Option(
            "--dry-run", help="Only say how long and how much memory; at size paper, on GPUs."
        ),
    ] = False,
    loggers: Loggers = None,
    probes: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            metavar="package.module:PROBE",
            help="A probe of your own that the analysis names by its path; may be repeated.",
        ),
    ] = None,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided", help="Add seeds until the claims are decided, by `decide`."
        ),
    ] = False,
    max_seeds: Annotated[
        int | None, typer.Option("--max-seeds", help="With --until-decided: most seeds of an arm.")
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option("--hours", help="With --until-decided: hours of runs, added up over workers."),
    ] = None,
    new_study: Annotated[
        bool,
        typer.Option(
            "--new-study", help="With --until-decided: start afresh with other seeds and rules."
        ),
    ] = False,
    show: Open = False,
    as_json: Json = False,
) -> None:
    """All runs of an analysis that are missing, then its probes, comparison and page."""
    from llm4seg_probe.errors import ConfigError
    from llm4seg_probe.reading.names import refuse_other_than_file

    refuse_other_than_file(analysis, ConfigError)
    if not analysis.exists():
        raise ConfigError(f"no such file: {analysis}")
    from llm4seg_probe.probes.registry import probes_given
    from llm4seg_probe.study.analysis import load_analysis

    with probes_given(probes or ()):
        # What is wrong in it, before torch is imported.
        _announce(load_analysis(analysis, tuple(overrides or ())), size)
    from llm4seg_probe.results import studies
    from llm4seg_probe.results.courses import Undrawn
    from llm4seg_probe.training.loggers import loggers_given

    with probes_given(probes or ()), loggers_given(loggers or ()):
        found = studies.sweep(
            analysis, size=size.value, out=out or Path("reports") / analysis.stem, runs=runs,
            engine=engine.value, workers=workers, address=address, overrides=overrides or (),
            dry_run=dry_run, until_decided=until_decided, max_seeds=max_seeds, hours=hours,
            new_study=new_study,
        )  # fmt: skip
    if isinstance(found, studies.Forecast):
        _tell_forecast(found, until_decided, as_json)
    elif isinstance(found, Undrawn):
        _tell_course(found, as_json)
    else:
        _tell_study(found, as_json)
        show_page(found.page(), show)


def _announce(analysis: Analysis, size: SizeOption) -> None:
    """Say what is about to be done, before the seconds that importing torch takes."""
    configs = analysis.at(size.value).configs()
    count = {name: len({getattr(one, name) for one in configs}) for name in ("arm", "seed")}
    progress.say(
        f"{analysis.name} at size {size.value}: {len(configs)} runs "
        f"({count['arm']} arms, {count['seed']} seeds)"
    )


def _tell_forecast(found: Forecast, until_decided: bool, as_json: bool) -> None:
    sentence = found.sentences[0]
    if as_json:
        key, more = ("rows", {"sentence": sentence}) if until_decided else ("runs", found.totals)
        emit_json({key: records(found.table), **more})
        return
    digits = "%.2f" if until_decided else "%.1f"
    say(found.summary.to_string(index=False, float_format=digits))
    say(f"\n{sentence}")


def _tell_course(found: Undrawn, as_json: bool) -> None:
    course = found.course
    if as_json:
        told = {"page": None, "out": found.folder, "claims": records(found.table)}
        emit_json({**told, "course": course.sentence, "open": list(course.still_open)})
        progress.say(found.why)
        return
    say(found.table.to_string(index=False, float_format="%.4g"))
    say(f"\n{course.sentence}\n\n{found.why}")


def _tell_study(found: Study, as_json: bool) -> None:
    from llm4seg_probe.report.terminal import verdict_text

    page, course = found.page(), found.course
    if as_json:
        told: dict[str, Any] = {"page": page, "out": found.folder, "claims": records(found.claims)}
        if len(found.mechanisms):
            told["mechanisms"] = records(found.mechanisms)
        if course is None:
            told["signatures"] = found.signatures
        else:
            told |= {"course": course.sentence, "open": list(course.still_open)}
        emit_json(told)
        return
    say(verdict_text(found.claims))
    for title, sentence in found.mechanisms[["title", "sentence"]].itertuples(index=False):
        say(f"{title}: {sentence}")
    for hint in () if course is not None else found.signatures:
        say(hint)
    ended = f"{course.sentence}\n\n" if course is not None else ""
    say(f"\n{ended}{found.rests_on}\n\nThe page: {page.resolve()}")


def report(
    runs: Annotated[Path, typer.Argument(help="Folder of a sweep's results.")],
    cases: Annotated[
        list[str] | None,
        typer.Option("--case", help="An image that the explorer is to show; may be repeated."),
    ] = None,
    one_file: Annotated[
        bool, typer.Option("--one-file", help="One HTML file, with everything in it.")
    ] = False,
    pseudonyms: Annotated[
        bool,
        typer.Option(
            "--pseudonyms",
            help="Numbers for the names of patients and images, in a copy to be shared (--out).",
        ),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="Results of the same configuration from another machine, to compare."
        ),
    ] = None,
    out: Out = None,
    show: Open = False,
    as_json: Json = False,
) -> None:
    """The HTML page with its figures, drawn from the tables in a folder of results."""
    from llm4seg_probe.errors import ConfigError

    for folder in (runs, against):
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder of results; give one that a sweep wrote")
    from llm4seg_probe.report.report import write_pseudonymous_report, write_report

    if against is not None:
        _against(runs, against, out or runs, as_json)
        return
    write = write_pseudonymous_report if pseudonyms else write_report
    page = write(runs, out, tuple(cases or ()), one_file=one_file)
    emit_json({"page": page}) if as_json else say(f"The page: {page.resolve()}")
    show_page(page, show)


def _against(folder: Path, other: Path, out: Path, as_json: bool) -> None:
    from llm4seg_probe.report.against import NAME, write_against

    found = write_against(folder, other, out)
    if as_json:
        emit_json({"rows": records(found.rows), "sentence": found.sentence, "table": out / NAME})
        return
    say(f"{found.sentence}\n\nThe table: {out / NAME}")


COMMANDS: dict[str, Callable[..., None]] = {"demo": demo, "sweep": sweep, "report": report}
