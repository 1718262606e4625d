"""One run: train it, score it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import (
    Checkpoints,
    Data,
    Json,
    Out,
    SplitSide,
    checkpoints,
    emit_json,
    records,
    say,
)


def train(
    config: Annotated[Path, typer.Argument(help="Configuration of the run.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Fields to change.")
    ] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from last.pt.")] = False,
    embed_llm: Annotated[
        bool,
        typer.Option("--embed-llm", help="Keep the layer's weights in run.pt: no source needed."),
    ] = False,
    as_json: Json = False,
) -> None:
    """One run into a run folder."""
    from llm4seg_probe.config import load_config
    from llm4seg_probe.training.fit import train as train_run
    from llm4seg_probe.training.signatures import after_training

    chosen = load_config(config, tuple(overrides or ()))
    folder = out or Path("reports") / "runs" / f"{config.stem}-{chosen.arm}-{chosen.seed}"
    checkpoint = train_run(chosen, folder, resume=resume, embed_layer=embed_llm)
    signatures = after_training(folder)
    if as_json:
        emit_json({"checkpoint": checkpoint, "signatures": signatures})
        return
    for line in (f"The run: {checkpoint}", *signatures):
        say(line)


def evaluate(
    ckpt: Checkpoints,
    data: Data = None,
    split: SplitSide = "test",
    out: Out = Path("reports/evaluate"),
    as_json: Json = False,
) -> None:
    """Scores per image and class of one or more runs."""
    from llm4seg_probe.study.single.evaluate import evaluate_runs

    assert out is not None
    table, path = evaluate_runs(checkpoints(ckpt), out, split=split, data=data)
    if as_json:
        emit_json({"table": path, "rows": records(table)})
        return
    means = table.groupby(["arm", "seed", "class"])[["iou", "dice", "hd95", "nsd"]].mean()
    say(f"{means.to_string(float_format='%.4f')}\n\nThe table: {path}")


COMMANDS = {"train": train, "evaluate": evaluate}
