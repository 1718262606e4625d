"""Is it real? Comparisons on any table."""

from __future__ import annotations

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
    from llm4seg_probe.study.single import compare_table

    assert out is not None
    rows, path = compare_table(
        table, out, score=score, baseline=baseline, arm=arm, seed=seed, case=case, margin=margin,
        where=pairs(where), average_over=tuple(average_over or ()), fold=fold, test_share=test_share, drop_unpaired=drop_unpaired,
        unpaired=unpaired, bootstrap=bootstrap,
    )  # fmt: skip
    if as_json:
        emit_json({"table": path, "rows": records(rows)})
        return
    say(f"{comparison_text(rows)}\n\nThe table: {path}")


COMMANDS = {"compare": compare}
