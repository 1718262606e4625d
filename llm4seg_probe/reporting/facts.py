"""What stands at the top of the page: the data, the scale and the machine, in short lines."""

from __future__ import annotations

from llm4seg_probe.reporting.context import DatasetContext
from llm4seg_probe.reporting.results import Results


def facts_of(results: Results) -> dict[str, list[str]]:
    """Data, scale and machine, each as a few short lines; what has none is left out.

    Data sets after the first take a line each, so that the verdicts stay in sight; methods.md
    describes them.
    """
    context = results.context
    first, *others = context.all_datasets
    facts = {
        "Data": [*_data(first), *(_in_a_line(data) for data in others)],
        "Scale": [
            f"size: {context.size}" if context.size else "",
            *(f"{name}: {value}" for name, value in context.scale.items()),
            f"{len(context.arms)} arms, {len(context.seeds)} seeds" if context.arms else "",
            _conditions(results),
        ],
        "Machine": [
            *(f"{name}: {value}" for name, value in context.machine.items()),
            _training_time(results),
        ],
    }
    return {name: [line for line in lines if line] for name, lines in facts.items() if any(lines)}


def _data(data: DatasetContext) -> list[str]:
    described = ": ".join(part.rstrip(".") for part in (data.name, data.description) if part)
    counted = ", ".join(f"{count} {name}" for name, count in data.counts.items())
    split = f"split: {data.split}" if data.split else ""
    licence = f"licence: {data.licence}" if data.licence else ""
    return [described, "; ".join(part for part in (counted, split, licence) if part)]


def _in_a_line(data: DatasetContext) -> str:
    names = [name for name in ("cases", "test images") if name in data.counts]
    counted = ", ".join(f"{data.counts[name]} {name}" for name in names)
    return ": ".join(part for part in (data.name, counted) if part)


def _conditions(results: Results) -> str:
    scores = results.tables.get("scores.csv")
    if scores is None:
        return ""
    count = len(scores[["dataset", "arm"]].drop_duplicates())
    return f"{count} conditions" if count > len(results.context.arms) else ""


def _training_time(results: Results) -> str:
    if not results.has("runs.csv"):
        return ""
    seconds = results.tables["runs.csv"]["wall_seconds"]
    minutes = seconds.sum() / 60
    spent = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    return f"{len(seconds)} runs, {spent} of training"
