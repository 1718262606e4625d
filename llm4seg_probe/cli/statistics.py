"""Is it real? Comparisons on any table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import Json, Out, emit_json, pairs, records, say

Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="column=value: keep only these rows; may be repeated."),
]


def compare(
    table: Annotated[Path, typer.Argument(help="A tidy CSV table: one row per measurement.")],
    score: Annotated[str, typer.Option(help="Column to compare.")] = "iou",
    baseline: Annotated[str, typer.Option(help="Arm that the others are compared with.")] = "cnn",
    arm: Annotated[str, typer.Option(help="Column of the arms.")] = "arm",
    seed: Annotated[str, typer.Option(help="Column of the seeds.")] = "seed",
    case: Annotated[str, typer.Option(help="Column of the cases, if there is one.")] = "image",
    margin: Annotated[float, typer.Option(help="Smallest difference that matters.")] = 0.005,
    where: Where = None,
    average_over: Annotated[
        list[str] | None, typer.Option(help="Column to average over, such as class; repeatable.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Column of the folds of a k-fold table.")] = None,
    test_share: Annotated[float | None, typer.Option(help="Share of a fold's test data.")] = None,
    drop_unpaired: Annotated[
        bool, typer.Option("--drop-unpaired", help="Leave seeds without a partner out.")
    ] = False,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Welch's test, for runs that share nothing.")
    ] = False,
    bootstrap: Annotated[int, typer.Option(help="Resamples; 0 for none.")] = 10_000,
    out: Out = Path("reports/compare"),
    as_json: Json = False,
) -> None:
    """Significance across seeds, on any table, ours or not."""
    from llm4seg_probe.reporting.terminal import comparison_text
    from llm4seg_probe.study.anybody import compare_table

    assert out is not None
    rows, path = compare_table(
        table, out, score=score, baseline=baseline, arm=arm, seed=seed, case=case, margin=margin,
        where=pairs(where), average_over=tuple(average_over or ()), fold=fold,
        test_share=test_share, drop_unpaired=drop_unpaired, unpaired=unpaired, bootstrap=bootstrap,
    )  # fmt: skip
    if as_json:
        emit_json({"table": path, "rows": records(rows)})
        return
    say(f"{comparison_text(rows)}\n\nThe table: {path}")


def plan(
    table: Annotated[Path, typer.Argument(help="A pilot: two arms, at least three paired seeds.")],
    score: Annotated[str, typer.Option(help="Column to compare.")] = "iou",
    baseline: Annotated[str, typer.Option(help="Arm that the others are compared with.")] = "cnn",
    arm: Annotated[str, typer.Option(help="Column of the arms.")] = "arm",
    seed: Annotated[str, typer.Option(help="Column of the seeds.")] = "seed",
    case: Annotated[str, typer.Option(help="Column of the cases, if there is one.")] = "image",
    margin: Annotated[float, typer.Option(help="Smallest difference that matters.")] = 0.005,
    power: Annotated[float, typer.Option(help="Chance of finding it that is wanted.")] = 0.8,
    seeds: Annotated[int, typer.Option(help="Seeds that the smallest effect is for.")] = 5,
    where: Where = None,
    out: Out = Path("reports/plan"),
    as_json: Json = False,
) -> None:
    """Power: how many seeds (and cases) for which effect, from a pilot."""
    from llm4seg_probe.study.anybody import plan_table

    assert out is not None
    found, written = plan_table(
        table, out, score=score, baseline=baseline, arm=arm, seed=seed, case=case, margin=margin,
        power=power, seeds=seeds, where=pairs(where),
    )  # fmt: skip
    if as_json:
        emit_json({"files": written, "rows": records(found.summary)})
        return
    for sentence in found.summary["sentence"]:
        say(sentence)
    for name, path in written.items():
        say(f"The {name}: {path}")


def audit(
    results: Annotated[
        list[Path], typer.Argument(help="A CSV of any design, or nnU-Net summary.json files.")
    ],
    baseline: Annotated[str | None, typer.Option(help="Arm to compare with.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="role=column, such as seed=repeat; repeatable.")
    ] = None,
    n: Annotated[int | None, typer.Option(help="Runs behind each printed mean.")] = None,
    test_share: Annotated[
        float | None,
        typer.Option(help="Share of a fold's test data; one over the folds if unsaid."),
    ] = None,
    margin: Annotated[float | None, typer.Option(help="Smallest difference that matters.")] = None,
    out: Out = Path("reports/audit"),
    as_json: Json = False,
) -> None:
    """`compare` for results that somebody else made, with what can be trusted about them."""
    from llm4seg_probe.study.anybody import audit_tables

    assert out is not None
    found, written = audit_tables(
        results, out, baseline=baseline, columns=pairs(column), n=n, test_share=test_share,
        margin=margin,
    )  # fmt: skip
    if as_json:
        rows = records(found.comparison)
        emit_json({"design": asdict(found.design), "files": written, "rows": rows})
        return
    say(found.design.sentence)
    say("Read as: " + ", ".join(f"{match.column} = {match.role}" for match in found.matches))
    for finding in found.findings:
        say(f"{finding.level}: {finding.what}")
    for test in found.tests:
        say(f"{'allowed' if test.allowed else 'refused'}: {test.name} ({test.why})")
    for sentence in found.sentences:
        say(sentence)
    for name, path in written.items():
        say(f"The {name}: {path}")


COMMANDS = {"compare": compare, "plan": plan, "audit": audit}
