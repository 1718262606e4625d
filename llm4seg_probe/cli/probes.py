"""Commands of the probes, one for each descriptor of the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm4seg_probe.cli.options import (
    Checkpoints,
    Data,
    Device,
    Json,
    Out,
    checkpoints,
    emit_json,
    records,
    say,
)
from llm4seg_probe.probes import registry

if TYPE_CHECKING:
    from llm4seg_probe.probes.base import Option, Probe
    from llm4seg_probe.probes.result import ProbeResult, Saved

_SWAP = "Instead: exchange activations between two arms, seed by seed (the command `swap`)."
_SWAP_HEADS = "With --swap: single attention heads, too."


def command(probe: Probe) -> Callable[..., None]:
    """The command of a probe: its options, beside those that all probes share."""
    options = probe.option_list()

    def run(**given: Any) -> None:
        values = {each.name: _value(each, given[each.name]) for each in options}
        _take(probe, values, given)

    extra: list[Parameter] = []
    if probe.name == "intervene":
        extra = _swap_flags()
        run = _or_swap(run)
    run.__name__ = probe.name
    run.__doc__ = _help(probe)
    parameters = [
        _parameter("ckpt", Checkpoints),
        *(_parameter(each.name, *_declared(each)) for each in options),
        *extra,
        _parameter("data", Data, None),
        _parameter("split", Annotated[str, typer.Option("--split", help=probe.split)], "test"),
        _parameter("device", Device, "auto"),
        _parameter("out", Out, Path("reports") / probe.name),
        _parameter("as_json", Json, False),
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
    return run


def _take(probe: Probe, values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    paths = checkpoints(given["ckpt"])  # before anything heavy is imported
    from llm4seg_probe.results import probes

    options = probes.in_python(values)
    shared = {name: given[name] for name in ("split", "data", "device")}
    found = probes.probe(paths, probe.name, **shared, **options)
    _print(found.result, found.result.save(given["out"]), given["as_json"])


def _print(result: ProbeResult, saved: Saved, as_json: bool) -> None:
    """Print the rows as JSON, or the summary, where tables and figures lie, and the sentences."""
    further = {_further_name(result.probe, name): path for name, path in saved.tables.items()}
    del further[result.probe.name]
    if as_json:
        extra = {"sentences": result.sentences} if result.probe.sentences else {}
        rows = {"rows": records(result.table)}
        emit_json({"table": saved.table, **further, "figures": saved.figures, **extra, **rows})
        return
    say(result.summary.to_string(index=False, float_format="%.4f"))
    paths = [("table", saved.table), *(("figure", path) for path in saved.figures)]
    for label, path in (*paths, *further.items()):
        say(f"The {label}: {path}")
    for sentence in result.sentences:
        say(sentence)


def _further_name(probe: Probe, file: str) -> str:
    """Short name of a table: ``words`` for ``lens-words.csv``."""
    return file.removesuffix(".csv").removeprefix(f"{probe.name}-")


def _help(probe: Probe) -> str:
    summary = probe.summary[:1].upper() + probe.summary[1:]
    return f"{summary}.\n\n{probe.shows}\n\nIt cannot show {probe.cannot}."


def _parameter(name: str, annotation: Any, default: Any = Parameter.empty) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _declared(option: Option) -> tuple[Any, Any]:
    """Annotation and default of an option as the command line takes it: a tuple is one text."""
    plain: Any = str if option.several else option.type
    annotation = plain | None if option.optional else plain
    names = option.flags or (option.flag,)
    least = None if option.several or option.type not in (int, float) else option.minimum
    declared = typer.Option(*names, help=option.help, min=least)
    default = option.text if option.several else option.default
    return Annotated[annotation, declared], default


def _value(option: Option, given: Any) -> Any:
    if not option.several or given is None:
        return given
    return option.parsed(given)


def _swap_flags() -> list[Parameter]:
    """The older spelling of the command `swap`, on `intervene`."""
    swap = Annotated[bool, typer.Option("--swap", help=_SWAP)]
    heads = Annotated[bool, typer.Option("--swap-heads", help=_SWAP_HEADS)]
    return [_parameter("swap", swap, False), _parameter("swap_heads", heads, False)]


def _or_swap(intervene: Callable[..., None]) -> Callable[..., None]:
    def run(**given: Any) -> None:
        heads = given.pop("swap_heads")
        if given.pop("swap") or heads:
            _take(registry.find("swap"), {"heads": heads}, given)
        else:
            intervene(**given)

    return run


def commands(taken: Sequence[str] = ()) -> dict[str, Callable[..., None]]:
    """The commands of all probes by name, without those whose name another command has."""
    return {name: command(probe) for name, probe in registry.probes().items() if name not in taken}
